"""The bytes of a model file to tensors and a digest, in one sequential pass and without mapping the file.

Memory mapping would count the whole file as resident beside the tensors made from it; here at most one
tensor exists twice. The digest is of the very bytes that became weights.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch

from sd_modelfiles.header import Header, TensorInfo
from sd_runtime.errors import CheckpointError, CheckpointUnavailable

CHUNK = 1 << 20

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}

FileKey = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tensor goes and in which number format."""

    device: torch.device
    dtype: torch.dtype


Place = Callable[[str], Placement | None]


class DigestCache:
    """SHA-256 of files by (device, inode, size, mtime), so that a file is hashed once while it stays the
    same.
    """

    def __init__(self) -> None:
        self._known: dict[FileKey, str] = {}

    def get(self, key: FileKey) -> str | None:
        """The digest of the file with this key, if it was hashed before."""
        return self._known.get(key)

    def put(self, key: FileKey, sha256: str) -> None:
        """Remember a digest."""
        self._known[key] = sha256


def read_weights(
    path: Path, header: Header, place: Place, digests: DigestCache
) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors that `place` wants (None: skip), as it wants them, and the file's SHA-256."""
    try:
        with FileIO(path) as file:
            key = _key(os.fstat(file.fileno()))
            known = digests.get(key)
            reader = _Reader(file, None if known else hashlib.sha256())
            reader.skip(header.data_start)
            weights: dict[str, torch.Tensor] = {}
            for name, info in sorted(header.tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
                placement = place(name)
                if placement is None:
                    reader.skip(info.end - info.begin)
                else:
                    weights[name] = _tensor(reader, name, info, placement)
            if _key(os.fstat(file.fileno())) != key:
                raise CheckpointUnavailable("the file changed while it was being read")
    except OSError as error:
        raise CheckpointUnavailable(f"cannot be read: {error.strerror}") from error
    sha256 = known or reader.sha256()
    digests.put(key, sha256)
    return weights, sha256


class _Reader:
    """Reads forward only and feeds everything it passes to the hash."""

    def __init__(self, file: FileIO, digest: "hashlib._Hash | None") -> None:
        self._file = file
        self._digest = digest
        self._scratch = bytearray(CHUNK)

    def fill(self, buffer: memoryview) -> None:
        """Fill the buffer from the file."""
        done = 0
        while done < len(buffer):
            # Hash piece by piece while the bytes are still in the processor's cache.
            piece = buffer[done : done + CHUNK]
            count = self._file.readinto(piece)
            if not count:
                raise CheckpointUnavailable("the file ends inside of a tensor")
            if self._digest is not None:
                self._digest.update(piece[:count])
            done += count

    def skip(self, count: int) -> None:
        """Pass over bytes, hashing them if a hash is wanted."""
        if self._digest is None:
            self._file.seek(count, os.SEEK_CUR)
            return
        while count:
            piece = memoryview(self._scratch)[: min(count, CHUNK)]
            self.fill(piece)
            count -= len(piece)

    def sha256(self) -> str:
        """The digest of everything passed."""
        assert self._digest is not None
        return self._digest.hexdigest()


def _tensor(reader: _Reader, name: str, info: TensorInfo, placement: Placement) -> torch.Tensor:
    dtype = _DTYPES.get(info.dtype)
    if dtype is None:
        raise CheckpointError(
            f"tensor {name!r} has the unsupported dtype {info.dtype}; allowed: {', '.join(_DTYPES)}"
        )
    raw = torch.empty(info.end - info.begin, dtype=torch.uint8)
    reader.fill(memoryview(raw.numpy().data))
    return raw.view(dtype).reshape(info.shape).to(device=placement.device, dtype=placement.dtype)


def _key(stat: os.stat_result) -> FileKey:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
