"""A request of A1111 judged: what is refused, what its names mean, which seeds its pictures get.

Pure but for the names of model files, which it looks up.
"""

from dataclasses import dataclass, replace
from random import Random

from sd_modelfiles.family import Family
from sd_runtime.a1111 import fields, pictures, sampler_names, scripts, second_pass, tuning, upscalers
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet import deciding, maps, reading
from sd_runtime.a1111.controlnet.deciding import Decided
from sd_runtime.a1111.controlnet.scene import Pass, Scene
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.plan import Inputs, Plan
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from sd_runtime.a1111.second_pass import SecondPass
from sd_runtime.a1111.stock import Stock
from sd_runtime.a1111.words import Reader, Words
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec
from sd_runtime.images.resizing import Size
from sd_runtime.jobs import seeds
from sd_runtime.prompt.styles import Styles
from sd_runtime.tasks.recipe import ResizeMode, Upscaler

#: Fields that the engine names otherwise.
_CLIENTS_NAMES = {"clip_skip": "CLIP_stop_at_last_layers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a request is judged against and looked up in."""

    options: Values
    stock: Stock
    styles: Styles
    limits: Limits
    random: Random


def plan(request: GenerationRequest, inputs: Inputs, around: Surroundings) -> Plan:
    """Judges the request and lays out its pictures; raises `UnsupportedError` for what is not served. The
    request's infotext is taken to be in its fields already (`filling`)."""
    scripts.refuse_unserved(request.script_name, request.alwayson_scripts)
    fields.refuse_unserved(request)
    around.limits.judge_steps("steps", request.steps)
    choice = sampler_names.choose(
        sampler_name=request.sampler_name, sampler_index=request.sampler_index, scheduler=request.scheduler
    )
    stock, options = around.stock, around.options
    checkpoint = _checkpoint(stock, options)
    used = checkpoint or stock.served
    refiner = stock.checkpoint_or_none("refiner_checkpoint", request.refiner_checkpoint)
    second = None
    if isinstance(request, Txt2ImgRequest):
        second = second_pass.decide(request, choice, options=options, stock=stock, limits=around.limits)
    _judge_families(stock, used, refiner, second)
    batch_size = _batch_size(request, inputs)
    _judge_size(request, second, batch_size, around.limits)
    words, second_words = _words(request, around, second)
    count = batch_size * request.n_iter
    first_seeds, subseeds = _seeds(request, count, around.random)
    decided = Plan(
        request=request,
        inputs=inputs,
        options=options,
        choice=choice,
        words=words,
        networks=stock.networks("prompt", words.mentions),
        second=second and replace(second, checkpoint=_unless_it_is(second.checkpoint, used)),
        second_words=second_words,
        second_networks=stock.networks("hr_prompt", second_words.mentions),
        checkpoint=checkpoint,
        vae=stock.vae(options.vae, used),
        refiner=_unless_it_is(refiner, used),
        enlarging=_enlarging(stock, options),
        batch_size=batch_size,
        seeds=first_seeds,
        subseeds=subseeds,
        controls=_controls(request, inputs, around, used, second, refiner, count),
    )
    planned = replace(decided, iterations=pictures.of(decided))
    pictures.judge_files(planned)
    _judge_maps(planned, around.limits)
    return planned


def in_clients_words(error: Exception) -> Exception:
    """The engine's refusal under the name that a client knows the field by; any other error as it is."""
    if isinstance(error, UnsupportedError) and error.field in _CLIENTS_NAMES:
        return UnsupportedError(_CLIENTS_NAMES[error.field], error.value, error.allowed)
    return error


def _judge_families(
    stock: Stock, used: Checkpoint | None, refiner: Checkpoint | None, second: SecondPass | None
) -> None:
    """The checkpoints that go on with latents of others; a second pass over pixels may have any."""
    if second is not None and second.checkpoint is not None:
        if second.upscaler.path is None and second.upscaler.name in upscalers.LATENT_MODES:
            stock.demand_shared_latents("hr_checkpoint_name", second.checkpoint, used)
        used = second.checkpoint
    if refiner is not None:
        stock.demand_shared_latents("refiner_checkpoint", refiner, used)


def _batch_size(request: GenerationRequest, inputs: Inputs) -> int:
    """As asked for; several pictures to start from are one each, so that there are as many."""
    given = len(inputs.images)
    if given <= 1:
        return request.batch_size
    if given > request.batch_size > 1:
        allowed = f"one picture, or up to batch_size ({request.batch_size})"
        raise UnsupportedError("init_images", f"{given} pictures", allowed)
    return given


def _judge_size(
    request: GenerationRequest, second: SecondPass | None, batch_size: int, limits: Limits
) -> None:
    limits.judge_counts(batch_size=batch_size, n_iter=request.n_iter)
    for field in ("width", "height"):
        limits.judge_side(field, getattr(request, field))
    width, height = request.width, request.height
    if second is not None:
        width, height = (max(pair) for pair in zip(second.sizes.first, second.sizes.enlarged, strict=True))
    limits.judge_pixels(pictures=batch_size * request.n_iter, width=width, height=height)


def _words(
    request: GenerationRequest, around: Surroundings, second: SecondPass | None
) -> tuple[Words, Words]:
    """Of both passes; each of the second's prompts is the first's where none is given."""
    reader = Reader(
        styles=around.styles,
        names=request.styles or (),
        options=around.options,
        leave_out_networks=request.disable_extra_networks,
    )
    words = reader.read(request.prompt, request.negative_prompt)
    if second is None or not isinstance(request, Txt2ImgRequest):
        return words, words
    if not (request.hr_prompt or request.hr_negative_prompt):
        return words, words
    further = reader.read(
        request.hr_prompt or request.prompt,
        request.hr_negative_prompt or request.negative_prompt,
        prefix="hr_",
    )
    return words, further


def _controls(
    request: GenerationRequest,
    inputs: Inputs,
    around: Surroundings,
    used: Checkpoint | None,
    second: SecondPass | None,
    refiner: Checkpoint | None,
    count: int,
) -> tuple[Decided, ...]:
    """The units of ControlNet."""
    if not inputs.units:
        return ()

    def family_of(checkpoint: Checkpoint | None) -> Family | None:
        return around.stock.library.family(checkpoint.path) if checkpoint else None

    def drawn(size: Size, checkpoint: Checkpoint | None, *, is_last: bool) -> Pass:
        family, stem = family_of(checkpoint), checkpoint.stem if checkpoint else ""
        other = family_of(refiner) if is_last and not request.refiner_switch_at else None
        refined = refiner.stem if refiner and other and family and other is not family else ""
        return Pass(size=size, checkpoint=stem, family=family, refiner=refined)

    size = second.sizes.first if second else (request.width, request.height)
    first = drawn(size, used, is_last=second is None)
    scene = Scene(
        library=around.stock.library,
        plugins=around.stock.plugins,
        first=first,
        second=drawn(second.sizes.final, second.checkpoint or used, is_last=True) if second else None,
        pictures=count,
        most=around.options.controlnet_units,
    )
    if isinstance(request, Img2ImgRequest):
        colour = tuning.colour(around.options.img2img_background_color)
        scene = replace(
            scene,
            images=tuple(codec.flatten(image, colour) for image in inputs.images),
            resize_mode=ResizeMode(request.resize_mode),
            mask=tuning.mask(request, inputs.mask),
        )
    return deciding.decide(inputs.units, scene)


def _judge_maps(plan: Plan, limits: Limits) -> None:
    """They are in memory with the pictures until the answer is sent."""
    pixels = maps.pixels_of(plan.controls, are_shown=plan.shows_maps)
    if pixels > limits.pixels:
        raise UnsupportedError(reading.ARGS, f"maps of {pixels} pixels", f"{limits.pixels} in one request")


def _checkpoint(stock: Stock, options: Values) -> Checkpoint | None:
    if options.checkpoint is None:
        return None
    return _unless_it_is(stock.checkpoint("sd_model_checkpoint", options.checkpoint), stock.served)


def _unless_it_is(found: Checkpoint | None, used: Checkpoint | None) -> Checkpoint | None:
    """None where there is no other checkpoint to change to."""
    return None if found is None or (used is not None and found.path == used.path) else found


def _enlarging(stock: Stock, options: Values) -> Upscaler | None:
    name = options.upscaler_for_img2img
    return None if name == "None" else stock.upscaler("upscaler_for_img2img", name, options)


def _seeds(request: GenerationRequest, count: int, random: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Seeds and variation seeds; those count up that make the difference (A1111's)."""
    first = seeds.fixed(request.seed, random)
    varied = request.subseed_strength > 0
    return (
        (first,) * count if varied else seeds.consecutive(first, count),
        seeds.consecutive(seeds.fixed(request.subseed, random), count),
    )
