"""Limits on request bodies: on their size, whether or not they announce it, on waiting for the rest, and on
what all of them together take."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd_runtime.guards.budget import Budget
from sd_runtime.guards.refusal import refusal

#: Bodies up to this are not counted among those of all requests: a few large ones must not keep out what
#: brings no pictures.
SMALL_BYTES = 256 * 1024
_RETRY = {"Retry-After": "5"}


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `limit` bytes, 408 where it pauses for `seconds`, 429
    while the bodies of other requests leave no room for it in `together` (bytes; None: no such bound). Its
    room is free again as soon as the answer begins, for nobody keeps a body for longer: how long an answer
    takes is the client's affair."""

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float, together: Budget | None = None) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._together = together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._limit:
            await refusal(413, "BodyTooLarge", self._too_large())(scope, receive, send)
            return
        received = held = 0
        whole = False

        async def counted() -> Message:
            nonlocal received, held, whole
            if whole:  # what still comes is the client's leaving, however late
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not go on for {self._seconds:g} seconds") from None
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            # Raised inside the route that reads the body; the app's handler makes the answer.
            if received > self._limit:
                raise HTTPException(413, self._too_large())
            if self._together is not None and received > SMALL_BYTES:
                await _demand(self._together, received - held)
                held = received
            return message

        async def answering(message: Message) -> None:
            let_go()
            await send(message)

        def let_go() -> None:
            nonlocal held
            if self._together is not None and held:
                self._together.give_back(held)
                held = 0

        try:
            await self._app(scope, counted, answering)
        finally:
            let_go()

    def _too_large(self) -> str:
        return f"the body is larger than {self._limit} bytes, the most that is accepted"


async def _demand(together: Budget, amount: int) -> None:
    if not await together.take(amount):
        sentence = f"the bodies of requests under way take {together.most} bytes, the most that is accepted"
        raise HTTPException(429, f"{sentence}; try again shortly", _RETRY)
