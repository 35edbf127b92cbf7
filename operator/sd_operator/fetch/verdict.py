"""The verdict: what became of a fetch, as the JSON that the kubelet hands to the operator.

The kubelet keeps 4096 bytes of a termination message; a longer one would arrive cut and be no JSON.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sd_operator.fetch.errors import FetchError

MAX_BYTES = 4096

EXIT_VERIFIED = 0
EXIT_RETRYABLE = 1
# The Job's podFailurePolicy gives up on these; the operator makes another one, when the time has come.
EXIT_PERMANENT = 2
EXIT_LATER = 3  # retryable, but the source wants to be left alone for longer than a Job waits

# A Job waits for so long before its second pod, and longer before the others.
_JOB_WAITS_SECONDS = 10.0

# A bound for people: the message becomes a line of the bundle's status.
_MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    path: str
    size: int
    sha256: str
    type: str
    family: str | None  # None where the file shows none
    rank: int | None = None  # of a LoRA
    source_sha256: str | None = None  # of the bytes it was converted from
    source: str  # without credentials
    shared: bool = False  # its bytes are stored once with those of another file of the volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A file on the volume that belongs to the bundle and is not expected."""

    name: str  # in the bundle
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What upkeep found and did."""

    intact: int
    lost: tuple[str, ...] = ()  # names of expected files that are not there
    altered: tuple[str, ...] = ()  # or have other bytes
    removed: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()


def encode(outcome: Verified | Kept | FetchError) -> bytes:
    if isinstance(outcome, Verified):
        return _verified(outcome)
    if isinstance(outcome, Kept):
        return _kept(outcome)
    message = outcome.message
    length = _MESSAGE_CHARACTERS
    when = {} if outcome.retry_after is None else {"retryAfter": math.ceil(outcome.retry_after)}
    while True:
        shown = message if len(message) <= length else message[: length - 1] + "…"
        encoded = json.dumps(
            {
                "state": "Failed",
                "reason": outcome.reason,
                "message": shown,
                "retryable": outcome.retryable,
                **when,
            }
        ).encode()
        if len(encoded) <= MAX_BYTES:
            return encoded
        # A character that JSON escapes takes up to twelve bytes.
        length = length * 3 // 4


def exit_code(outcome: Verified | Kept | FetchError) -> int:
    if not isinstance(outcome, FetchError):
        return EXIT_VERIFIED
    if not outcome.retryable:
        return EXIT_PERMANENT
    return EXIT_LATER if (outcome.retry_after or 0.0) > _JOB_WAITS_SECONDS else EXIT_RETRYABLE


def write(path: Path, outcome: Verified | Kept | FetchError) -> None:
    # Not by rename: the termination log is a mounted file.
    path.write_bytes(encode(outcome))


def _verified(outcome: Verified) -> bytes:
    told = {
        "state": "Verified",
        "path": outcome.path,
        "size": outcome.size,
        "sha256": outcome.sha256,
        "type": outcome.type,
        "family": outcome.family,
        "rank": outcome.rank,
        "sourceSha256": outcome.source_sha256,
        "source": outcome.source,
        "shared": outcome.shared,
    }
    # Only an address can be so long.
    while len(encoded := json.dumps(told).encode()) > MAX_BYTES:
        outcome = replace(outcome, source=outcome.source[: len(outcome.source) // 2])
        told["source"] = f"{outcome.source}…"
    return encoded


def _kept(outcome: Kept) -> bytes:
    """All of it, or as much as fits; what asks for something to be done goes before what was done."""
    bad = [{"name": name, "reason": "Lost"} for name in outcome.lost]
    bad += [{"name": name, "reason": "Altered"} for name in outcome.altered]
    told: dict[str, Any] = {"state": "Done", "intact": outcome.intact, "bad": [], "removed": [], "strays": []}
    parts: list[tuple[str, list[Any]]] = [
        ("bad", bad),
        ("removed", list(outcome.removed)),
        ("strays", [asdict(stray) for stray in outcome.strays]),
    ]
    whole = told | dict(parts)
    encoded = json.dumps(whole).encode()
    if len(encoded) <= MAX_BYTES:
        return encoded
    told["more"] = True
    for name, values in parts:
        for value in values:
            told[name].append(value)
            if len(json.dumps(told).encode()) > MAX_BYTES:
                told[name].pop()
                break
    return json.dumps(told).encode()
