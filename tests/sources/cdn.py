"""The other host, to which the hub and the catalogue redirect: `/cdn/<path>` with a signed, dated query.

As the object stores behind the real ones, it refuses a request that carries an Authorization header beside
the signature. Its ETag is its own.
"""

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.sources.answering import FileAnswer, counted
from tests.sources.blobs import Blobs
from tests.sources.counting import Ask, Counts, Tally
from tests.sources.credentials import CDN_KEY
from tests.sources.plans import Plan

LIFETIME_SECONDS = 3600


def address(request: Request, host: str, path: str, *, name: str) -> str:
    """Where a file below the root is, for an hour: at `host`, by the scheme and port of the request."""
    base = request.url.replace(path="", query="", **({"hostname": host} if host else {}))
    expires = int(time.time()) + LIFETIME_SECONDS
    query = {
        "Expires": str(expires),
        "Signature": _signature(path, str(expires)),
        "response-content-disposition": f'attachment; filename="{name}"',
    }
    return f"{base}/cdn/{quote(path)}?{urlencode(query)}"


def routes(blobs: Blobs, counts: Counts) -> list[Route]:
    def file(request: Request, ask: Ask, tally: Tally) -> Response:
        path, query = request.path_params["path"], request.query_params
        if ask.authorization:
            return PlainTextResponse("only one way to authorize is allowed\n", 400)
        if not _holds(path, query.get("Expires", ""), query.get("Signature", "")):
            return PlainTextResponse("the signature does not hold\n", 403)
        blob = blobs.find(path)
        if blob is None:
            return PlainTextResponse("no such file\n", 404)
        answer = FileAnswer(blob, ask, tally, plan=Plan(), number=0, faults=False)
        answer.headers["Content-Disposition"] = query.get("response-content-disposition", "attachment")
        return answer

    return [Route("/cdn/{path:path}", counted(counts, file))]


def _holds(path: str, expires: str, signature: str) -> bool:
    return (
        expires.isdigit()
        and int(expires) > time.time()
        and hmac.compare_digest(signature, _signature(path, expires))
    )


def _signature(path: str, expires: str) -> str:
    return hmac.new(CDN_KEY, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
