"""Counts every answer by route and status, and tells the client how long it took (A1111's X-Process-Time)."""

import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The status that is counted when the client went away before an answer began.
CLIENT_GONE = 499


class Measuring:
    """ASGI middleware; `answered` is told of each answer."""

    def __init__(self, app: ASGIApp, *, answered: Callable[..., None]) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        code = CLIENT_GONE

        async def timed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Process-Time"] = f"{time.perf_counter() - started:.4f}"
            await send(message)

        try:
            await self._app(scope, receive, timed)
        finally:
            # The pattern, not the path: a path chosen by clients would make a series for each.
            route = getattr(scope.get("route"), "path", "other")
            self._answered(route=route, code=code)
