"""What a plugin answers where it is asked whether it serves (GET /healthz), judged."""

from typing import Literal

from pydantic import BaseModel, ValidationError

from sd_runtime.plugins.faults import BrokenContract

#: Of the answer; the bound is that of `docs/plugin-contract.md`.
MOST_BYTES = 1024


class _Health(BaseModel):
    status: Literal["ok"]


def demand(body: bytes) -> None:
    """Raises `BrokenContract` unless this is the answer of one that serves; further keys mean nothing."""
    try:
        _Health.model_validate_json(body, strict=True)
    except ValidationError as error:
        told = 'GET /healthz is answered with status 200, but not with {"status": "ok"}'
        raise BrokenContract(told) from error
