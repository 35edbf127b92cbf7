"""A picture's controls made ready for one pass: maps asked for, brought to the pass's size, and put where the
engine shows them to networks; of those that keep colours, latents.

Importing it does not import torch. Knows neither networks nor steps.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sd_runtime.engine.work import ActiveControl, Apart, EncodeImage, Host, Pixels, Work
from sd_runtime.images import resizing
from sd_runtime.images.masks import Region
from sd_runtime.images.resizing import Size
from sd_runtime.tasks.control import Control, ControlMode, Fitted
from sd_runtime.tasks.recipe import Grey

if TYPE_CHECKING:
    from sd_runtime.tasks.colour_fix import Colours

#: By how much colours may stray further in a second pass (sd-webui-controlnet's).
_WIDENED = 2


@dataclass(frozen=True, slots=True, eq=False)
class Steering:
    """A control in one pass."""

    control: Control
    active: ActiveControl
    #: Those that the pass keeps.
    colours: "Colours | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a pass draws: a picture of this size, or, of a picture of a size of its own, a region at this
    size."""

    size: Size
    picture: Size | None = None
    region: Region | None = None


def first_pass(
    controls: Sequence[Control], frame: Frame, *, vae: Path | None = None, tiling: bool = False
) -> Generator[Work, Any, tuple[Steering, ...]]:
    """Those of the pass at the first size; what making a map raises ends the task. The autoencoder is the one
    that the pass has."""
    steering = []
    for control in controls:
        if control.first_pass and control.weight:
            active, shown = yield from _steer(control, frame, soft=control.mode is not ControlMode.BALANCED)
            colours = yield from _colours(active, control, shown, vae=vae, tiling=tiling)
            steering.append(Steering(control, active, colours))
    return tuple(steering)


def second_pass(
    controls: Sequence[Control], size: Size, *, vae: Path | None = None, tiling: bool = False
) -> Generator[Work, Any, tuple[Steering, ...]]:
    """Those of hires fix's second pass, at its size."""
    steering = []
    for control in controls:
        if control.second_pass and control.weight:
            soft = control.soft_second_pass or control.mode is not ControlMode.BALANCED
            active, shown = yield from _steer(control, Frame(size), soft=soft)
            colours = yield from _colours(active, control, shown, vae=vae, tiling=tiling, widened=_WIDENED)
            steering.append(Steering(control, active, colours))
    return tuple(steering)


def _steer(
    control: Control, frame: Frame, *, soft: bool
) -> Generator[Work, Any, tuple[ActiveControl, Pixels]]:
    """What the engine is told, and the map in it."""
    from sd_runtime.models.controlling import ControlMap

    if control.hint.made is None:
        yield Apart(control.hint.get, control.hint, lane=control.hint.lane)
    fitting = control.fitted(frame.size)
    fitted: Fitted = fitting.made or (yield Host(fitting.get, fitting))
    mask = control.mask
    if mask is not None and frame.region is not None:
        mask = yield Host(partial(_cut, mask, frame))
    active = ActiveControl(
        control.network,
        ControlMap(fitted.pixels, blank=fitted.blank, mask=mask),
        control.weight,
        soft,
        prompt_only=control.mode is ControlMode.CONTROL,
        field=control.field,
    )
    return active, fitted.pixels


def _colours(
    active: ActiveControl,
    control: Control,
    shown: Pixels,
    *,
    vae: Path | None,
    tiling: bool,
    widened: int = 1,
) -> "Generator[Work, Any, Colours | None]":
    """Those of the map, where the control is to keep them."""
    from sd_runtime.tasks.colour_fix import Colours

    if control.colour_fix is None:
        return None
    latents = yield EncodeImage(shown, vae, tiling)
    everywhere = active.shown.is_everywhere
    mask = None if everywhere else active.shown.mask_at(latents.shape[-2:], latents.device)
    return Colours(latents, control.colour_fix, weight=control.weight, mask=mask, widened=widened)


def _cut(mask: Grey, frame: Frame) -> Grey:
    """Of a mask that lies all over the picture, the part that is drawn."""
    assert frame.picture is not None and frame.region is not None
    return resizing.fill(frame.region.cut(resizing.lanczos(mask, frame.picture)), frame.size)
