"""A plugin's HTTP interface on its Unix socket: the contract's three routes, its limits and its errors.

The only module that knows FastAPI. What a run computes is the modules' affair, in which threads and for how
long is `runs.py`'s, what goes over the wire `archive.py`'s.
"""

import asyncio
import json
import logging
import math
import time
from functools import partial

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sd_plugin import archive, memory
from sd_plugin.contract import RESOLUTION, ErrorAnswer, ModuleDescription
from sd_plugin.errors import (
    Busy,
    DeadlineExceeded,
    Invalid,
    InvalidParameter,
    ModuleFailed,
    ModuleUnavailable,
    PluginError,
    TooLarge,
    UnknownModule,
)
from sd_plugin.module import Module, Plugin, Result
from sd_plugin.resolution import size_at
from sd_plugin.runs import Runs, Unwanted

logger = logging.getLogger(__name__)

#: How long the caller waits, in seconds.
DEADLINE = "Sd-Deadline"
#: A request whose body pauses for longer is given up.
PAUSE_SECONDS = 30.0
_STATUS: dict[type[PluginError], int] = {
    UnknownModule: 404,
    TooLarge: 413,
    Invalid: 422,
    Busy: 429,
    ModuleFailed: 500,
    ModuleUnavailable: 503,
    DeadlineExceeded: 504,
}


def create_app(plugin: Plugin, runs: Runs) -> FastAPI:
    """The application that serves a plugin; its description must be valid."""
    # No pages for people: their scripts would come from elsewhere.
    app = FastAPI(title=plugin.name, version=plugin.version, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(PluginError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Unwanted, _gone)
    app.add_exception_handler(Exception, _failed)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/plugin")
    async def describe() -> Response:
        return Response(plugin.describe().model_dump_json(by_alias=True), media_type="application/json")

    @app.post("/v1/run/{name}")
    async def run(name: str, request: Request) -> Response:
        return await _answer(plugin, runs, name, request)

    return app


async def _answer(plugin: Plugin, runs: Runs, name: str, request: Request) -> Response:
    seconds = _seconds(request.headers.get(DEADLINE), plugin.limits.seconds)
    until = time.monotonic() + seconds
    module = next((each for each in plugin.modules if each.description.name == name), None)
    if module is None:
        raise UnknownModule(name, [each.description.name for each in plugin.modules])
    if not module.description.available:
        raise ModuleUnavailable(module.description.reason)
    with runs.place():
        body = await _body(request, _most_bytes(plugin), until, seconds)
        call = partial(_made, module, body, plugin.limits.pixels)
        gone = asyncio.ensure_future(_departure(request))
        try:
            answer = await runs.run(call, name=name, until=until, seconds=seconds, gone=gone)
        finally:
            gone.cancel()
    return Response(answer, media_type=archive.CONTENT_TYPE)


def _seconds(header: str | None, most: float) -> float:
    """How long a run may take: as long as the caller waits, and no longer than the plugin lets it."""
    if header is None:
        return most
    try:
        asked = float(header)
    except ValueError:
        asked = math.nan
    if not 0 < asked < math.inf:
        raise InvalidParameter(DEADLINE, header, "a number of seconds above 0")
    return min(asked, most)


def _most_bytes(plugin: Plugin) -> int:
    return 4 * plugin.limits.pixels + 4 * archive.SPARE_BYTES


async def _body(request: Request, most: int, until: float, seconds: float) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise TooLarge(f"body: {announced} bytes are too many; allowed: {most}")
    chunks, received = request.stream(), bytearray()
    while True:
        left = min(PAUSE_SECONDS, until - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, left)):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"body: it did not come within {min(seconds, PAUSE_SECONDS):g} s"
            ) from None
        if chunk is None:
            return bytes(received)
        received += chunk
        if len(received) > most:
            raise TooLarge(f"body: more than {most} bytes are too many; allowed: {most}")


async def _departure(request: Request) -> None:
    """Returns when the client has gone away; asked of once its whole request is there."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _made(module: Module, body: bytes, pixels: int) -> bytes:
    """The answer's archive; in a thread."""
    description = module.description
    try:
        return _answered(module, description, archive.read_request(body, description, pixels))
    except PluginError:
        raise
    # The outermost guard of what others wrote: whatever it does, the next run is served.
    except (Exception, SystemExit) as error:
        logger.exception("%s failed", description.name)
        if memory.is_short(error):
            told = "it needs more memory than there is; a smaller picture or a lower resolution needs less"
        else:
            told = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ModuleFailed(f"{description.name} failed: {told}") from error


def _answered(module: Module, description: ModuleDescription, given: archive.Request) -> bytes:
    image, mask, parameters = given
    size, began = (image.shape[0], image.shape[1]), time.perf_counter()
    result = module.run(image, mask, parameters)
    seconds = round(time.perf_counter() - began, 6)
    info = json.dumps(dict(result.info) | {"seconds": seconds}, allow_nan=False).encode()
    _judge(result, description, size, parameters)
    try:
        archive.read_result(info)
    except Invalid as error:  # the module's fault, not the request's
        raise ValueError(str(error)) from error
    return archive.pack({f"{archive.IMAGE}.npy": archive.npy(result.image), archive.RESULT: info})


def _judge(
    result: Result, description: ModuleDescription, size: tuple[int, int], parameters: dict[str, float]
) -> None:
    """Demands that the picture is one, and of the size that the contract says."""
    image = result.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"it made an array {image.dtype} {image.shape}, which is no picture")
    made = image.shape[:2]
    if description.factor is not None:
        wanted: tuple[int, int] | None = (size[0] * description.factor, size[1] * description.factor)
    elif RESOLUTION in parameters:
        wanted = size_at(size, int(parameters[RESOLUTION]))
    else:
        wanted = None
    if wanted is not None and made != wanted:
        raise ValueError(f"it made a picture of {made[1]}x{made[0]} in place of {wanted[1]}x{wanted[0]}")


def _refusal(status: int, error: str, detail: str) -> JSONResponse:
    # A client can send half of a surrogate pair, as JSON's escapes allow; UTF-8 cannot carry it back.
    detail = detail.encode("utf-8", "backslashreplace").decode()
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(ErrorAnswer(error=error, detail=detail).model_dump(), status, headers)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PluginError)
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return _refusal(status, error.reason, str(error)[:10_000] or error.reason)


async def _not_routed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    word = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "Invalid")
    allowed = "GET /healthz, GET /v1/plugin, POST /v1/run/<module>"
    return _refusal(error.status_code, word, f"request: {error.detail}; allowed: {allowed}")


async def _gone(_request: Request, _error: Exception) -> Response:
    # Nobody reads it; without it the client's leaving would be logged as a defect.
    return _refusal(422, "Invalid", "body: the client went away before its end")


async def _failed(_request: Request, _error: Exception) -> Response:
    # Starlette raises it again, for the log.
    return _refusal(500, ModuleFailed.reason, "the plugin failed; its log tells why")
