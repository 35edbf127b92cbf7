"""Routes that A1111 has and this server does not: 501 with the reason."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.responses import Response

from sd_runtime.a1111 import coverage
from sd_runtime.guards.refusal import refusal

router = APIRouter(include_in_schema=False)


def _answer(why: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return refusal(501, "NotServed", f"not served: {why}")

    return answer


for _route, _why in coverage.NOT_SERVED.items():
    _method, _path = _route.split(" ")
    _path = _path if _path.startswith("/") else f"/sdapi/v1/{_path}"
    router.add_api_route(_path, _answer(_why), methods=[_method], name=_route)
