"""A plan as tasks for the engine, one for each picture. Pure."""

from collections.abc import Sequence
from pathlib import Path

from sd_runtime.a1111 import tuning
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.plan import Plan
from sd_runtime.a1111.sampler_names import Choice
from sd_runtime.a1111.schemas import Img2ImgRequest
from sd_runtime.a1111.stock import Network
from sd_runtime.a1111.words import Words
from sd_runtime.images import codec, grid, resizing
from sd_runtime.images.resizing import Size
from sd_runtime.models.library import ModelFile
from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.control import Control
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Guided, Hires, Refiner, ResizeMode
from sd_runtime.tasks.txt2img import Txt2Img


def of(plan: Plan) -> tuple[tuple[Txt2Img | Img2Img, ...], ...]:
    """The pictures of each iteration; raises `UnsupportedError` for what the tasks refuse."""
    request = plan.request
    noises = [
        tuning.noise(request, plan.options, seed=seed, subseed=subseed)
        for seed, subseed in zip(plan.seeds, plan.subseeds, strict=True)
    ]
    made: Sequence[Txt2Img | Img2Img]
    if isinstance(request, Img2ImgRequest):
        made = _from_images(plan, request, noises)
    else:
        made = _from_words(plan, noises)
    starts = range(0, len(made), plan.batch_size)
    return tuple(tuple(made[start : start + plan.batch_size]) for start in starts)


def judge_files(plan: Plan) -> None:
    """Raises `UnsupportedError` where the format cannot hold a picture as large as one of the plan's, or as
    the grid of them: before the work, not after it."""
    form = plan.options.samples_format
    sizes = [_size_of(task) for tasks in plan.iterations for task in tasks]
    for size in set(sizes):
        codec.judge_form(form, size)
    if plan.wants_grid and len(sizes) > 1:
        place = max(width for width, _ in sizes), max(height for _, height in sizes)
        codec.judge_form(form, grid.size_of(len(sizes), place), of="a grid of ")


def _size_of(task: Txt2Img | Img2Img) -> Size:
    if isinstance(task, Img2Img):
        only_masked = task.mask is not None and task.mask.only_masked
        return resizing.size_of(task.image) if only_masked else (task.width, task.height)
    final = task.hires or task
    return final.width, final.height


def _from_words(plan: Plan, noises: Sequence[NoiseSettings]) -> list[Txt2Img]:
    hires = _hires(plan)
    # A1111's refiner takes over in the last pass only.
    guided = _guided(plan, plan.words, plan.networks, choice=plan.choice, refined=hires is None)
    width, height = plan.size
    return [
        Txt2Img(
            guided=guided,
            noise=noise,
            width=width,
            height=height,
            tiling=bool(plan.request.tiling),
            vae=_path(plan.vae),
            checkpoint=_path(plan.checkpoint),
            hires=hires,
            first_pass=plan.inputs.first_pass if hires else None,
            controls=_controls(plan, place),
        )
        for place, noise in enumerate(noises)
    ]


def _hires(plan: Plan) -> Hires | None:
    second = plan.second
    if second is None:
        return None
    width, height = second.sizes.final
    return Hires(
        guided=_guided(
            plan,
            plan.second_words,
            plan.second_networks,
            choice=second.choice,
            refined=True,
            steps=second.steps,
        ),
        width=width,
        height=height,
        upscale_to=second.sizes.enlarged,
        upscaler=second.upscaler,
        denoising_strength=plan.request.denoising_strength,
        checkpoint=_path(second.checkpoint),
    )


def _guided(
    plan: Plan,
    words: Words,
    networks: Sequence[Network],
    *,
    choice: Choice,
    refined: bool,
    steps: int | None = None,
) -> Guided:
    request, options = plan.request, plan.options
    refiner = None
    if plan.refiner is not None and refined:
        refiner = Refiner(checkpoint=plan.refiner.path, switch_at=request.refiner_switch_at or 0.0)
    return Guided(
        prompt=words.drawn,
        negative_prompt=words.drawn_negative,
        steps=request.steps if steps is None else steps,
        cfg_scale=request.cfg_scale,
        sampler=choice.sampler.name,
        scheduler=choice.scheduler.name,
        adapters=tuple(network.use for network in networks),
        text=tuning.text(options),
        sampling=tuning.sampling(request, options, choice.sampler),
        s_min_uncond=tuning.s_min_uncond(request, options),
        refiner=refiner,
    )


def _from_images(plan: Plan, request: Img2ImgRequest, noises: Sequence[NoiseSettings]) -> list[Img2Img]:
    guided = _guided(plan, plan.words, plan.networks, choice=plan.choice, refined=True)
    options, images = plan.options, plan.inputs.images
    return [
        Img2Img(
            guided=guided,
            noise=noise,
            image=images[place % plan.batch_size % len(images)],
            width=request.width,
            height=request.height,
            denoising_strength=request.denoising_strength,
            resize_mode=ResizeMode(request.resize_mode),
            upscaler=plan.enlarging,
            mask=tuning.mask(request, plan.inputs.mask),
            noise_multiplier=tuning.noise_multiplier(request, options),
            exact_steps=options.img2img_fix_steps,
            color_correction=options.img2img_color_correction,
            background=tuning.colour(options.img2img_background_color),
            tiling=bool(request.tiling),
            vae=_path(plan.vae),
            checkpoint=_path(plan.checkpoint),
            controls=_controls(plan, place),
        )
        for place, noise in enumerate(noises)
    ]


def _controls(plan: Plan, place: int) -> tuple[Control, ...]:
    return tuple(each.control(place) for each in plan.controls)


def _path(file: ModelFile | Checkpoint | None) -> Path | None:
    return None if file is None else file.path
