"""Errors to answers: one shape, a status by kind. Unforeseen ones are left to `guards.last_resort`."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sd_runtime.errors import Cancelled, NotLoaded, QueueFull, SdError, UnsupportedError
from sd_runtime.guards.refusal import refusal
from sd_runtime.jobs.queue import Draining

_RETRY_SECONDS = "5"
_LONGEST_VALUE = 200
#: Looked up by class, the nearest first; other deliberate errors are 500.
_STATUS: dict[type[SdError], int] = {
    UnsupportedError: 422,
    QueueFull: 429,
    NotLoaded: 503,
    Draining: 503,
    Cancelled: 503,
}


def install(app: FastAPI) -> None:
    """Makes the app answer every deliberate error in the one shape."""
    app.add_exception_handler(SdError, _deliberate)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _deliberate(_request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": _RETRY_SECONDS} if status in (429, 503) else None
    reason = error.reason if isinstance(error, SdError) else "Error"
    return refusal(status, reason, _shortened(str(error), 4 * _LONGEST_VALUE), headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusal(422, "Invalid", "; ".join(_sentence(problem) for problem in error.errors()))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"there is no {request.url.path} here; /docs lists what there is"
    if error.status_code == 405:
        detail = f"{request.method} is not a method of {request.url.path}"
    return refusal(
        error.status_code, HTTPStatus(error.status_code).phrase.replace(" ", ""), detail, error.headers
    )


def _sentence(problem: dict[str, Any]) -> str:
    """Field, value and what is allowed, of one complaint of pydantic."""
    if problem["type"] == "json_invalid":
        return f"body: not JSON: {problem['ctx']['error']} at character {problem['loc'][-1]}"
    place = ".".join(str(part) for part in problem["loc"] if part not in ("body", "query"))
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    if problem["type"] == "missing":
        return f"{place or 'body'}: {message}"
    return (
        f"{place or 'body'}: {_shortened(repr(problem['input']), _LONGEST_VALUE)} is not accepted: {message}"
    )


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
