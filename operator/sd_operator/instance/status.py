"""The status of an instance, from what was observed and decided. Pure."""

import math
from typing import Any

from sd_operator import names, pods
from sd_operator.api.conditions import Verdict, conditions
from sd_operator.api.instance_status import (
    AccelerationStatus,
    CheckpointStatus,
    FilesStatus,
    ModelsStatus,
    SDInstanceStatus,
    StartupStatus,
)
from sd_operator.instance import answers, gpu
from sd_operator.instance.children.service import endpoint
from sd_operator.instance.decide import Plan, expected_files
from sd_operator.instance.desired import Desired
from sd_operator.instance.observe import Observed
from sd_operator.instance.readiness import Replica, replicas


def build_status(
    observed: Observed, planned: Plan, verdict: Verdict, *, desired: Desired | None, time: str
) -> dict[str, Any]:
    """The status as it is written; equal to the stored one when there is nothing to say."""
    instance = observed.instance
    current = replicas(observed, desired) if desired is not None else []
    serving = [replica for replica in current if desired is not None and replica.serves(desired)]
    live = (observed.deployment or {}).get("status") or {}
    vram = None
    if planned.allocation is not None and planned.need is not None:
        vram = gpu.vram_status(planned.need, planned.allocation)
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
        models=_models(observed, serving, desired),
        plugins=answers.statuses(observed, [replica.plugins for replica in current]),
        acceleration=_acceleration([replica for replica in current if pods.is_ready(replica.pod)]),
        vram=vram,
        startup=_startup(serving[0]) if serving else None,
    )
    return status.as_manifest()


def _models(observed: Observed, serving: list[Replica], desired: Desired | None) -> ModelsStatus:
    wanted = observed.instance.spec.replicas
    if not serving or desired is None:
        return ModelsStatus(desired=wanted, loaded=0)
    checkpoint = desired.checkpoint
    # A replica that lacks a file does not serve.
    files = len(expected_files(observed, desired))
    return ModelsStatus(
        desired=wanted,
        loaded=len(serving),
        checkpoint=CheckpointStatus(file=checkpoint.reference, sha256=checkpoint.sha256),
        files=FilesStatus(desired=files, loaded=files),
    )


def _acceleration(current: list[Replica]) -> AccelerationStatus | None:
    for replica in current:
        device = replica.state.device if replica.state is not None else None
        if device is not None:
            return AccelerationStatus(device=device.type[:64], name=device.name)
    return None


def _startup(replica: Replica) -> StartupStatus:
    start = replica.state.startup if replica.state is not None else None
    phases = pods.start_phases(replica.pod)
    return StartupStatus(
        schedule_seconds=_whole(phases.schedule_seconds),
        image_seconds=_whole(phases.image_seconds),
        load_seconds=_whole(start.load_seconds if start is not None else None),
        warm_up_seconds=_whole(start.warm_up_seconds if start is not None else None),
    )


def _whole(seconds: float | None) -> int | None:
    return math.ceil(max(0.0, seconds)) if seconds is not None else None
