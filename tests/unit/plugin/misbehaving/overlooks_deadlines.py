"""Every run takes a second and a half, whatever the caller's time."""

import asyncio

from breakers import example

_made = example()
_made.PLUGIN["limits"]["seconds"] = 10.0
app = _made.app


@app.middleware("http")
async def _dawdling(request, call_next):
    if request.url.path == "/v1/run/pixelate":
        request.scope["headers"] = [each for each in request.scope["headers"] if each[0] != b"sd-deadline"]
        await request.body()
        await asyncio.sleep(1.5 * (len(await request.body()) > 1_000_000))
    return await call_next(request)
