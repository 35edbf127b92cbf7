"""The verdict: what became of a fetch, as the JSON that the kubelet hands to the operator.

The kubelet keeps 4096 bytes of a termination message; a longer one would arrive cut and be no JSON.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sd_operator.fetch.errors import FetchError

MAX_BYTES = 4096

EXIT_VERIFIED = 0
EXIT_RETRYABLE = 1
EXIT_PERMANENT = 2  # the Job's podFailurePolicy gives up on it

# A bound for people: the message becomes a line of the bundle's status.
_MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    path: str
    size: int
    sha256: str
    family: str


def encode(outcome: Verified | FetchError) -> bytes:
    if isinstance(outcome, Verified):
        return json.dumps({"state": "Verified", **asdict(outcome)}).encode()
    message = outcome.message
    length = _MESSAGE_CHARACTERS
    while True:
        shown = message if len(message) <= length else message[: length - 1] + "…"
        encoded = json.dumps(
            {"state": "Failed", "reason": outcome.reason, "message": shown, "retryable": outcome.retryable}
        ).encode()
        if len(encoded) <= MAX_BYTES:
            return encoded
        # A character that JSON escapes takes up to twelve bytes.
        length = length * 3 // 4


def exit_code(outcome: Verified | FetchError) -> int:
    if isinstance(outcome, Verified):
        return EXIT_VERIFIED
    return EXIT_RETRYABLE if outcome.retryable else EXIT_PERMANENT


def write(path: Path, outcome: Verified | FetchError) -> None:
    # Not by rename: the termination log is a mounted file.
    path.write_bytes(encode(outcome))
