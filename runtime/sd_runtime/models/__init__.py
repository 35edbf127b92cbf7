"""Model files to networks. This module holds what the rest of the process may know of a loaded file: plain
data.
"""

from dataclasses import dataclass
from pathlib import Path

from sd_runtime.device import DeviceInfo


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint that is resident: which file, the SHA-256 of the bytes that were read, where it runs, and
    how many layers its (first) text encoder has.
    """

    path: Path
    sha256: str
    family: str
    device: DeviceInfo
    text_layers: int
