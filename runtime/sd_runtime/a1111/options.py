"""A1111's options: the few that can be changed, and the fixed truth of those that clients look at.

Below what clients change are the defaults that the SDInstance wishes for its replicas, and below those the
ones built in. A client's change counts for this replica only, until the process ends or other defaults are
wished. An unknown name, or a value that cannot be honoured, is refused by name; a value that an option has
already is always accepted, so that a client may send back the whole answer of GET with one value changed.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sd_runtime.a1111.fields import spelled
from sd_runtime.errors import NotLoaded, UnsupportedError

CHECKPOINT = "sd_model_checkpoint"
DIGEST = "sd_checkpoint_hash"
CLIP_SKIP = "CLIP_stop_at_last_layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The options that can be changed."""

    #: 1 is the last layer of the text encoder.
    clip_skip: int = 1
    save_samples: bool = True
    #: No VAE file is served, so both values mean the checkpoint's own.
    vae: str = "Automatic"


@dataclass(frozen=True, slots=True)
class Option:
    """One option that can be changed: where its value is kept, and which values it takes."""

    attribute: str
    accepts: Callable[[object], bool]
    allowed: str


def _is_layer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 12


CHANGEABLE = {
    CLIP_SKIP: Option(
        "clip_skip", _is_layer, "whole numbers from 1 to 12, or to the layers of a smaller text encoder"
    ),
    "samples_save": Option("save_samples", lambda value: isinstance(value, bool), "true, false"),
    "sd_vae": Option("vae", lambda value: value in ("Automatic", "None"), '"Automatic", "None"'),
}

#: What is true of this server and cannot be changed; the second value of each pair says why.
FIXED: dict[str, tuple[Any, str]] = {
    "samples_format": ("png", "pictures are PNG"),
    "enable_pnginfo": (True, "every picture carries its parameters"),
    "save_to_dirs": (True, "pictures are saved in a folder a day"),
    "grid_save": (False, "grids are not made"),
    "return_grid": (False, "grids are not made"),
    "randn_source": (
        "CPU",
        "noise is drawn by torch's CPU generator, so that it is the same on every device",
    ),
    "eta_noise_seed_delta": (0, "a seed delta is not served"),
    "eta_ancestral": (1.0, "eta is not served"),
    "emphasis": ("Original", "other ways of emphasis are not served"),
    "token_merging_ratio": (0.0, "token merging is not served"),
    "sd_lora": ("None", "LoRA is not served"),
    "sd_hypernetwork": ("None", "hypernetworks are not served"),
    "face_restoration_model": (None, "face restoration is not served"),
    "live_previews_enable": (False, "previews are not made"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What options are judged against: their values now, which spellings mean the served checkpoint, and the
    layers of its text encoder (None: not loaded)."""

    current: Mapping[str, Any]
    names: Callable[[str], bool]
    text_layers: int | None


class Options:
    """The options of this process; every method may be called from any thread."""

    def __init__(self, *, output_folder: str) -> None:
        self._values = self._defaults = Values()
        self._wished: Mapping[str, Any] = {}
        self._changing = threading.Lock()
        self._output_folder = output_folder

    def as_dict(self, *, checkpoint_title: str, checkpoint_sha256: str | None) -> dict[str, Any]:
        """Every option with its value, as GET /sdapi/v1/options answers."""
        return {
            CHECKPOINT: checkpoint_title,
            DIGEST: checkpoint_sha256 or "",
            **{name: getattr(self._values, option.attribute) for name, option in CHANGEABLE.items()},
            "outdir_txt2img_samples": self._output_folder,
            **{name: value for name, (value, _) in FIXED.items()},
        }

    def overridden(self, changes: Mapping[str, Any], served: Served) -> Values:
        """The values with these changes, all or none."""
        values = self._values
        for name, value in changes.items():
            if name not in served.current:
                raise UnsupportedError(
                    name, value, f"the options of this server: {', '.join(served.current)}"
                )
            if name in CHANGEABLE:
                values = _change(values, name, value)
            elif not _same(value, served.current[name]) and not _means_served(name, value, served.names):
                raise UnsupportedError(name, value, f"{spelled(served.current[name])} ({_why_fixed(name)})")
        if values.clip_skip != self._values.clip_skip:
            _judge_clip_skip(values.clip_skip, served.text_layers)
        return values

    def change(self, changes: Mapping[str, Any], served: Served) -> None:
        """From now on these changes count; of two at once, neither is lost."""
        with self._changing:
            self._values = self.overridden(changes, served)

    def take_defaults(self, wished: Mapping[str, Any], text_layers: int) -> list[UnsupportedError]:
        """From now on these are the defaults of a model with so many text layers; returns what of them cannot
        be honoured. Where they differ from those before, changes by clients end; otherwise they stay, but for
        those that this model cannot honour.
        """
        defaults, refused = _defaults(wished, text_layers)
        with self._changing:
            if _as_json(wished) != _as_json(self._wished):
                self._values = defaults
            else:
                changed = _differences(self._values, self._defaults)
                if changed.get("clip_skip", 1) > text_layers:
                    del changed["clip_skip"]
                self._values = replace(defaults, **changed)
            self._wished, self._defaults = wished, defaults
        return refused


def _defaults(wished: Mapping[str, Any], text_layers: int) -> tuple[Values, list[UnsupportedError]]:
    """Each wished option on its own: one that cannot be honoured does not cost the others."""
    values, refused = Values(), []
    for name, value in wished.items():
        try:
            values = _with_default(values, name, value, text_layers)
        except UnsupportedError as error:
            refused.append(error)
    return values, refused


def _with_default(values: Values, name: str, value: object, text_layers: int) -> Values:
    if name in CHANGEABLE:
        changed = _change(values, name, value)
        _judge_clip_skip(changed.clip_skip, text_layers)
        return changed
    if name in FIXED and _same(value, FIXED[name][0]):
        return values
    if name in FIXED:
        raise UnsupportedError(name, value, f"{spelled(FIXED[name][0])} ({FIXED[name][1]})")
    if name in (CHECKPOINT, DIGEST):
        raise UnsupportedError(name, value, f"none here: {_why_fixed(name)}")
    raise UnsupportedError(name, value, f"the options {', '.join((*CHANGEABLE, *FIXED))}")


def _differences(values: Values, others: Values) -> dict[str, Any]:
    return {
        field.name: getattr(values, field.name)
        for field in fields(Values)
        if getattr(values, field.name) != getattr(others, field.name)
    }


def _as_json(value: object) -> str:
    """For comparison: unlike in Python, true is not 1."""
    return json.dumps(value, sort_keys=True)


def _judge_clip_skip(value: int, layers: int | None) -> None:
    """Here and not when a picture is made: a value that is kept would fail every later request."""
    if layers is None:
        raise NotLoaded(f"{CLIP_SKIP} cannot be judged before the checkpoint is loaded; try again shortly")
    if value > layers:
        raise UnsupportedError(CLIP_SKIP, value, f"1 to {layers}, the layers of this model's text encoder")


def _change(values: Values, name: str, value: object) -> Values:
    option = CHANGEABLE[name]
    if not option.accepts(value):
        raise UnsupportedError(name, value, option.allowed)
    changes: dict[str, Any] = {option.attribute: value}
    return replace(values, **changes)


def _means_served(name: str, value: object, names_served: Callable[[str], bool]) -> bool:
    """Whether the value is another spelling of the served checkpoint, or its digest not known yet."""
    if not isinstance(value, str):
        return False
    return (name == DIGEST and value == "") or (name in (CHECKPOINT, DIGEST) and names_served(value))


def _same(value: object, other: object) -> bool:
    """Equal as JSON values: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _why_fixed(name: str) -> str:
    if name in (CHECKPOINT, DIGEST):
        return "which checkpoint is served is set by spec.checkpoint of the SDInstance"
    return FIXED[name][1] if name in FIXED else "cannot be changed over this interface"
