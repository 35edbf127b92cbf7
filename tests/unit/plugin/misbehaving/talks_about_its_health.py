"""Tells more of how it is than anybody reads."""

from breakers import example
from fastapi.responses import JSONResponse

_made = example()
app = _made.app


@app.middleware("http")
async def _talking(request, call_next):
    if request.url.path == "/healthz":
        return JSONResponse({"status": "ok", "checks": "x" * 2000})
    return await call_next(request)
