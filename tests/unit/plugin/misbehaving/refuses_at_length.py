"""Its errors are longer than anybody reads."""

from breakers import example
from fastapi.responses import JSONResponse

_made = example()
app = _made.app


@app.middleware("http")
async def _talking(request, call_next):
    answer = await call_next(request)
    if answer.status_code != 422:
        return answer
    return JSONResponse({"error": "Invalid", "detail": "image: wrong", "why": "x" * 70_000}, 422)
