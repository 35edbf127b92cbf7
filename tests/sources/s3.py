"""S3: moto serves `<root>/s3/<bucket>/<key>`, behind a door that really checks who asks.

moto by itself believes any credentials. The bucket may be in the path, or be the first label of the host
name; what reaches moto has it in the path. Reads are counted as `/s3/<bucket>/<key>`.
"""

import datetime
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import get_canned_acl, s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.sources import credentials
from tests.sources.counting import Ask, Counts
from tests.sources.signature import Key, SignatureError, Signed, check

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEYS: Mapping[str, Key] = {
    credentials.S3_ACCESS_KEY_ID: Key(credentials.S3_SECRET_ACCESS_KEY),
    credentials.S3_TEMPORARY_KEY_ID: Key(credentials.S3_TEMPORARY_SECRET, credentials.S3_SESSION_TOKEN),
}
READS = ("GET", "HEAD")


class Door:
    """In front of moto: bucket into the path, signature checked, reads only, counted."""

    def __init__(self, moto: "WSGIApplication", buckets: frozenset[str], counts: Counts) -> None:
        self._moto = moto
        self._buckets = buckets
        self._counts = counts

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path, _, query = environ["REQUEST_URI"].partition("?")
        host, headers = environ["HTTP_HOST"], _headers(environ)
        bucket = host.partition(".")[0]
        place = f"/{bucket}{path}" if bucket in self._buckets else path
        ask = Ask(
            method=environ["REQUEST_METHOD"],
            host=host,
            authorization=headers.get("authorization", ""),
            range=headers.get("range", ""),
            if_range=headers.get("if-range", ""),
        )
        self._counts.add(f"/s3{place}", ask)
        try:
            self._admit(Signed(ask.method, path, query, headers), place)
        except SignatureError as error:
            return _refused(error.code, ask, start_response)
        return self._pass_on(environ, place, ask, start_response)

    def _admit(self, request: Signed, place: str) -> None:
        if request.method not in READS:
            raise SignatureError("AccessDenied")
        signed = "authorization" in request.headers or "Signature=" in request.query
        if signed or not place.startswith(f"/{credentials.S3_PUBLIC_BUCKET}/"):
            check(request, KEYS, now=datetime.datetime.now(tz=datetime.UTC))

    def _pass_on(
        self, environ: "WSGIEnvironment", place: str, ask: Ask, start_response: "StartResponse"
    ) -> Iterator[bytes]:
        inner = {key: value for key, value in environ.items() if key != "HTTP_AUTHORIZATION"}
        # Buckets are in the path for this host name.
        words = environ["QUERY_STRING"].split("&")
        query = "&".join(word for word in words if not word.startswith("X-Amz-"))
        uri = f"{place}?{query}" if query else place
        inner |= {"HTTP_HOST": "localhost", "REQUEST_URI": uri, "RAW_URI": uri, "QUERY_STRING": query}
        if place != environ["REQUEST_URI"].partition("?")[0]:
            inner["PATH_INFO"] = "/" + place.split("/")[1] + environ["PATH_INFO"]

        def begin(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            ask.status = int(status.split()[0])
            found = {name.lower(): value for name, value in headers}
            said = found.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            ask.start = int(said) if said.isdigit() else 0
            return start_response(status, headers)

        for chunk in self._moto(inner, begin):  # type: ignore[arg-type]
            ask.sent += len(chunk)
            yield chunk


def serve(root: Path, counts: Counts, *, host: str, port: int) -> int:
    """Fill the buckets and serve them in a thread until the process ends; the port."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    buckets = sorted(folder for folder in (root / "s3").glob("*") if folder.is_dir())
    for folder in buckets:
        backend.create_bucket(folder.name, credentials.S3_REGION)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = file.relative_to(folder).as_posix()
                backend.put_object(folder.name, key, file.read_bytes())
                # The door has checked already.
                backend.put_object_acl(folder.name, key, get_canned_acl("public-read"))
    door = Door(create_backend_app("s3"), frozenset(folder.name for folder in buckets), counts)
    server = make_server(host, port, door, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, name="s3", daemon=True).start()
    return int(server.server_port)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        pass


def _headers(environ: "WSGIEnvironment") -> dict[str, str]:
    named = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    return {key.lower().replace("_", "-"): value for key, value in named.items()}


def _refused(code: str, ask: Ask, start_response: "StartResponse") -> list[bytes]:
    ask.status = 400 if code in ("AuthorizationHeaderMalformed", "InvalidRequest", "InvalidToken") else 403
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    start_response(f"{ask.status} {code}", headers)
    return [] if ask.method == "HEAD" else [body]
