"""After a bad request it serves nobody any more."""

from breakers import example
from starlette.responses import JSONResponse

_made = example()
app = _made.app
_dead = []


@app.middleware("http")
async def _dying(request, call_next):
    if _dead:
        return JSONResponse({"error": "Unavailable", "detail": "it is broken"}, 503)
    answer = await call_next(request)
    if answer.status_code == 422:
        _dead.append(request.url.path)
    return answer
