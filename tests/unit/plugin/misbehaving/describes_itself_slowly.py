"""Takes longer to say what it is than anybody waits."""

import asyncio

from breakers import example

_made = example()
app = _made.app


@app.middleware("http")
async def _pausing(request, call_next):
    if request.url.path == "/v1/plugin":
        await asyncio.sleep(2.1)
    return await call_next(request)
