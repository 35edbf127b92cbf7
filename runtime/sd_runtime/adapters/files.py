"""An adapter's file to tensors on the device, whole or not at all.

Files that `torch.save` wrote are converted by `sd_modelfiles.pickles`, which runs nothing of theirs. Knows
nothing of what the tensors mean.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from sd_modelfiles import header
from sd_modelfiles.header import Header, HeaderError, TensorInfo
from sd_modelfiles.pickles import PickleMalformed, PickleUnsafe, convert

FileKey = tuple[int, int, int, int]

_PICKLES = (".pt", ".ckpt", ".bin")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# Of numbers only: trainers write an alpha as whatever their language made of it.
_NUMBER_DTYPES = _DTYPES | {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}


class Unusable(Exception):
    """An adapter's file cannot be used; the message is a sentence about the file that says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: weights as they are computed with, and single numbers as they are. A tensor that is
    neither, by its dtype, is only in the header."""

    header: Header
    weights: Mapping[str, torch.Tensor]
    numbers: Mapping[str, float]

    def weight(self, name: str) -> torch.Tensor:
        """Raises Unusable when the tensor is none that can be computed with."""
        if name not in self.weights:
            dtype = self.header.tensors[name].dtype
            raise Unusable(
                f"its tensor {name[:200]!r} is a single number, or of the dtype {dtype}; "
                f"allowed are matrices of {', '.join(_DTYPES)}"
            )
        return self.weights[name]

    @property
    def nbytes(self) -> int:
        """Of the weights on the device."""
        return sum(weight.nbytes for weight in self.weights.values())


def key(path: Path) -> FileKey:
    """What is another when the file's bytes are others: device, inode, size, time of change."""
    try:
        return _key(path.stat())
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from error


def read(path: Path, *, device: torch.device, dtype: torch.dtype, limit: int) -> tuple[FileKey, Content]:
    """The file's key and content; raises Unusable, also for more than `limit` bytes.

    It is read and not mapped: a mapped file that is cut while it is in use ends the process.
    """
    before = key(path)
    if before[2] > limit:
        raise Unusable(f"it has {before[2]} bytes; at most {limit} are kept for adapters")
    try:
        raw = _as_safetensors(path)
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from error
    if key(path) != before:
        raise Unusable("it changed while it was being read; try again")
    return before, _placed(_checked_header(raw), raw, device, dtype)


def _as_safetensors(path: Path) -> bytearray:
    if path.suffix.lower() not in _PICKLES:
        return bytearray(path.read_bytes())
    written = io.BytesIO()
    try:
        convert(path, written)
    except (PickleMalformed, PickleUnsafe) as error:
        raise Unusable(f"it cannot be read: {error}") from error
    return bytearray(written.getbuffer())


def _checked_header(raw: bytearray) -> Header:
    try:
        length = header.header_length(bytes(raw[: header.LENGTH_BYTES]))
        if header.LENGTH_BYTES + length > len(raw):
            raise HeaderError(f"the header claims {length} bytes, the file has only {len(raw)}")
        found = header.parse(bytes(raw[header.LENGTH_BYTES : header.LENGTH_BYTES + length]))
        if found.file_size != len(raw):
            raise HeaderError(f"the header promises {found.file_size} bytes, the file has {len(raw)}")
    except HeaderError as error:
        raise Unusable(f"it is no whole safetensors file: {error}") from error
    return found


def _placed(found: Header, raw: bytearray, device: torch.device, dtype: torch.dtype) -> Content:
    numbers: dict[str, float] = {}
    weights: dict[str, torch.Tensor] = {}
    if len(raw) == found.data_start:
        return Content(found, weights, numbers)
    data = torch.frombuffer(raw, dtype=torch.uint8, offset=found.data_start)
    # Crosses to the device at once: a LoRA has thousands of small tensors.
    moved = data.to(device)
    for name, info in found.tensors.items():
        if _is_number(name, info):
            if info.dtype in _NUMBER_DTYPES:
                numbers[name] = float(_stored(data, info, _NUMBER_DTYPES[info.dtype]).item())
        elif info.dtype in _DTYPES:
            # A copy of its own, so that what it was read into can go.
            weights[name] = _stored(moved, info, _DTYPES[info.dtype]).to(dtype=dtype, copy=True)
    return Content(found, weights, numbers)


def _is_number(name: str, info: TensorInfo) -> bool:
    return not info.shape or (name.endswith(".alpha") and prod(info.shape) == 1)


def _stored(data: torch.Tensor, info: TensorInfo, dtype: torch.dtype) -> torch.Tensor:
    piece = data[info.begin : info.end]
    if piece.data_ptr() % dtype.itemsize or piece.storage_offset() % dtype.itemsize:
        piece = piece.clone()  # a stranger's file may begin anywhere
    return piece.view(dtype).reshape(info.shape)


def _key(stat: os.stat_result) -> FileKey:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
