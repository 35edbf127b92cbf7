"""What this replica is to serve: one revision of an SDInstance's wish, as a file at start and as an update
over the management port.

Judges the form of a wish and where its checkpoint lies. Whether the file can be loaded and the options be
honoured is found out by others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sd_runtime.errors import SdError, complaint, shown

#: Of a wish as text; the largest ones hold a few dozen options.
MAX_BYTES = 256 * 1024
_MOST_OPTIONS = 256
_MOST_PROBLEMS = 10


class DesiredError(SdError):
    """A wish is malformed: names the field, its value and what is allowed."""

    reason = "Invalid"


class OutdatedError(SdError):
    """A wish is older than one that was accepted before."""

    reason = "Outdated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A checkpoint and the replica's default options. The two that may be None are so without an operator:
    then any content of the file will do."""

    path: Path
    sha256: str | None = None
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def means(self, path: Path, sha256: str) -> bool:
        """Whether the checkpoint with this path and digest is the wished one."""
        return self.path == path and self.sha256 in (None, sha256)


class _Strict(BaseModel):
    """Nothing is converted, and a field that is not known is refused: it would not be honoured."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DesiredCheckpoint(_Strict):
    """A file below a model root, and the digest of its bytes."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Desired(_Strict):
    """The content of SD_DESIRED_FILE."""

    #: Opaque: two wishes with the same revision are the same wish.
    revision: Annotated[str, Field(min_length=1, max_length=256)]
    checkpoint: DesiredCheckpoint
    #: By A1111's names; what cannot be honoured is told in the state, not refused.
    options: Annotated[dict[str, Any], Field(max_length=_MOST_OPTIONS)] = {}

    def wish(self) -> Wish:
        """The same in the process's own words."""
        return Wish(
            path=Path(self.checkpoint.path),
            sha256=self.checkpoint.sha256,
            revision=self.revision,
            options=self.options,
        )


class DesiredUpdate(Desired):
    """The body of PUT /v1/desired; updates of a lower generation than an accepted one are outdated."""

    generation: Annotated[int, Field(ge=0)]


AnyDesired = TypeVar("AnyDesired", bound=Desired)


def decode(kind: type[AnyDesired], text: bytes, roots: Iterable[Path]) -> AnyDesired:
    """A wish from JSON; raises `DesiredError`."""
    try:
        desired = kind.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        sentences = [complaint(problem, whole="document") for problem in problems[:_MOST_PROBLEMS]]
        raise DesiredError("; ".join(sentences)) from error
    _demand_below(roots, desired.checkpoint.path)
    return desired


def read(path: Path, roots: Iterable[Path]) -> Wish:
    """The wish that a file holds; raises a `DesiredError` that begins with the file's name."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise DesiredError(f"is larger than {MAX_BYTES} bytes, the most that is accepted")
        return decode(Desired, text, roots).wish()
    except OSError as error:
        raise DesiredError(f"{path}: cannot be read: {error.strerror}") from error
    except DesiredError as error:
        raise DesiredError(f"{path}: {error}") from error


def _demand_below(roots: Iterable[Path], text: str) -> None:
    """The file must be below a root as it is written, and where its links lead."""
    roots = tuple(roots)
    path = Path(text)
    inside = "\0" not in text and ".." not in path.parts and _is_below(path, roots)
    if not inside or not _is_below(path.resolve(), [root.resolve() for root in roots]):
        places = ", ".join(str(root) for root in roots) or "there is none, as SD_MODEL_ROOTS is empty"
        raise DesiredError(
            f"checkpoint.path: {shown(text)} is not accepted: must be a file below a model root: {places}"
        )


def _is_below(path: Path, roots: Iterable[Path]) -> bool:
    return any(path != root and path.is_relative_to(root) for root in roots)
