"""The status of a bundle, from what was observed and decided. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import names
from sd_operator.api.bundle import MAX_USED_BY, FileStatus, ModelBundle, ModelBundleStatus, VolumeStatus
from sd_operator.api.conditions import Verdict, conditions


def build_status(
    bundle: ModelBundle,
    verdict: Verdict,
    *,
    files: Iterable[FileStatus],
    claim: Mapping[str, Any] | None,
    users: tuple[str, ...],
    time: str,
) -> dict[str, Any]:
    """The status as it is written; equal to the stored one when there is nothing to say."""
    volume = None
    if claim is not None:
        volume = VolumeStatus(
            claim_name=names.claim_name(bundle.metadata.name),
            capacity=((claim.get("status") or {}).get("capacity") or {}).get("storage"),
        )
    status = ModelBundleStatus(
        observed_generation=bundle.metadata.generation,
        conditions=tuple(
            conditions(
                verdict,
                generation=bundle.metadata.generation,
                previous=bundle.status.conditions,
                time=time,
            )
        ),
        files=tuple(files),
        volume=volume,
        used_by=users[:MAX_USED_BY],
    )
    return without_empty(status.as_manifest())


def without_empty(status: dict[str, Any]) -> dict[str, Any]:
    """Leaves empty lists out, as the stored object does."""
    return {key: value for key, value in status.items() if value != []}
