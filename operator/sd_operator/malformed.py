"""The status of an object that cannot be read as its kind: only conditions, from the raw manifest. Pure."""

from collections.abc import Mapping
from typing import Any

from sd_operator.api.conditions import Condition, Verdict, conditions, now


def malformed_status(manifest: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """What can still be said: that it is stalled, and why. Times are kept where they can be read."""
    generation = int(manifest["metadata"].get("generation") or 0)
    previous = []
    status = manifest.get("status")
    for raw in (status.get("conditions") if isinstance(status, Mapping) else None) or ():
        try:
            previous.append(Condition.model_validate(raw))
        except ValueError:
            continue
    return {
        "observedGeneration": generation,
        "conditions": [
            condition.as_manifest()
            for condition in conditions(verdict, generation=generation, previous=previous, time=now())
        ],
    }
