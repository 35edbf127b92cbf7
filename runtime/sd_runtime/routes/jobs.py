"""The job interface: hand in work, ask how far it is, watch it, take it back, fetch what was made.

A job's parameters and its result are those of A1111's route of the same name. Any replica answers for every
job: what is another's is passed on to it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from sd_runtime.errors import SdError, UnsupportedError
from sd_runtime.jobs.ledger import Record
from sd_runtime.routes import forwarding, kinds, previews
from sd_runtime.routes.forwarding import ReplicaUnreachable
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import Services, ServicesDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)

#: Seconds between two looks at a job that is watched, and between signs of life to a silent watcher.
_LOOK, _PING = 0.5, 15.0

ClientId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]


class JobRequest(BaseModel):
    """The body of POST /v1/jobs."""

    model_config = ConfigDict(extra="forbid")

    kind: kinds.KindName
    #: The body of A1111's route: txt2img, img2img, or extra-single-image for `extras`.
    parameters: dict[str, Any] = {}
    #: The client's own name for the job, in printable ASCII: however often the same request comes with it,
    #: it is one job. The header Idempotency-Key says the same.
    id: ClientId | None = None


class JobError(BaseModel):
    """Why a job failed: one word for machines, one sentence for people."""

    error: str
    detail: str


class JobStatus(BaseModel):
    """Where a job stands."""

    id: str
    kind: str
    state: str
    progress: float
    created_at: str
    #: Place among the jobs of its replica that wait for their first evaluation, from 1; 0: it does not wait.
    position: int
    #: Seconds until it will have ended, by the measured rate; null: nothing was measured yet.
    eta_seconds: float | None
    #: Of the slowest picture of the batch under way, in the pass under way.
    step: int
    steps: int
    error: JobError | None


async def _whose(id: str, request: Request, services: ServicesDep) -> str | None:
    """Address of the replica that has the job, where it is another that can be asked."""
    return None if forwarding.was_forwarded(request) else await services.peers.owner(id)


Owner = Annotated[str | None, Depends(_whose)]
IdempotencyKey = Annotated[ClientId | None, Header(alias="Idempotency-Key")]


@router.post("", status_code=202, response_model=JobStatus)
async def create_job(
    body: JobRequest, request: Request, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Accepts work: 202 for a new job, 200 for one that was accepted before with the same id and request, 409
    where that id was given to another request."""
    client_id = _client_id(body, idempotency_key)
    if client_id is not None and not forwarding.was_forwarded(request):
        answer = await _ask_the_responsible(services, client_id, request)
        if answer is not None:
            return answer
    asked = await asyncio.to_thread(_digest, body)
    async with services.ledger.creating(client_id):
        record = services.ledger.known(client_id, asked)
        if record is not None:
            return _told(services, record, 200)
        services.demand_readiness()
        services.queue.demand_place()
        started = await kinds.start(services, body.kind, body.parameters)
        record = services.ledger.add(
            started.job, kind=body.kind, request=asked, client_id=client_id, finish=started.finish
        )
    return _told(services, record, 202)


@router.get("/{id}", response_model=JobStatus)
async def get_job(id: str, request: Request, services: ServicesDep, owner: Owner) -> Response:
    """Where the job stands."""
    if owner is not None:
        return await services.peers.forward(request, owner)
    return _told(services, services.ledger.get(id), 200)


@router.get("/{id}/result", response_model=kinds.Answer)
async def get_result(id: str, request: Request, services: ServicesDep, owner: Owner) -> Response:
    """What A1111's route would have answered; 409 before the job has ended, and of one that was taken
    back."""
    if owner is not None:
        return await services.peers.forward(request, owner)
    return Response(services.ledger.get(id).collect(), media_type="application/json")


@router.get("/{id}/preview", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def get_preview(id: str, request: Request, services: ServicesDep, owner: Owner) -> Response:
    """A small PNG of how a picture of the job looks now; 204 where there is none, before the first step and
    after the end."""
    if owner is not None:
        return await services.peers.forward(request, owner)
    job = services.ledger.get(id).job
    png = None if job is None else await previews.png_of(services, job)
    if png is None:
        return Response(status_code=204)
    return Response(png, media_type="image/png", headers={"Cache-Control": "no-store"})


@router.delete("/{id}", response_model=JobStatus)
@router.post("/{id}/cancel", response_model=JobStatus)
async def cancel_job(id: str, request: Request, services: ServicesDep, owner: Owner) -> Response:
    """Takes the job back; one that has ended stays as it is. Answers where it stands then."""
    if owner is not None:
        return await services.peers.forward(request, owner)
    record = services.ledger.get(id)
    if record.job is not None:
        record.job.cancel()
        with suppress(TimeoutError):
            # The engine lets go of it between two calls of the network.
            await asyncio.wait_for(record.ended.wait(), 2.0)
    return _told(services, record, 200)


@router.get("/{id}/events", response_class=StreamingResponse)
async def get_events(id: str, request: Request, services: ServicesDep, owner: Owner) -> Response:
    """Server-sent events, each with the job's status as JSON: `state` when it changes its state or place,
    `progress` when it comes further, `end` as the last."""
    if owner is not None:
        return await services.peers.forward(request, owner)
    return StreamingResponse(
        _events(services, services.ledger.get(id)),
        media_type="text/event-stream",
        # nginx would keep events back until a buffer is full.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _client_id(body: JobRequest, header: str | None) -> str | None:
    if None not in (body.id, header) and body.id != header:
        raise UnsupportedError("Idempotency-Key", header, f"the id of the body, {body.id!r}, or no header")
    return body.id or header


def _digest(body: JobRequest) -> str:
    """The same for what means the same, however it is written."""
    try:
        text = json.dumps([body.kind, body.parameters], sort_keys=True)
    except RecursionError as error:
        raise UnsupportedError(
            "parameters", body.parameters, "values that are not nested so deeply"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


async def _ask_the_responsible(services: Services, client_id: str, request: Request) -> Response | None:
    """The answer of the first replica that is there of those that come before this one; None: it is this
    one's turn."""
    for address in await services.peers.in_order_for(client_id):
        if not address:
            return None
        try:
            answer = await services.peers.forward(request, address)
        except ReplicaUnreachable:
            continue
        if answer.status_code != 503:
            return answer
        await answer.drop()  # it loads, or is shutting down: the next one's turn
    return None


def _status(services: Services, record: Record) -> JobStatus:
    job, error = record.job, record.error
    slowest = job.slowest if job else None
    eta = services.queue.eta(job) if job else 0.0
    return JobStatus(
        id=record.id,
        kind=record.kind,
        state=record.state,
        progress=round(job.progress if job else record.progress, 4),
        created_at=record.accepted.astimezone().isoformat(timespec="milliseconds"),
        position=services.queue.position(job) if job else 0,
        eta_seconds=None if eta is None else round(eta, 1),
        step=slowest.done if slowest else 0,
        steps=slowest.of if slowest else 0,
        error=None if error is None else _job_error(error),
    )


def _job_error(error: Exception) -> JobError:
    reason = error.reason if isinstance(error, SdError) else SdError.reason
    # As in every refusal: half of a surrogate pair cannot be sent.
    return JobError(error=reason, detail=str(error).encode("utf-8", "backslashreplace").decode())


def _told(services: Services, record: Record, status: int) -> Response:
    record.tell()
    place = f"{services.settings.root_path}{router.prefix}/{record.id}"
    headers = {"Location": place} if status == 202 else None
    return JSONResponse(_status(services, record).model_dump(), status_code=status, headers=headers)


async def _events(services: Services, record: Record) -> AsyncIterator[bytes]:
    place: object = None
    progress: object = None
    silent = 0.0
    while record.final is None:
        status = _status(services, record)
        now_at, come_to = (status.state, status.position), (status.progress, status.step)
        silent += _LOOK
        if now_at != place or come_to != progress:
            yield _event("state" if now_at != place else "progress", status)
            place, progress, silent = now_at, come_to, 0.0
        elif silent >= _PING:
            yield b": still here\n\n"
            silent = 0.0
        with suppress(TimeoutError):
            await asyncio.wait_for(record.ended.wait(), _LOOK)
    record.tell()
    yield _event("end", _status(services, record))


def _event(name: str, status: JobStatus) -> bytes:
    return f"event: {name}\ndata: {status.model_dump_json()}\n\n".encode()
