"""The bytes of a model file to tensors and a digest, in one sequential pass and without mapping the file.

Measured with 1 GiB of float16 in memory on one core: read like this the process grows by 1.0 times the size
of the loaded weights, whether they stay float16 or become float32; with the file mapped by 2.0 and 1.5 times,
as its pages count beside the tensors made from them. Mapping takes half of the time where the digest is known
(0.5 s instead of 0.8 s), but hashing takes longer than both (1.6 s in all). The digest is of the very bytes
that became weights.
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
from sd_runtime.models.digests import CHUNK, DigestCache, key_of

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# Of buffers that are no weights; nobody may take them for some.
_WHOLE_NUMBERS = {
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tensor goes and in which number format; None: in the file's own, whole numbers included."""

    device: torch.device
    dtype: torch.dtype | None


Place = Callable[[str], Placement | None]


def read_weights(
    path: Path, header: Header, place: Place, digests: DigestCache
) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors that `place` wants (None: skip), as it wants them, and the file's SHA-256."""
    try:
        with FileIO(path) as file:
            key = key_of(os.fstat(file.fileno()))
            known = digests.get(key)
            reader = _Reader(file, None if known else hashlib.sha256())
            reader.skip(header.data_start)
            bench = Workbench()
            weights: dict[str, torch.Tensor] = {}
            for name, info in sorted(header.tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
                placement = place(name)
                if placement is None:
                    reader.skip(info.end - info.begin)
                else:
                    raw = bench.room(name, info, placement)
                    reader.fill(memoryview(raw.numpy().data))
                    weights[name] = bench.tensor(raw, name, info, placement)
            if key_of(os.fstat(file.fileno())) != key:
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


class Workbench:
    """Makes tensors of bytes.

    What is to be converted is read into one buffer for all: with one for each, the gaps that they leave in
    the heap came to half of the weights' size.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def room(self, name: str, info: TensorInfo, placement: Placement) -> torch.Tensor:
        """Where a tensor's bytes are to be put, good until the next is asked for."""
        size = info.end - info.begin
        if placement.device.type == "cpu" and placement.dtype in (None, _format(name, info, placement)):
            return torch.empty(size, dtype=torch.uint8)
        if len(self._buffer) < size:
            self._buffer = torch.empty(size, dtype=torch.uint8)
        return self._buffer[:size]

    def tensor(self, raw: torch.Tensor, name: str, info: TensorInfo, placement: Placement) -> torch.Tensor:
        """The bytes in the room as the tensor, where it is to be."""
        dtype = _format(name, info, placement)
        return raw.view(dtype).reshape(info.shape).to(device=placement.device, dtype=placement.dtype or dtype)


def _format(name: str, info: TensorInfo, placement: Placement) -> torch.dtype:
    known = _DTYPES if placement.dtype else {**_DTYPES, **_WHOLE_NUMBERS}
    dtype = known.get(info.dtype)
    if dtype is None:
        raise CheckpointError(
            f"tensor {name!r} has the unsupported dtype {info.dtype}; allowed: {', '.join(known)}"
        )
    return dtype
