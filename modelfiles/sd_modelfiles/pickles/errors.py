"""Why a pickle is refused."""

from collections.abc import Iterable


class PickleMalformed(Exception):
    """The file is not what PyTorch writes, or it contradicts itself; the message says where."""


class PickleUnsafe(Exception):
    """Loading the file would run code, or might; `globals` are the names it asks for and must not have."""

    def __init__(self, message: str, refused: Iterable[str]) -> None:
        super().__init__(message)
        self.globals = tuple(refused)
