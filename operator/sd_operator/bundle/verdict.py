"""What a fetch pod said at its end. Pure; the other side is fetch/verdict.py."""

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
    family: str


class Failed(Model):
    """The file could not be had."""

    state: Literal["Failed"]
    reason: str
    message: str
    retryable: bool = False


Verdict = Verified | Failed
_ADAPTER: TypeAdapter[Verdict] = TypeAdapter(Annotated[Verdict, Field(discriminator="state")])


def read(ended: Mapping[str, Any]) -> Verdict:
    """The verdict in a container's terminated state; how it ended where there is none to read."""
    text = ended.get("message") or ""
    exit_code = ended.get("exitCode")
    try:
        return _ADAPTER.validate_python(json.loads(text))
    except (ValueError, ValidationError):
        words = ended.get("reason") or "no reason given"
        return Failed(
            state="Failed",
            reason="OOMKilled" if words == "OOMKilled" else "NoVerdict",
            message=f"the fetch pod ended with exit code {exit_code} ({words}) and left no verdict",
            # Exit code 0 without a verdict is a fetcher of another make: it would say the same again.
            retryable=exit_code not in (0, 2),
        )
