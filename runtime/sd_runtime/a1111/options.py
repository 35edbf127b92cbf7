"""A1111's options: the values that count now, and how changes of them are judged.

Below what clients change are the defaults that the operator wishes for its replicas, and below those the
ones built in. A client's change counts for this replica only, until the process ends or other defaults are
wished. An unknown name, or a value that cannot be honoured, is refused by name; a value that an option has
already is always accepted, so that a client may send back the whole answer of GET with one value changed.

Which options there are is in `option_table`. Which checkpoint is served is not kept here: an option names it
for one request, and whoever may change it for all does so elsewhere.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.fields import spelled
from sd_runtime.a1111.option_table import CHANGEABLE, CHECKPOINT, CLIP_SKIP, DIGEST, FIXED, Option
from sd_runtime.a1111.option_values import Values
from sd_runtime.errors import NotLoaded, UnsupportedError

__all__ = ["CHECKPOINT", "DIGEST", "Models", "Options", "Served", "Values"]

#: Of the names that a refusal lists.
_MOST_NAMES = 20


class Models(Protocol):
    """What is known of the model files."""

    def means_served(self, name: str) -> bool:
        """Whether a spelling of a checkpoint's name means the served one."""

    def checkpoint(self, name: str) -> str | None:
        """The name of the checkpoint that this spelling means; None where it means none."""

    def has(self, kind: ModelType, name: str) -> bool:
        """Whether a file of this type goes by this name."""

    def names(self, kind: ModelType) -> Sequence[str]:
        """What the files of this type are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What options are judged against: their values now, the files there are, and the layers of the served
    text encoder (None: not loaded)."""

    current: Mapping[str, Any]
    models: Models
    text_layers: int | None


class Options:
    """The options of this process; every method may be called from any thread."""

    def __init__(self, *, output_root: Path) -> None:
        self._values = self._defaults = Values()
        self._wished: Mapping[str, Any] = {}
        self._changing = threading.Lock()
        self._folders = _folders(output_root)

    def as_dict(self, *, checkpoint_title: str, checkpoint_sha256: str | None) -> dict[str, Any]:
        """Every option with its value, as GET /sdapi/v1/options answers."""
        return {
            CHECKPOINT: checkpoint_title,
            DIGEST: checkpoint_sha256 or "",
            **{name: getattr(self._values, option.attribute) for name, option in CHANGEABLE.items()},
            **self._folders,
            **{name: value for name, (value, _) in FIXED.items()},
        }

    def overridden(self, changes: Mapping[str, Any], served: Served) -> Values:
        """The values with these changes, all or none; `checkpoint` is set where they name another one than
        the served."""
        values = self._values
        for name, value in changes.items():
            if not (name == DIGEST and CHECKPOINT in changes and _is_digest(value, served.models)):
                values = _overridden(values, name, value, served)
        _judge_sigmas(values)
        if values.clip_skip != self._values.clip_skip and values.checkpoint is None:
            _judge_clip_skip(values.clip_skip, served.text_layers)
        return values

    def differing(self, changes: Mapping[str, Any], served: Served) -> dict[str, Any]:
        """Those of the changes that would change a value kept here."""
        return {
            name: value
            for name, value in changes.items()
            if name in CHANGEABLE and not _same(value, served.current[name])
        }

    def change(self, changes: Mapping[str, Any], served: Served) -> None:
        """From now on these changes count, but for a checkpoint's name; of two at once, neither is lost."""
        with self._changing:
            self._values = replace(self.overridden(changes, served), checkpoint=None)

    def take_defaults(self, wished: Mapping[str, Any], served: Served) -> list[UnsupportedError]:
        """From now on these are the defaults; returns what of them cannot be honoured by what is served.
        Where they differ from those before, changes by clients end; otherwise they stay, but for those that
        the served model cannot honour.
        """
        assert served.text_layers is not None
        defaults, refused = _defaults(wished, served)
        with self._changing:
            if _as_json(wished) != _as_json(self._wished):
                self._values = defaults
            else:
                changed = _differences(self._values, self._defaults)
                if changed.get("clip_skip", 1) > served.text_layers:
                    del changed["clip_skip"]
                self._values = replace(defaults, **changed)
            self._wished, self._defaults = wished, defaults
        return refused


def _folders(root: Path) -> dict[str, str]:
    """A1111's options for where pictures go; the first of each kind is for all kinds, and empty."""
    kinds = {"txt2img": "txt2img-images", "img2img": "img2img-images", "extras": "extras-images"}
    grids = {"txt2img": "txt2img-grids", "img2img": "img2img-grids"}
    return {
        "outdir_samples": "",
        **{f"outdir_{kind}_samples": str(root / folder) for kind, folder in kinds.items()},
        "outdir_grids": "",
        **{f"outdir_{kind}_grids": str(root / folder) for kind, folder in grids.items()},
    }


def _overridden(values: Values, name: str, value: object, served: Served) -> Values:
    if name not in served.current:
        raise UnsupportedError(name, value, f"the options of this server: {', '.join(served.current)}")
    if _same(value, served.current[name]):
        # Also where it could not be chosen any more, e.g. because its file is gone.
        return values
    if name in CHANGEABLE:
        return _changed(values, name, value, served.models)
    if name == CHECKPOINT:
        return replace(values, checkpoint=_other_checkpoint(value, served.models))
    if name == DIGEST and (value == "" or (isinstance(value, str) and served.models.means_served(value))):
        return values  # another spelling, or not known when the client asked
    raise UnsupportedError(name, value, f"{spelled(served.current[name])} ({_why_fixed(name)})")


def _is_digest(value: object, models: Models) -> bool:
    """Whether this may be said beside a checkpoint's name, which decides: GET tells both, and a client that
    sends all of it back with another name has the digest of the one before."""
    return value == "" or (isinstance(value, str) and models.checkpoint(value) is not None)


def _other_checkpoint(value: object, models: Models) -> str | None:
    """The name of the checkpoint meant; None for the served one."""
    if isinstance(value, str):
        if models.means_served(value):
            return None
        if name := models.checkpoint(value):
            return name
    raise UnsupportedError(CHECKPOINT, value, _some(models.names(ModelType.CHECKPOINT)))


def _defaults(wished: Mapping[str, Any], served: Served) -> tuple[Values, list[UnsupportedError]]:
    """Each wished option on its own: one that cannot be honoured does not cost the others."""
    values, refused = Values(), []
    for name, value in wished.items():
        try:
            values = _with_default(values, name, value, served)
        except UnsupportedError as error:
            refused.append(error)
    return values, refused


def _with_default(values: Values, name: str, value: object, served: Served) -> Values:
    if name in CHANGEABLE:
        changed = _changed(values, name, value, served.models)
        _judge_sigmas(changed)
        _judge_clip_skip(changed.clip_skip, served.text_layers)
        return changed
    if name in FIXED and _same(value, FIXED[name][0]):
        return values
    if name in FIXED:
        raise UnsupportedError(name, value, f"{spelled(FIXED[name][0])} ({FIXED[name][1]})")
    if name in (CHECKPOINT, DIGEST):
        raise UnsupportedError(name, value, "none here: spec.checkpoint of the SDInstance says which")
    raise UnsupportedError(name, value, f"the options {', '.join((*CHANGEABLE, *FIXED))}")


def _changed(values: Values, name: str, value: object, models: Models) -> Values:
    option = CHANGEABLE[name]
    if not option.accepts(value):
        raise UnsupportedError(name, value, option.allowed)
    if option.names is not None:
        _demand_file(name, str(value), option, models)
    changes: dict[str, Any] = {option.attribute: option.converted(value)}
    return replace(values, **changes)


def _demand_file(name: str, value: str, option: Option, models: Models) -> None:
    assert option.names is not None
    if value not in option.words and not models.has(option.names, value):
        raise UnsupportedError(name, value, _some((*option.words, *models.names(option.names))))


def _differences(values: Values, others: Values) -> dict[str, Any]:
    return {
        field.name: getattr(values, field.name)
        for field in fields(Values)
        if getattr(values, field.name) != getattr(others, field.name)
    }


def _as_json(value: object) -> str:
    """For comparison: unlike in Python, true is not 1."""
    return json.dumps(value, sort_keys=True)


def _judge_sigmas(values: Values) -> None:
    """Each may be right by itself. Here, and not when a picture is made, for the same reason as below."""
    if values.sigma_max and values.sigma_min >= values.sigma_max:
        raise UnsupportedError("sigma_min", values.sigma_min, f"less than sigma_max, {values.sigma_max:g}")


def _judge_clip_skip(value: int, layers: int | None) -> None:
    """Here and not when a picture is made: a value that is kept would fail every later request."""
    if layers is None:
        raise NotLoaded(f"{CLIP_SKIP} cannot be judged before the checkpoint is loaded; try again shortly")
    if value > layers:
        raise UnsupportedError(CLIP_SKIP, value, f"1 to {layers}, the layers of this model's text encoder")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(spelled(name) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return (f"{shown} and {more} more" if more > 0 else shown) or "none, as there is no such file"


def _same(value: object, other: object) -> bool:
    """Equal as JSON values: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _why_fixed(name: str) -> str:
    if name == DIGEST:
        return f"{CHECKPOINT} names a checkpoint"
    return FIXED[name][1] if name in FIXED else "cannot be changed over this interface"
