"""Errors to answers: one shape, a status by kind. Unforeseen ones are left to `guards.last_resort`."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sd_runtime.desired import DesiredError, OutdatedError
from sd_runtime.errors import (
    Cancelled,
    CheckpointError,
    CheckpointUnavailable,
    NotLoaded,
    PluginError,
    PluginUnavailable,
    QueueFull,
    SdError,
    UnsupportedError,
    complaint,
    shown,
)
from sd_runtime.guards.refusal import refusal
from sd_runtime.jobs.ledger import Conflict, JobCancelled, NotFinished, UnknownJob
from sd_runtime.jobs.queue import Draining, Full
from sd_runtime.routes.forwarding import ReplicaGone, ReplicaUnreachable
from sd_runtime.routes.services import Superseded

#: Where the error itself does not say.
_RETRY_SECONDS = "5"
_LONGEST_DETAIL = 4000
#: A list of a million wrong items would make as many sentences.
_MOST_PROBLEMS = 10
#: Where another door says it in this word.
_WORDS = {413: "BodyTooLarge", 422: "Invalid"}
#: Looked up by class, the nearest first; other deliberate errors are 500.
_STATUS: dict[type[SdError], int] = {
    UnsupportedError: 422,
    # Of a file that a request names; what is served is judged before a request is.
    CheckpointUnavailable: 503,
    CheckpointError: 422,
    DesiredError: 422,
    OutdatedError: 409,
    QueueFull: 429,
    NotLoaded: 503,
    PluginUnavailable: 503,
    PluginError: 502,
    Draining: 503,
    Cancelled: 503,
    UnknownJob: 404,
    Conflict: 409,
    NotFinished: 409,
    JobCancelled: 409,
    Superseded: 409,
    ReplicaGone: 410,
    ReplicaUnreachable: 503,
}


def install(app: FastAPI) -> None:
    """Makes the app answer every deliberate error in the one shape."""
    app.add_exception_handler(SdError, _deliberate)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _deliberate(_request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    wait = str(error.retry_after) if isinstance(error, Full) else _RETRY_SECONDS
    headers = {"Retry-After": wait} if status in (429, 503) else None
    reason = error.reason if isinstance(error, SdError) else "Error"
    return refusal(status, reason, _shortened(str(error)), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(_is_unread_body(problem) for problem in problems):
        given = request.headers.get("content-type", "")
        detail = f"Content-Type: {shown(given)} is not accepted: the body must be sent as application/json"
        return refusal(422, "Invalid", _shortened(detail))
    sentences = [complaint(problem) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        sentences.append(f"and {len(problems) - _MOST_PROBLEMS} more")
    return refusal(422, "Invalid", _shortened("; ".join(sentences)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    # The router's own words; a route that finds nothing says what.
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is no {request.url.path} here; /openapi.json lists what there is"
    if error.status_code == 405:
        detail = f"{request.method} is not a method of {request.url.path}"
    return refusal(
        error.status_code,
        _WORDS.get(error.status_code) or HTTPStatus(error.status_code).phrase.replace(" ", ""),
        _shortened(detail),
        error.headers,
    )


def _is_unread_body(problem: dict[str, Any]) -> bool:
    """Whether FastAPI handed over the bytes of the body, as it does where they are not said to be JSON."""
    return tuple(problem["loc"]) == ("body",) and isinstance(problem["input"], bytes)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"
