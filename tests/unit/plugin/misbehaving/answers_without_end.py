"""Its answers are far larger than any picture."""

from breakers import example
from starlette.responses import StreamingResponse

_made = example()
app = _made.app


@app.middleware("http")
async def _endless(request, call_next):
    if not request.url.path.startswith("/v1/run/"):
        return await call_next(request)

    async def chunks():
        for _ in range(1000):
            yield bytes(1 << 20)

    return StreamingResponse(chunks(), media_type="application/zip")
