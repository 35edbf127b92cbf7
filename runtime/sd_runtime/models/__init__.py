"""Model files to networks. This module holds what the rest of the process may know of them without torch:
plain data, and what is asked of them.
"""

from dataclasses import dataclass
from pathlib import Path

from sd_runtime.device import DeviceInfo
from sd_runtime.errors import UnsupportedError

#: Shorter sides of a tile of an upscaler cost more calls than pixels.
SMALLEST_TILE = 32


def judge_tile(side: int) -> None:
    """Refuses tiles of an upscaler that would take it hours."""
    if side != 0 and side < SMALLEST_TILE:
        raise UnsupportedError(
            "ESRGAN_tile", side, f"0 (as large as can be), or {SMALLEST_TILE} pixels or more"
        )


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint that is resident: which file, the SHA-256 of the bytes that were read, where it runs, how
    many layers its (first) text encoder has; what its network predicts ("epsilon": the noise, "v": the
    velocity) and how that is known; and the bytes that its weights take.
    """

    path: Path
    sha256: str
    family: str
    device: DeviceInfo
    text_layers: int
    prediction: str = "epsilon"
    prediction_reason: str = ""
    bytes: int = 0
    #: Of a token's vector in each text encoder.
    text_widths: tuple[int, ...] = ()
