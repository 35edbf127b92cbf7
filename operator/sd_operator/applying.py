"""Writes a child when, and only when, what lives differs from what is wished for."""

import logging
from collections.abc import Mapping
from typing import Any

from sd_operator.cluster import Api, Object
from sd_operator.manifests import differs, stamped

logger = logging.getLogger(__name__)


async def settle(api: Api, wish: Object, live: Object | None) -> Object:
    """The child as it lives after this, written only if it has to be."""
    full = stamped(wish)
    if live is not None and not differs(full, live):
        return live
    logger.info("applying %s %s", wish["kind"], wish["metadata"]["name"])
    return await api.apply(full)


async def report(api: Api, manifest: Object, status: Mapping[str, Any]) -> bool:
    """Write the status if it is another than the stored one; whether it was."""
    if manifest.get("status") == status:
        return False
    metadata = manifest["metadata"]
    await api.apply_status(
        {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            # The uid is a precondition: an object of the same name that came later has a status of its own.
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "status": dict(status),
        }
    )
    return True
