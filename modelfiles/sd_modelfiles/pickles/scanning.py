"""What a pickle asks for and holds, and its tensors as a safetensors file. Executes nothing of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sd_modelfiles import header
from sd_modelfiles.header import Header, TensorInfo
from sd_modelfiles.pickles import copying, naming
from sd_modelfiles.pickles.errors import PickleMalformed, PickleUnsafe
from sd_modelfiles.pickles.torchfile import Reading
from sd_modelfiles.pickles.values import Tensor

# Tensors may share their numbers, and are written each for itself. Tied weights do not make a file four times
# as large.
_MAX_GROWTH = 4
_ALWAYS_ALLOWED = 1024 * 1024
# Rows moved one by one, about two millions a second.
_MAX_MOVES = 30_000_000
_SHOWN_GLOBALS = 10


@dataclass(frozen=True, slots=True)
class PickleReport:
    format: str  # "torch zip" or "torch legacy"
    globals: tuple[str, ...]  # every one that the pickle names
    dangerous: tuple[str, ...]  # those that are not allowed
    header: Header  # of the safetensors file that `convert` writes; empty when there is something dangerous

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self.header.tensors


@dataclass(frozen=True, slots=True)
class _Found:
    report: PickleReport
    raw_header: bytes
    tensors: Mapping[str, tuple[Tensor, int]]  # by name: the tensor, and where its storage begins


def inspect(source: Path | BinaryIO, *, allow_unsafe: bool = False) -> PickleReport:
    """What the file asks for and holds.

    Raises PickleUnsafe for a global that is not allowed, or with `allow_unsafe` tells it in the report;
    PickleMalformed for what is not whole or not PyTorch's.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _examined(file, allow_unsafe=allow_unsafe).report
    return _examined(source, allow_unsafe=allow_unsafe).report


def convert(
    source: Path, target: Path | BinaryIO, *, between: Callable[[], None] = lambda: None
) -> PickleReport:
    """Write the tensors of the file as a safetensors file; raises as `inspect` does before a byte is written.

    Held in memory are at most a few MiB and, of a tensor whose elements are not in order, a block. `between`
    is called before each piece, and ends the conversion by raising.
    """
    with source.open("rb") as file:
        found = _examined(file, allow_unsafe=False)
        if isinstance(target, Path):
            with target.open("wb") as opened:
                _write(found, file, opened, between)
        else:
            _write(found, file, target, between)
    return found.report


def _write(found: _Found, source: BinaryIO, target: BinaryIO, between: Callable[[], None]) -> None:
    target.write(found.raw_header)
    # In the order of the header.
    for name in found.report.header.tensors:
        tensor, begin = found.tensors[name]
        copying.copy(tensor, begin, source, target.write, between)


def _examined(file: BinaryIO, *, allow_unsafe: bool) -> _Found:
    size = file.seek(0, 2)
    reading = Reading(file, size)
    raw_header, tensors = header.encode({}, {}), dict[str, tuple[Tensor, int]]()
    try:
        raw_header, tensors = _contents(reading, size)
    except PickleMalformed:
        # A pickle that asks for something dangerous does not become less so by being broken as well.
        if not reading.refused:
            raise
    if reading.refused and not allow_unsafe:
        raise _unsafe(reading.refused)
    report = PickleReport(
        format=reading.format,
        globals=tuple(reading.symbols),
        dangerous=reading.refused,
        header=header.parse(raw_header[header.LENGTH_BYTES :]),
    )
    return _Found(report, raw_header, tensors)


def _contents(reading: Reading, size: int) -> tuple[bytes, dict[str, tuple[Tensor, int]]]:
    """The header of the safetensors file, and where each tensor comes from."""
    contents = reading.contents()
    named = naming.named(contents.root)
    if not named:
        raise PickleMalformed("the file holds no tensor with a name")
    if sum(map(copying.moves, named.values())) > _MAX_MOVES:
        raise PickleMalformed("the elements of the tensors are too scattered to be put in order")
    tensors = {
        name: (tensor, contents.place(tensor.storage, copying.itemsize(tensor)))
        for name, tensor in named.items()
    }
    raw_header = header.encode(
        {name: (tensor.dtype, tensor.shape) for name, tensor in named.items()},
        {**naming.notes(contents.root), "format": "pt"},
    )
    try:
        made = header.parse(raw_header[header.LENGTH_BYTES :])
    except header.HeaderError as error:
        raise PickleMalformed(f"the tensors fit into no safetensors file: {error}") from error
    if made.file_size > _MAX_GROWTH * size + _ALWAYS_ALLOWED:
        raise PickleMalformed(f"the tensors of the file of {size} bytes would take {made.file_size}")
    return raw_header, tensors


def _unsafe(refused: tuple[str, ...]) -> PickleUnsafe:
    shown = ", ".join(refused[:_SHOWN_GLOBALS])
    more = f" and {len(refused) - _SHOWN_GLOBALS} more" if len(refused) > _SHOWN_GLOBALS else ""
    return PickleUnsafe(
        f"the pickle asks for {shown}{more}, which no file of weights needs; "
        "loading it could run code: give the same model as a safetensors file",
        refused,
    )
