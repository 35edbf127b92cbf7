"""Says on an object that work on it fails again and again: what its conditions told before no longer counts.

Only the conditions are written; the rest of the status stays as it was, and so does the generation that it
speaks about. The next pass that succeeds writes the whole status anew.
"""

import logging
from collections.abc import Mapping
from typing import Any

from sd_operator import errors, names
from sd_operator.api.conditions import reconciling
from sd_operator.api.reasons import Reason
from sd_operator.applying import report
from sd_operator.cluster import Api
from sd_operator.malformed import malformed_status
from sd_operator.names import Key

logger = logging.getLogger(__name__)

_BY_NAME = {resource.kind: resource for resource in names.OWN}
#: A server's answer may be long; the object's own log has it whole.
MAX_WORDS = 1000


async def tell(api: Api, key: Key, error: Exception) -> None:
    """Write the error into the object's conditions, unless it is told there already."""
    try:
        manifest = await api.get(_BY_NAME[key.kind], namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return
        await report(api, manifest, failing_status(manifest, error))
    except errors.ClusterError as second:
        # Mostly the same trouble: a server that does not answer cannot be told either.
        logger.warning("the failure could not be written into the status: %s", second)


def failing_status(manifest: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    """The stored status with conditions that tell of the failure."""
    words = str(error) if isinstance(error, errors.OperatorError) else f"{type(error).__name__}: {error}"
    verdict = reconciling(
        Reason.RECONCILE_ERROR,
        f"the operator's work on this object fails and is tried again: {words[:MAX_WORDS]}",
    )
    stored = manifest.get("status")
    before = dict(stored) if isinstance(stored, Mapping) else {"observedGeneration": -1}
    return {**before, "conditions": malformed_status(manifest, verdict)["conditions"]}
