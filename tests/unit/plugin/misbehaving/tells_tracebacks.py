"""Answers bad requests with a traceback as plain text, and 500."""

import traceback

from breakers import example
from starlette.responses import PlainTextResponse

_made = example()
app = _made.app


async def _told(request, error):
    return PlainTextResponse("".join(traceback.format_exception(error)), 500)


_made.refuse = _told
