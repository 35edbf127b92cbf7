"""Its runs never end, whatever the deadline."""

import asyncio

from breakers import example

_made = example()
app = _made.app


@app.middleware("http")
async def _waiting(request, call_next):
    if request.url.path.startswith("/v1/run/"):
        await asyncio.sleep(3600)
    return await call_next(request)
