"""Limits on request bodies: on their size, whether or not they announce it, and on waiting for the rest."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd_runtime.guards.refusal import refusal


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `limit` bytes, 408 where it pauses for `seconds`."""

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sentence = f"the body is larger than {self._limit} bytes, the most that is accepted"
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._limit:
            await refusal(413, "BodyTooLarge", sentence)(scope, receive, send)
            return
        received = 0
        whole = False

        async def counted() -> Message:
            nonlocal received, whole
            if whole:  # what still comes is the client's leaving, however late
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not go on for {self._seconds:g} seconds") from None
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._limit:
                # Raised inside the route that reads the body; the app's handler makes the answer.
                raise HTTPException(413, sentence)
            return message

        await self._app(scope, counted, send)
