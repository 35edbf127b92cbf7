"""A1111's routes that make pictures, tell of them while they are made, and end them."""

import asyncio
import base64
import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from sd_runtime.a1111 import answer, planning, progress
from sd_runtime.a1111.planning import Plan
from sd_runtime.a1111.schemas import Txt2ImgRequest, Txt2ImgResponse
from sd_runtime.errors import GenerationError
from sd_runtime.guards.measuring import CLIENT_GONE
from sd_runtime.images import codec
from sd_runtime.jobs.job import Job, Picture
from sd_runtime.routes import waiting
from sd_runtime.routes.services import Services, ServicesDep, WhenReady

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/sdapi/v1", tags=["generate"])


@router.post("/txt2img", response_model=Txt2ImgResponse, dependencies=[WhenReady])
async def txt2img(
    body: Txt2ImgRequest, request: Request, services: ServicesDep
) -> Txt2ImgResponse | Response:
    """Makes pictures from a prompt."""
    plan = await asyncio.to_thread(_plan, services, body)
    job = services.queue.submit(plan.iterations, label=body.force_task_id)
    try:
        outcome = await waiting.until_finished(job, request)
    except waiting.ClientGone:
        return Response(status_code=CLIENT_GONE)
    if outcome.error is not None:
        raise planning.in_clients_words(outcome.error)
    services.metrics.images_made(len(outcome.pictures))
    return await asyncio.to_thread(_respond, services, plan, job, outcome.pictures)


@router.get("/progress")
async def get_progress(services: ServicesDep, skip_current_image: bool = False) -> progress.Progress:
    """How far the oldest unfinished request of this replica is."""
    return progress.describe(services.queue.oldest(), services.queue.now())


@router.post("/interrupt")
async def interrupt(services: ServicesDep) -> dict[str, str]:
    """Ends the oldest unfinished request; it answers with the pictures that are finished."""
    job = services.queue.oldest()
    if job is not None:
        job.interrupt()
    return {}


@router.post("/skip")
async def skip(services: ServicesDep) -> None:
    """Gives up the running iteration of the oldest unfinished request."""
    job = services.queue.oldest()
    if job is not None:
        job.skip()


def _plan(services: Services, body: Txt2ImgRequest) -> Plan:
    """Judges the request; runs outside the event loop, because long prompts take time."""
    options = services.options_with(body.override_settings)
    return planning.plan_txt2img(body, options, services.random)


def _respond(services: Services, plan: Plan, job: Job, pictures: tuple[Picture, ...]) -> Txt2ImgResponse:
    """Encodes, saves and sends the pictures; runs outside the event loop."""
    checkpoint = services.checkpoint_of(job)
    files = [
        codec.encode_png(picture.pixels, answer.infotext_of(plan, checkpoint, picture.index))
        for picture in pictures
    ]
    if plan.saves:
        for picture, png in zip(pictures, files, strict=True):
            _save(services, plan, job, picture, png)
    return Txt2ImgResponse(
        images=[base64.b64encode(png).decode("ascii") for png in files] if plan.request.send_images else [],
        parameters=plan.request.model_dump(),
        info=answer.info(plan, checkpoint, pictures, accepted=job.timestamp),
    )


def _save(services: Services, plan: Plan, job: Job, picture: Picture, png: bytes) -> None:
    """Saves one picture. A full disk costs the file, not the picture, as long as the answer carries it."""
    try:
        services.outputs.save(png, seed=plan.seeds[picture.index], day=job.timestamp.date())
    except OSError as error:
        services.metrics.image_not_saved()
        logger.error("a picture was not saved: %s", error, extra={"job": job.id})
        if not plan.request.send_images:
            sentence = f"the picture could not be saved ({error.strerror}), and send_images is false"
            raise GenerationError(sentence) from error
