"""A1111's routes that make pictures, tell of them while they are made, and end them."""

import asyncio
import base64

from fastapi import APIRouter, Request
from starlette.responses import Response

from sd_runtime.a1111 import progress
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest, Txt2ImgRequest, Txt2ImgResponse
from sd_runtime.guards.measuring import CLIENT_GONE
from sd_runtime.jobs.job import Job
from sd_runtime.routes import generation, previews, waiting
from sd_runtime.routes.generation import Kind
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import Services, ServicesDep, WhenReady

router = APIRouter(prefix="/sdapi/v1", tags=["generate"], route_class=JsonRoute)


@router.post("/txt2img", response_model=Txt2ImgResponse, dependencies=[WhenReady])
async def txt2img(
    body: Txt2ImgRequest, request: Request, services: ServicesDep
) -> Txt2ImgResponse | Response:
    """Makes pictures from a prompt."""
    return await _answer(services, "txt2img", body, request)


@router.post("/img2img", response_model=Txt2ImgResponse, dependencies=[WhenReady])
async def img2img(
    body: Img2ImgRequest, request: Request, services: ServicesDep
) -> Txt2ImgResponse | Response:
    """Makes pictures from pictures and a prompt."""
    return await _answer(services, "img2img", body, request)


@router.get("/progress")
async def get_progress(services: ServicesDep, skip_current_image: bool = False) -> progress.Progress:
    """How far the oldest unfinished request of this replica is."""
    queue = services.queue
    job = queue.oldest()
    if job is None:
        return progress.describe(None, queue.now())
    image = None if skip_current_image else await _current_image(services, job)
    return progress.describe(job, queue.now(), eta=queue.eta(job), image=image)


@router.post("/interrupt")
async def interrupt(services: ServicesDep) -> dict[str, str]:
    """Ends the oldest unfinished request; it answers with the pictures that there are, as far as they have
    come."""
    job = services.queue.oldest()
    if job is not None:
        job.interrupt()
    return {}


@router.post("/skip")
async def skip(services: ServicesDep) -> None:
    """Ends the running iteration of the oldest unfinished request, as `interrupt` does; the next one
    follows."""
    job = services.queue.oldest()
    if job is not None:
        job.skip()


async def _answer(
    services: Services, kind: Kind, body: GenerationRequest, request: Request
) -> Txt2ImgResponse | Response:
    accepted = await generation.start(services, kind, body)
    try:
        outcome = await waiting.until_finished(accepted.job, request)
    except waiting.ClientGone:
        return Response(status_code=CLIENT_GONE)
    return await asyncio.to_thread(generation.respond, services, accepted, outcome)


async def _current_image(services: Services, job: Job) -> str | None:
    png = await previews.png_of(services, job)
    return None if png is None else base64.b64encode(png).decode("ascii")
