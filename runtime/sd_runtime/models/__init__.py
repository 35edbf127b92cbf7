"""Model files to networks. This module holds what the rest of the process may know of a loaded file: plain
data.
"""

from dataclasses import dataclass
from pathlib import Path

from sd_runtime.device import DeviceInfo


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
