"""A file of weights whatever its format: safetensors, or a pickle of PyTorch's where the policy allows that.

A pickle is read without PyTorch's unpickler and without running anything of it: `sd_modelfiles.pickles` says
what it holds and copies the numbers out, a tensor at a time. So it is stricter than `torch.load` with
`weights_only`, and takes no more memory than a safetensors file. Knows nothing of what the tensors are for.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from sd_modelfiles import header, pickles, sniff
from sd_modelfiles.header import Header
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models.digests import DigestCache, key_of
from sd_runtime.models.reading import Place, Workbench, read_weights

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: What an operator of the server sets to have pickles read.
PICKLES_SETTING = "SD_ALLOW_PICKLES"

Weights = dict[str, torch.Tensor]


class WeightsFile(Protocol):
    """An open question to a file: what is in it, and then the tensors."""

    @property
    def path(self) -> Path: ...

    @property
    def header(self) -> Header: ...

    def read(self, place: Place, digests: DigestCache) -> tuple[Weights, str]:
        """The tensors that `place` wants, as it wants them, and the SHA-256 of the file's bytes; faults are
        `CheckpointError`s."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """How many numbers each tensor has."""
        ...


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets every fault of the file begin with its name."""
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{path.name}: {error}") from error


def open_file(path: Path, *, allow_pickles: bool) -> WeightsFile:
    """Read and check what the file says of itself, which takes no memory; faults are `CheckpointError`s."""
    try:
        with path.open("rb") as file:
            start = file.read(sniff.SNIFF_BYTES)
        if sniff.is_pickle(start):
            return _open_pickle(path, allow_pickles)
        return SafetensorsFile(path, header.read(path))
    except OSError as error:
        raise CheckpointUnavailable(f"cannot be read: {error.strerror}") from error
    except header.HeaderError as error:
        raise CheckpointError(sniff.other_format(start) or str(error)) from error


def _open_pickle(path: Path, allowed: bool) -> "PickledFile":
    if not allowed:
        raise CheckpointError(
            "a Python pickle (.ckpt, .pt), which this server does not read; give a safetensors file, or set "
            f"{PICKLES_SETTING} to true"
        )
    try:
        return PickledFile(path, pickles.inspect(path).header)
    except (pickles.PickleMalformed, pickles.PickleUnsafe) as error:
        raise CheckpointError(str(error)) from error


class SafetensorsFile:
    """Read in one pass."""

    def __init__(self, path: Path, head: Header) -> None:
        self.path = path
        self.header = head

    def read(self, place: Place, digests: DigestCache) -> tuple[Weights, str]:
        """As `WeightsFile.read`."""
        return read_weights(self.path, self.header, place, digests)

    def sizes(self) -> Mapping[str, int]:
        """As `WeightsFile.sizes`."""
        return _sizes(self.header)


class PickledFile:
    """Read in the order of its tensors' names; for its digest, which the order of its bytes makes, once
    more."""

    def __init__(self, path: Path, head: Header) -> None:
        self.path = path
        self.header = head

    def read(self, place: Place, digests: DigestCache) -> tuple[Weights, str]:
        """As `WeightsFile.read`."""
        try:
            before = key_of(self.path.stat())
            sha256 = digests.compute(self.path)
            sink = _Sink(self.header, place)
            pickles.convert(self.path, sink)
            if key_of(self.path.stat()) != before:
                raise CheckpointUnavailable("the file changed while it was being read")
        except OSError as error:
            raise CheckpointUnavailable(f"cannot be read: {error.strerror or error}") from error
        except (pickles.PickleMalformed, pickles.PickleUnsafe) as error:
            raise CheckpointError(str(error)) from error
        return sink.weights(), sha256

    def sizes(self) -> Mapping[str, int]:
        """As `WeightsFile.sizes`."""
        return _sizes(self.header)


def _sizes(head: Header) -> dict[str, int]:
    return {name: math.prod(info.shape) for name, info in head.tensors.items()}


class _Sink(BytesIO):
    """Takes a safetensors file as it is written, and keeps the wanted tensors instead of the bytes."""

    def __init__(self, head: Header, place: Place) -> None:
        super().__init__()
        self._place = place
        self._skipped = head.data_start
        self._pending = iter(sorted(head.tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
        self._weights: Weights = {}
        self._bench = Workbench()
        self._filled = 0
        self._next()
        self._finish()

    def write(self, data: "Buffer", /) -> int:
        """Take the next bytes of the file."""
        with memoryview(data) as view, view.cast("B") as piece:
            count, at = len(piece), min(self._skipped, len(piece))
            self._skipped -= at
            while at < count:
                at += self._take(piece[at:])
        return count

    def weights(self) -> Weights:
        """The wanted tensors; the whole file has been written."""
        if self._current is not None:
            raise CheckpointError("the file ends inside of a tensor")
        return self._weights

    def _take(self, piece: memoryview) -> int:
        if self._current is None:
            raise CheckpointError("the file is longer than its tensors")
        _, info = self._current
        count = min(len(piece), info.end - info.begin - self._filled)
        if self._raw is not None:
            self._raw.numpy()[self._filled : self._filled + count] = piece[:count]
        self._filled += count
        self._finish()
        return count

    def _finish(self) -> None:
        while self._current is not None and self._filled == self._current[1].end - self._current[1].begin:
            name, info = self._current
            if self._raw is not None and self._placement is not None:
                self._weights[name] = self._bench.tensor(self._raw, name, info, self._placement)
            self._filled = 0
            self._next()

    def _next(self) -> None:
        self._current = next(self._pending, None)
        self._placement = self._place(self._current[0]) if self._current else None
        self._raw = None
        if self._current is not None and self._placement is not None:
            self._raw = self._bench.room(*self._current, self._placement)
