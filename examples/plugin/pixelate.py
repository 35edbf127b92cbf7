"""A plugin by somebody else, without anything of sd-operator's: a preprocessor that paints in squares."""

import asyncio
import json
import os
import time
from io import BytesIO
from typing import Annotated
from zipfile import ZipFile

import anyio
import numpy as np
import uvicorn
from anyio import to_process
from fastapi import FastAPI, Header, HTTPException, Request, Response, exceptions, responses
from PIL import Image

PIXELS, SECONDS = 4_000_000, 10.0
SQUARE = {"name": "square", "label": "Square", "type": "integer", "default": 16, "minimum": 2, "maximum": 256}
MODULE = {"name": "pixelate", "label": "Pixelate", "matches": ["tile"], "parameters": [SQUARE | {"step": 1}]}
PLUGIN = {"contract": 1, "name": os.environ.get("SD_PLUGIN_NAME", "pixelate"), "version": "1.0.0"}
PLUGIN |= {"kind": "Preprocessor", "limits": {"pixels": PIXELS, "seconds": SECONDS}, "modules": [MODULE]}
WORDS = {404: "UnknownModule", 413: "TooLarge", 422: "Invalid", 500: "ModuleFailed", 504: "DeadlineExceeded"}
STATUS = {TimeoutError: 504, anyio.BrokenWorkerProcess: 500, Image.DecompressionBombError: 413}
app, turn = FastAPI(), asyncio.Lock()
app.get("/healthz")(lambda: {"status": "ok"})
app.get("/v1/plugin")(lambda: PLUGIN)


def demand(holds, sentence, status=422):
    if not holds:
        raise HTTPException(status, sentence)


def read_picture(data, png):
    read = Image.open(BytesIO(data), formats=["PNG"]) if png else np.load(BytesIO(data), allow_pickle=False)
    if png:
        fits = read.mode in ("RGB", "L") and data[24] == 8 and "transparency" not in read.info
    else:
        fits = read.dtype == np.uint8 and read.shape[2:] == (3,) and read.size and read.flags.c_contiguous
    demand(fits, "image: allowed: 8 bits, RGB, in C order, not transparent")
    picture = read if png else Image.fromarray(read)
    demand(picture.width * picture.height <= PIXELS, f"image: allowed: {PIXELS} pixels", 413)
    return picture.convert("RGB")


def pixelate(body):
    began = time.monotonic()
    with ZipFile(BytesIO(body)) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
        image, *others = [entry.filename for entry in entries]
        known = image in ("image.npy", "image.png") and others in ([], ["parameters.json"])
        demand(known and not any(entry.compress_type for entry in entries), f"entries: {entries}")
        demand(max(entry.file_size for entry in entries) <= len(body), "entries: too large", 413)
        given = json.loads(archive.read("parameters.json")) if others else {}
        demand(type(given) is dict and given.keys() <= {"square"}, f"parameters: {given}; allowed: square")
        square = given.get("square", 16)
        demand(
            type(square) in (int, float) and square in range(2, 257), f"square: {square} is not in 2 to 256"
        )
        picture = read_picture(archive.read(image), image == "image.png")
    small = picture.reduce(int(square)).resize(picture.size, Image.Resampling.NEAREST)
    np.save(made := BytesIO(), np.asarray(small))
    with ZipFile(answer := BytesIO(), "w") as archive:
        archive.writestr("image.npy", made.getvalue())
        archive.writestr("result.json", json.dumps({"seconds": time.monotonic() - began}))
    return answer.getvalue()


async def read_body(request):
    body = bytearray()
    async for part in request.stream():
        body += part
        demand(len(body) < 4 * PIXELS, "body: too large", 413)
    return bytes(body)


@app.post("/v1/run/{module}")
async def run(
    module: str, request: Request, wait: Annotated[float, Header(alias="Sd-Deadline", gt=0)] = SECONDS
):
    demand(module == "pixelate", "module: not known; allowed: pixelate", 404)
    try:
        with anyio.fail_after(min(wait, SECONDS)):
            async with (
                turn
            ):  # one at a time, from its body on: more would not fit into the container's memory
                # In a process that is killed when the time is over; this one computes nothing, and stays.
                answer = await to_process.run_sync(pixelate, await read_body(request), cancellable=True)
    except Exception as error:  # noqa: BLE001 - what comes of a client's bytes is its answer
        return await refuse(request, error)
    return Response(answer, media_type="application/zip")


@app.exception_handler(HTTPException)
@app.exception_handler(exceptions.RequestValidationError)
async def refuse(_request, error):
    status = getattr(error, "status_code", STATUS.get(type(error), 422))
    detail = getattr(error, "detail", None) or f"request: {error or type(error).__name__}"
    return responses.JSONResponse({"error": WORDS.get(status, "Invalid"), "detail": detail}, status)


if __name__ == "__main__":
    uvicorn.run(app, uds=os.environ.get("SD_PLUGIN_SOCKET", "pixelate.sock"), timeout_graceful_shutdown=5)
