"""What a fetch or upkeep pod said at its end. Pure; the other side is fetch/verdict.py."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from sd_operator.api.base import Model


class Verified(Model):
    """The file is whole on the volume."""

    state: Literal["Verified"]
    path: str
    size: int
    sha256: str
    type: str | None = None
    family: str | None = None
    rank: int | None = None
    source_sha256: str | None = None
    source: str | None = None


class Failed(Model):
    """The file could not be had."""

    state: Literal["Failed"]
    reason: str
    message: str
    retryable: bool = False
    #: Seconds that the source asked to wait.
    retry_after: Annotated[float | None, Field(ge=0)] = None


class Damaged(Model):
    """A file that is not on the volume as it was verified."""

    name: str
    reason: str


class Stray(Model):
    """A file of the bundle on the volume that it was not told of."""

    name: str
    path: str
    sha256: str = ""


class Kept(Model):
    """The volume was looked after."""

    state: Literal["Done"]
    intact: int = 0
    bad: tuple[Damaged, ...] = ()
    #: Paths.
    removed: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()


_FETCHED: TypeAdapter[Verified | Failed] = TypeAdapter(
    Annotated[Verified | Failed, Field(discriminator="state")]
)
_KEPT: TypeAdapter[Kept | Failed] = TypeAdapter(Annotated[Kept | Failed, Field(discriminator="state")])


def read(ended: Mapping[str, Any]) -> Verified | Failed:
    """The verdict in a container's terminated state; how it ended where there is none to read."""
    try:
        return _FETCHED.validate_python(json.loads(ended.get("message") or ""))
    except (ValueError, ValidationError):
        return _silent(ended)


def read_kept(ended: Mapping[str, Any]) -> Kept | Failed:
    """The same of an upkeep pod."""
    try:
        return _KEPT.validate_python(json.loads(ended.get("message") or ""))
    except (ValueError, ValidationError):
        return _silent(ended)


def evicted(pod: Mapping[str, Any]) -> Failed | None:
    """What became of a pod whose containers could not say it: it was put out of its node."""
    status = pod.get("status") or {}
    if status.get("phase") != "Failed" or status.get("reason") != "Evicted":
        return None
    words = status.get("message") or "no reason given"
    return Failed(
        state="Failed",
        reason="Evicted",
        message=f"the node put the fetch pod out: {words}; what was downloaded is kept. If it stays so, "
        "raise spec.fetch.resources, or choose other nodes by spec.fetch.nodeSelector",
        retryable=True,
    )


def _silent(ended: Mapping[str, Any]) -> Failed:
    words = ended.get("reason") or "no reason given"
    exit_code = ended.get("exitCode")
    if words == "OOMKilled":
        return Failed(
            state="Failed",
            reason="OOMKilled",
            message="the fetch pod needed more memory than it may use; raise "
            "spec.fetch.resources.limits.memory (512Mi is the default and enough for any file)",
            retryable=True,
        )
    return Failed(
        state="Failed",
        reason="NoVerdict",
        message=f"the fetch pod ended with exit code {exit_code} ({words}) and left no verdict",
        # Exit code 0 without a verdict is a fetcher of another make: it would say the same again.
        retryable=exit_code not in (0, 2),
    )
