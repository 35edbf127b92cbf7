"""Making pictures from a request of A1111's, in two halves: `start` judges it and submits it, `respond` makes
the answer of what came of it. A1111's routes and the job interface share them.
"""

import asyncio
import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from starlette.exceptions import HTTPException

from sd_runtime.a1111 import answer, filling, planning
from sd_runtime.a1111.answer import Account
from sd_runtime.a1111.controlnet import finishing, maps, reading
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.plan import Inputs, Plan
from sd_runtime.a1111.planning import Surroundings
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest, Txt2ImgRequest, Txt2ImgResponse
from sd_runtime.a1111.stock import Stock
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import CheckpointError, GenerationError, UnsupportedError
from sd_runtime.images import codec
from sd_runtime.images.grid import grid as on_one_picture
from sd_runtime.jobs.job import Job, Outcome, Picture
from sd_runtime.routes import control_pictures, inputs
from sd_runtime.routes.intake import Held
from sd_runtime.routes.services import Services

logger = logging.getLogger(__name__)

#: The jobs, and the kinds of files that they make.
Kind = Literal["txt2img", "img2img"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was accepted: what was decided about it, and its job."""

    kind: Kind
    plan: Plan
    job: Job


async def start(services: Services, kind: Kind, body: GenerationRequest) -> Accepted:
    """Reads the pictures that come with the request, judges it and submits it; raises `UnsupportedError`,
    `QueueFull`, …, an `HTTPException` of 404 where there is no picture to draw over, and has then left
    nothing behind."""
    services.queue.demand_place()
    request = filling.filled(body)
    units = reading.units(request.alwayson_scripts)
    with services.intake.holding() as held:
        given = await _inputs(services, request, held)
        given = replace(given, units=await control_pictures.read(services, units, given, held))
        request = await _without_texts(request, held)
        scripts = reading.without_pictures(request.alwayson_scripts, units)
        request = request.model_copy(update={"alwayson_scripts": scripts})
        # Outside of the event loop: long prompts take time, and files are looked up.
        plan = await asyncio.to_thread(_plan, services, request, given)
        await held.take(maps.pixels_of(plan.controls, are_shown=plan.shows_maps))
        job = services.queue.submit(plan.iterations, label=request.force_task_id or None)
        return Accepted(kind, plan, held.hand_over(job))


def respond(services: Services, accepted: Accepted, outcome: Outcome) -> Txt2ImgResponse:
    """Encodes, saves and tells of the pictures, so it is not for the event loop; raises the job's error in
    the client's words."""
    if outcome.error is not None:
        raise planning.in_clients_words(outcome.error)
    plan = accepted.plan
    account = Account(
        plan=plan,
        checkpoint=services.checkpoint_of(accepted.job),
        pictures=tuple(_finished(plan, picture) for picture in outcome.pictures),
        accepted=accepted.job.timestamp,
        hashes=_hashes(services, plan),
    )
    services.metrics.images_made(len(outcome.pictures))
    files = [
        _encoded(plan, picture.pixels, text)
        for picture, text in zip(account.pictures, account.infotexts(), strict=True)
    ]
    if plan.saves:
        for picture, data in zip(outcome.pictures, files, strict=True):
            _save(services, accepted, accepted.kind, data, seed=plan.seeds[picture.index])
    shown = _grid(services, accepted, account)
    images = [*shown, *files, *_maps(plan)] if plan.request.send_images else []
    return Txt2ImgResponse(
        images=[base64.b64encode(data).decode("ascii") for data in images],
        parameters=answer.echo(plan),
        info=account.info(grid=bool(shown)),
    )


async def _inputs(services: Services, request: GenerationRequest, held: Held) -> Inputs:
    if isinstance(request, Img2ImgRequest):
        return await _pictures_of(services, request, held)
    if isinstance(request, Txt2ImgRequest) and request.enable_hr and request.firstpass_image:
        pixels = await inputs.pixels(services, "firstpass_image", request.firstpass_image, held)
        return Inputs(first_pass=pixels)
    return Inputs()


async def _pictures_of(services: Services, request: Img2ImgRequest, held: Held) -> Inputs:
    encoded = request.init_images or []
    if not encoded:
        # A1111's status and words.
        raise HTTPException(404, "Init image not found: init_images must hold one picture or more")
    if len(encoded) > services.settings.max_batch_size:
        allowed = f"at most {services.settings.max_batch_size} on this server"
        raise UnsupportedError("init_images", f"{len(encoded)} pictures", allowed)
    images: list[Pixels] = []
    for place, text in enumerate(encoded):
        images.append(await inputs.pixels(services, f"init_images.{place}", text, held, background=None))
        _judge_together(services, images)
    mask = None
    if request.mask:
        mask = await inputs.mask(services, "mask", request.mask, held, binary=request.mask_round)
    return Inputs(images=tuple(images), mask=mask)


async def _without_texts(request: GenerationRequest, held: Held) -> GenerationRequest:
    """Without the pictures as texts, which would be in memory beside their pixels until the job has ended;
    where the answer repeats them they count among these."""
    if isinstance(request, Img2ImgRequest):
        texts = {"init_images": request.init_images, "mask": request.mask}
        if not request.include_init_images:
            # Whether there is a mask must still be seen.
            short = {"init_images": [""] * len(request.init_images or ()), "mask": request.mask and "…"}
            return request.model_copy(update={name: short[name] for name, text in texts.items() if text})
        for text in (*(request.init_images or ()), request.mask or ""):
            await held.take_text(text)
    elif isinstance(request, Txt2ImgRequest):
        await held.take_text(request.firstpass_image or "")
    return request


def _judge_together(services: Services, images: Sequence[Pixels]) -> None:
    """A few bytes may be many pixels, and those of all pictures are in memory until the job has ended."""
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    most = services.settings.max_pixels_per_request
    if pixels > most:
        raise UnsupportedError("init_images", f"{pixels} pixels together", f"at most {most} on this server")


def _plan(services: Services, request: GenerationRequest, given: Inputs) -> Plan:
    if request.override_settings and not request.override_settings_restore_afterwards:
        allowed = "true, with override_settings (POST /sdapi/v1/options changes options for all requests)"
        raise UnsupportedError("override_settings_restore_afterwards", False, allowed)
    around = Surroundings(
        options=services.options_with(request.override_settings),
        stock=Stock(services.library, services.shelf, services.checkpoint(), services.plugins),
        styles=services.styles,
        limits=Limits.of(services.settings),
        random=services.random,
    )
    return planning.plan(request, given, around)


def _hashes(services: Services, plan: Plan) -> dict[Path, str]:
    """Short hashes of the files that infotext names beside the checkpoint. Reading a file for it is done
    once; one that is gone meanwhile is named without. Further checkpoints were hashed when they were
    loaded."""
    hashes = {}
    for checkpoint in (plan.refiner, plan.second.checkpoint if plan.second else None):
        if checkpoint is not None and (short := services.shelf.entry(checkpoint.path).short_hash):
            hashes[checkpoint.path] = short
    for file in (*(network.file for network in plan.all_networks), *((plan.vae,) if plan.vae else ())):
        try:
            short = services.library.short_hash(file, compute=True)
        except CheckpointError as error:
            logger.warning("no hash of %s: %s", file.name, error)
            continue
        if short is not None:
            hashes[file.path] = short
    return hashes


def _encoded(plan: Plan, pixels: Pixels, text: str | None) -> bytes:
    options = plan.options
    return codec.encode(
        pixels,
        options.samples_format,
        text if options.enable_pnginfo else None,
        quality=options.jpeg_quality,
        lossless=options.webp_lossless,
    )


def _finished(plan: Plan, picture: Picture) -> Picture:
    """As the modules of its ControlNets leave it."""
    pixels = picture.pixels
    for each in plan.controls:
        pixels = finishing.finished(pixels, each.control(picture.index), each.finish)
    return (
        picture if pixels is picture.pixels else replace(picture, made=replace(picture.made, pixels=pixels))
    )


def _maps(plan: Plan) -> list[bytes]:
    """The maps of ControlNets, which have no infotext."""
    if not plan.shows_maps:
        return []
    return [_encoded(plan, pixels, None) for pixels in maps.shown(plan.controls)]


def _grid(services: Services, accepted: Accepted, account: Account) -> list[bytes]:
    """The pictures on one more, saved if so wished; empty where it is not to be sent."""
    plan, options = accepted.plan, accepted.plan.options
    if not plan.wants_grid or len(account.pictures) < 2:
        return []
    pixels = on_one_picture([picture.pixels for picture in account.pictures])
    data = _encoded(plan, pixels, account.infotext_of_grid())
    if options.grid_save and plan.saves:
        kind = "txt2img-grid" if accepted.kind == "txt2img" else "img2img-grid"
        _save(services, accepted, kind, data)
    return [data] if options.return_grid else []


def _save(services: Services, accepted: Accepted, kind: str, data: bytes, *, seed: int | None = None) -> None:
    """Saves one file. A full disk costs the file, not the picture, as long as the answer carries it."""
    save = partial(services.outputs.save, data, kind=kind, day=accepted.job.timestamp.date(), seed=seed)
    try:
        save(extension=accepted.plan.options.samples_format)
    except OSError as error:
        services.metrics.image_not_saved()
        logger.error("a picture was not saved: %s", error, extra={"job": accepted.job.id})
        if not accepted.plan.request.send_images:
            sentence = f"the picture could not be saved ({error.strerror}), and send_images is false"
            raise GenerationError(sentence) from error
