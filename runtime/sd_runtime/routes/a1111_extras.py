"""A1111's routes that make pictures larger.

Like generation in two halves, so that other doors can start the same work: `start` judges and submits,
`respond` makes the answer of what came of it.
"""

import asyncio
import base64
import html
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from sd_runtime.a1111 import extras_plan
from sd_runtime.a1111.extras_plan import ExtrasPlan
from sd_runtime.a1111.schemas.extras import (
    ExtrasBatchRequest,
    ExtrasBatchResponse,
    ExtrasSingleRequest,
    ExtrasSingleResponse,
)
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import Cancelled, UnsupportedError
from sd_runtime.guards.measuring import CLIENT_GONE
from sd_runtime.images import codec
from sd_runtime.jobs.job import Job, Outcome, Picture
from sd_runtime.routes import inputs, waiting
from sd_runtime.routes.intake import Held
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import Services, ServicesDep, WhenReady

router = APIRouter(prefix="/sdapi/v1", tags=["extras"], route_class=JsonRoute)

ExtrasBody = ExtrasSingleRequest | ExtrasBatchRequest
ExtrasResponse = ExtrasSingleResponse | ExtrasBatchResponse


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was accepted: what was decided about it, and its job."""

    plan: ExtrasPlan
    job: Job


@router.post("/extra-single-image", response_model=ExtrasSingleResponse, dependencies=[WhenReady])
async def extra_single_image(
    body: ExtrasSingleRequest, request: Request, services: ServicesDep
) -> ExtrasResponse | Response:
    """Makes one picture larger."""
    return await _answer(services, body, request)


@router.post("/extra-batch-images", response_model=ExtrasBatchResponse, dependencies=[WhenReady])
async def extra_batch_images(
    body: ExtrasBatchRequest, request: Request, services: ServicesDep
) -> ExtrasResponse | Response:
    """Makes several pictures larger."""
    return await _answer(services, body, request)


async def start(services: Services, body: ExtrasBody) -> Accepted:
    """Reads the pictures, judges the request and submits it; raises `UnsupportedError`, `QueueFull`, …"""
    services.queue.demand_place()
    options = await asyncio.to_thread(services.options_with, {})
    with services.intake.holding() as held:
        images = await _read(services, body, held)
        plan = await asyncio.to_thread(
            extras_plan.plan,
            _without_texts(body),
            images,
            library=services.library,
            plugins=services.plugins,
            options=options,
            settings=services.settings,
        )
        return Accepted(plan, held.hand_over(services.queue.submit(plan.iterations)))


def respond(services: Services, accepted: Accepted, outcome: Outcome) -> ExtrasResponse:
    """The answer of what came of it; encodes pictures, so it is not for the event loop. Raises the job's
    error, and `Cancelled` where an interruption left no picture."""
    if outcome.error is not None:
        raise outcome.error
    if not outcome.pictures:
        raise Cancelled("the request was interrupted before a picture was finished")
    plan = accepted.plan
    images = [_encoded(plan, picture) for picture in outcome.pictures]
    told = _as_html(plan.infotext_of(outcome.pictures[-1].index))
    services.metrics.images_made(len(images))
    if isinstance(plan.request, ExtrasBatchRequest):
        return ExtrasBatchResponse(html_info=told, images=images)
    return ExtrasSingleResponse(html_info=told, image=images[0])


async def _answer(services: Services, body: ExtrasBody, request: Request) -> ExtrasResponse | Response:
    accepted = await start(services, body)
    try:
        outcome = await waiting.until_finished(accepted.job, request)
    except waiting.ClientGone:
        return Response(status_code=CLIENT_GONE)
    return await asyncio.to_thread(respond, services, accepted, outcome)


async def _read(services: Services, body: ExtrasBody, held: Held) -> list[tuple[Pixels, str]]:
    """The pictures, each with the infotext of its file."""
    images: list[tuple[Pixels, str]] = []
    count, most = 0, services.settings.max_pixels_per_request
    for field, data in _pictures(body):
        pixels, metadata = await inputs.with_metadata(services, field, data, held)
        # A few bytes may be many pixels, and those of all pictures are in memory until the job has ended.
        count += pixels.shape[0] * pixels.shape[1]
        if count > most:
            raise UnsupportedError("imageList", f"{count} pixels together", f"at most {most} on this server")
        images.append((pixels, metadata.parameters))
    return images


def _pictures(body: ExtrasBody) -> list[tuple[str, str]]:
    """Each picture with the name of its field."""
    if isinstance(body, ExtrasSingleRequest):
        return [("image", body.image)]
    return [(f"imageList.{place}.data", each.data) for place, each in enumerate(body.imageList)]


def _without_texts(body: ExtrasBody) -> ExtrasBody:
    """Without the pictures as texts, which would be in memory beside their pixels until the job has ended."""
    if isinstance(body, ExtrasSingleRequest):
        return body.model_copy(update={"image": ""})
    return body.model_copy(update={"imageList": []})


def _encoded(plan: ExtrasPlan, picture: Picture) -> str:
    options = plan.options
    data = codec.encode(
        picture.pixels,
        options.samples_format,
        plan.infotext_of(picture.index) if options.enable_pnginfo else None,
        quality=options.jpeg_quality,
        lossless=options.webp_lossless,
    )
    return base64.b64encode(data).decode("ascii")


def _as_html(text: str) -> str:
    """As A1111's page shows it: what is text stays text."""
    lines = "<br>".join(html.escape(line) for line in text.splitlines())
    return f"<p>{lines}</p>"
