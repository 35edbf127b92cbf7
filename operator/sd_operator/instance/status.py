"""The status of an instance, from what was observed and decided. Pure."""

from typing import Any

from sd_operator import names, pods
from sd_operator.api.conditions import Verdict, conditions
from sd_operator.api.instance import (
    AccelerationStatus,
    CheckpointStatus,
    ModelsStatus,
    SDInstanceStatus,
)
from sd_operator.instance.checkpoint import Checkpoint
from sd_operator.instance.children.service import endpoint
from sd_operator.instance.observe import Observed
from sd_operator.instance.readiness import Replica, replicas


def build_status(
    observed: Observed, verdict: Verdict, *, checkpoint: Checkpoint | None, time: str
) -> dict[str, Any]:
    """The status as it is written; equal to the stored one when there is nothing to say."""
    instance = observed.instance
    current = replicas(observed, checkpoint) if checkpoint is not None else []
    live = (observed.deployment or {}).get("status") or {}
    status = SDInstanceStatus(
        observed_generation=instance.metadata.generation,
        conditions=tuple(
            conditions(
                verdict,
                generation=instance.metadata.generation,
                previous=instance.status.conditions,
                time=time,
            )
        ),
        replicas=int(live.get("replicas") or 0),
        selector=names.instance_selector(instance.metadata.name),
        endpoint=endpoint(instance) if observed.service is not None else None,
        models=_models(instance.spec.replicas, current, checkpoint),
        acceleration=_acceleration([replica for replica in current if pods.is_ready(replica.pod)]),
    )
    return status.as_manifest()


def _models(desired: int, current: list[Replica], checkpoint: Checkpoint | None) -> ModelsStatus:
    serving = [replica for replica in current if checkpoint is not None and replica.serves(checkpoint)]
    held = None
    if serving and checkpoint is not None:
        held = CheckpointStatus(file=checkpoint.reference, sha256=checkpoint.sha256)
    return ModelsStatus(desired=desired, loaded=len(serving), checkpoint=held)


def _acceleration(current: list[Replica]) -> AccelerationStatus | None:
    for replica in current:
        device = replica.state.device if replica.state is not None else None
        if device is not None:
            return AccelerationStatus(device=device.type[:64], name=device.name)
    return None
