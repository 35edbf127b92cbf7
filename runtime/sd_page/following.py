"""A job, from handing it in to its pictures. Knows the job interface; nothing of components or words."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sd_page.api import Api, Refused, field_of

#: Seconds between two looks at a job: first, and when it takes longer.
_FIRST_LOOK, LOOK = 0.1, 0.4
#: For so many seconds a job that cannot be asked for (its replica does not answer) is asked for again.
_PATIENCE = 20.0
#: Statuses that pass.
_PASSING = (429, 502, 503)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands, in the interface's words."""

    id: str
    state: str
    position: int = 0
    progress: float = 0.0
    eta: float | None = None
    step: int = 0
    steps: int = 0
    #: A PNG of how a picture looks now.
    preview: bytes | None = None
    #: Why it failed, where it has.
    error: Refused | None = None

    @property
    def ended(self) -> bool:
        return self.state not in ("queued", "running")


async def hand_in(api: Api, kind: str, body: Mapping[str, Any]) -> Standing:
    """Hands in a job, as often as it takes: by its key it is one. Raises `Refused`."""
    key = uuid4().hex
    given_up = time.monotonic() + _PATIENCE
    while True:
        try:
            told = await api.post(
                "/v1/jobs", {"kind": kind, "parameters": body}, headers={"Idempotency-Key": key}
            )
            return standing_of(told)
        except Refused as refused:
            if refused.reason != "ReplicaUnreachable" or time.monotonic() > given_up:
                raise
        await asyncio.sleep(LOOK)


async def follow(api: Api, id: str, *, look: float = LOOK) -> AsyncIterator[Standing]:
    """Where the job stands, until it has ended; the last one says how. Raises `Refused`: 404 and 410 of a job
    that the interface no longer knows."""
    last_heard = time.monotonic()
    pause = min(_FIRST_LOOK, look)
    while True:
        try:
            standing = standing_of(await api.get(f"/v1/jobs/{id}"))
            if standing.state == "running":
                standing = await _with_preview(api, standing)
            last_heard = time.monotonic()
        except Refused as refused:
            if refused.status not in _PASSING or time.monotonic() - last_heard > _PATIENCE:
                raise
        else:
            yield standing
            if standing.ended:
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.25, look)


async def result(api: Api, id: str) -> Mapping[str, Any]:
    """What the job has made, as A1111's route answers it. Raises `Refused`."""
    answer: Mapping[str, Any] = await api.get(f"/v1/jobs/{id}/result")
    return answer


async def cancel(api: Api, id: str) -> None:
    """Takes the job back; one that has ended stays as it is. Raises `Refused`."""
    await api.delete(f"/v1/jobs/{id}")


def standing_of(told: Mapping[str, Any]) -> Standing:
    """What an answer of /v1/jobs says."""
    error = told.get("error")
    return Standing(
        id=told["id"],
        state=told["state"],
        position=told["position"],
        progress=told["progress"],
        eta=told["eta_seconds"],
        step=told["step"],
        steps=told["steps"],
        error=None
        if error is None
        else Refused(500, error["error"], error["detail"], field_of(error["detail"])),
    )


async def _with_preview(api: Api, standing: Standing) -> Standing:
    try:
        preview = await api.picture(f"/v1/jobs/{standing.id}/preview")
    except Refused:  # it has ended meanwhile, or is busy: the next look tells
        preview = None
    return replace(standing, preview=preview)
