"""The second pass of txt2img (A1111's hires fix): its sizes, sampler and files, as a request's hr_ fields
say. Pure."""

from dataclasses import dataclass

from sd_runtime.a1111 import sampler_names
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.sampler_names import Choice
from sd_runtime.a1111.schemas.generation import MIN_SIDE
from sd_runtime.a1111.schemas.txt2img import Txt2ImgRequest
from sd_runtime.a1111.stock import Stock
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling import AUTOMATIC
from sd_runtime.tasks.recipe import LATENT_STRIDE, Upscaler

SAME_SAMPLER = "Use same sampler"
SAME_SCHEDULER = "Use same scheduler"
SAME_CHECKPOINT = "Use same checkpoint"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Width and height in pixels: of the first pass, of what it is enlarged to, and of the picture, which is
    cut from the middle of that."""

    first: tuple[int, int]
    enlarged: tuple[int, int]
    final: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPass:
    """What is decided about it."""

    sizes: Sizes
    steps: int
    choice: Choice
    upscaler: Upscaler
    #: None: that of the first pass.
    checkpoint: Checkpoint | None
    #: Whether hr_scale counted, and not hr_resize_x and _y.
    scaled: bool


def decide(
    request: Txt2ImgRequest, choice: Choice, *, options: Values, stock: Stock, limits: Limits
) -> SecondPass | None:
    """The second pass of a request whose first one uses `choice`; None: there is none."""
    if not request.enable_hr:
        for field in ("firstphase_width", "firstphase_height"):
            if getattr(request, field):
                raise UnsupportedError(field, getattr(request, field), "0, as enable_hr is false")
        return None
    limits.judge_steps("hr_second_pass_steps", request.hr_second_pass_steps)
    sizes = sizes_of(request)
    field = "hr_resize_x" if request.hr_resize_x or request.hr_resize_y else "hr_scale"
    for side in (*sizes.final, *sizes.enlarged):
        if side < MIN_SIDE:
            raise UnsupportedError(field, getattr(request, field), f"sides of {MIN_SIDE} pixels or more")
        limits.judge_side(f"{field} (a side of the picture)", side)
    return SecondPass(
        sizes=sizes,
        steps=request.hr_second_pass_steps or request.steps,
        choice=_choice(request, choice),
        upscaler=stock.upscaler("hr_upscaler", request.hr_upscaler, options),
        checkpoint=stock.checkpoint_or_none(
            "hr_checkpoint_name", request.hr_checkpoint_name, SAME_CHECKPOINT
        ),
        scaled=field == "hr_scale" and not request.firstphase_width,
    )


def sizes_of(request: Txt2ImgRequest) -> Sizes:
    """The sizes of both passes. Where one of hr_resize_x and _y is 0 it follows from the other; where both
    are given the picture is enlarged until it covers them. Sizes become multiples of 8 as latents do: what is
    over is dropped."""
    first, target = (request.width, request.height), (request.hr_resize_x, request.hr_resize_y)
    if request.firstphase_width or request.firstphase_height:
        first = request.firstphase_width, request.firstphase_height
        for field, side in zip(("firstphase_width", "firstphase_height"), first, strict=True):
            if side < MIN_SIDE:
                raise UnsupportedError(field, side, f"{MIN_SIDE} or more, both sides given")
        if target == (0, 0):
            target = request.width, request.height
    if target == (0, 0):
        final = tuple(_whole(side * request.hr_scale) for side in first)
        return Sizes(first, (final[0], final[1]), (final[0], final[1]))
    return _resized(first, target)


def _resized(first: tuple[int, int], target: tuple[int, int]) -> Sizes:
    (width, height), (to_width, to_height) = first, target
    by_width = to_width, _whole(to_width * height // width)
    by_height = _whole(to_height * width // height), to_height
    if not to_height:
        return Sizes(first, by_width, by_width)
    if not to_width:
        return Sizes(first, by_height, by_height)
    # The longer way round, so that nothing of the target stays empty.
    wider = to_width * height >= to_height * width
    return Sizes(first, by_width if wider else by_height, target)


def _whole(pixels: float) -> int:
    return int(pixels) // LATENT_STRIDE * LATENT_STRIDE


def _choice(request: Txt2ImgRequest, first: Choice) -> Choice:
    """The sampler and schedule of the second pass: each is that of the first where none is named."""
    name = _named(request.hr_sampler_name, SAME_SAMPLER)
    scheduler = _named(request.hr_scheduler, SAME_SCHEDULER)
    try:
        chosen = sampler_names.choose(
            sampler_name=name or first.sampler.name, sampler_index="", scheduler=scheduler
        )
    except UnsupportedError as error:
        field = {"sampler_name": "hr_sampler_name", "scheduler": "hr_scheduler"}[error.field]
        raise UnsupportedError(field, error.value, error.allowed) from None
    if scheduler is None and chosen.scheduler.name == AUTOMATIC:
        return Choice(chosen.sampler, first.scheduler)
    return chosen


def _named(value: str | None, same: str) -> str | None:
    return None if not value or value.lower() == same.lower() else value
