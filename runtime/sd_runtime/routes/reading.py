"""How the users' door reads JSON bodies: away from the event loop, the large ones one at a time, and none
with more structure than any request has.

A large body is one that brings pictures: a few long texts. The same bytes as brackets and commas would be
millions of objects, many times as large, made in one go that nothing else can interrupt.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sd_runtime.a1111.schemas.body import MAX_TEXT
from sd_runtime.routes.services import Services

#: Of lists and objects, and of what is in them.
_MOST_STRUCTURE = 20_000
#: Braces, brackets and commas of a body. Those within texts are counted as well, as telling them apart takes
#: as long as reading it; so there are as many more as a request's texts may have: its prompts, those of the
#: second pass, and infotext.
MOST_MARKS = _MOST_STRUCTURE + 5 * MAX_TEXT
_MARKS = (b"{", b"[", b",")
#: Between two counts others get their turn.
_SLICE_BYTES = 1024 * 1024
#: What is smaller is read at once: handing it to a thread would take longer.
_SMALL_BYTES = 64 * 1024


class JsonRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def read_so(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return read_so


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The body as JSON; raises JSONDecodeError for what is no JSON, and an HTTPException of 422 for what
        cannot be read for another reason: too much structure, nested too deeply, other bytes than UTF-8."""
        if not hasattr(self, "_json"):
            body = await self.body()
            if len(body) <= _SMALL_BYTES:
                self._json = _read(body)
            else:
                services: Services = self.app.state.services
                async with services.intake.reading:
                    self._json = await asyncio.to_thread(_read, body)
        return self._json


def _read(body: bytes) -> Any:
    marks = 0
    for start in range(0, len(body), _SLICE_BYTES):
        part = body[start : start + _SLICE_BYTES]
        marks += sum(part.count(mark) for mark in _MARKS)
        if marks > MOST_MARKS:
            # No UnsupportedError: FastAPI takes all others for a sign of what is no JSON.
            raise HTTPException(422, f"body: more than {MOST_MARKS} braces, brackets and commas together")
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        raise  # FastAPI tells the place
    except (ValueError, RecursionError) as error:
        # FastAPI would call it a 400 of its own, without the reason.
        raise HTTPException(422, f"body: not JSON: {error}") from error
