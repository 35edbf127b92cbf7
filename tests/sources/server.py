"""The servers that the tests fetch models from, in one process: `python -m tests.sources.server --root DIR`.

Files that come as badly as the address asks (`misbehaving`), a Hugging Face-shaped hub, a Civitai-shaped
catalogue, the CDN of both, and S3. With `--tls-port` the same again over TLS, with a certificate that
`/_ca.pem` vouches for; on the next port with one that has expired, and on the one after with one for another
name. Prints the ports as JSON once it listens.

    <root>/files/…                      /files/<case>/…?<plan>
    <root>/hub/<organisation>/<name>/…  /<organisation>/<name>/resolve/<revision>/…
    <root>/civitai.json                 /api/v1/model-versions/…, /api/download/models/…
    <root>/s3/<bucket>/<key>            on --s3-port
    /_stats?prefix=…  /_reset?prefix=…  what was asked and sent, by path
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.sources import cdn, civitai, hub, misbehaving
from tests.sources.blobs import Blobs
from tests.sources.certificates import ANOTHER_NAME, Authority, Pair
from tests.sources.counting import Counts

#: A small one: what waits in it was sent, and is lost with a client that is killed.
BUFFER_BYTES = 64 * 1024


def create_app(root: Path, counts: Counts, *, cdn_host: str = "", ca: bytes = b"") -> Starlette:
    """`cdn_host`: where files are redirected to, the host itself by default; `ca`: told at /_ca.pem."""
    blobs = Blobs(root)

    async def stats(request: Request) -> Response:
        return JSONResponse(counts.told(request.query_params.get("prefix", "/")))

    async def reset(request: Request) -> Response:
        counts.reset(request.query_params.get("prefix", "/"))
        return JSONResponse({})

    async def authority(request: Request) -> Response:
        return Response(ca, media_type="application/x-pem-file")

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/_health", health),
            Route("/_stats", stats),
            Route("/_reset", reset, methods=["POST"]),
            Route("/_ca.pem", authority),
            *misbehaving.routes(blobs, counts),
            *cdn.routes(blobs, counts),
            *civitai.routes(root, blobs, counts, cdn_host),
            *hub.routes(root, counts, cdn_host),
        ]
    )


class Door(uvicorn.Server):
    """One port. Signals are the process's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _door(app: Starlette, pair: Pair | None = None) -> Door:
    return Door(
        uvicorn.Config(
            app,
            # A body that ends too early is what was asked for.
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_certfile=pair.certificate if pair else None,
            ssl_keyfile=pair.key if pair else None,
        )
    )


def listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets of one port, at all the addresses; port 0: any that is free."""
    found = []
    for host in hosts:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256
        )
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        found.append(listening)
        port = listening.getsockname()[1]
    return found


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    counts, authority = Counts(), Authority(folder)
    app = create_app(arguments.root, counts, cdn_host=arguments.cdn, ca=authority.pem)
    doors = {"http": (_door(app), listen(arguments.host, arguments.port))}
    if arguments.tls_port is not None:
        names = [*arguments.name, "localhost", "127.0.0.1", "127.0.0.2", "::1"]
        pairs = {
            "https": authority.issue("good", names),
            "expired": authority.issue("expired", names, expired=True),
            "misnamed": authority.issue("misnamed", [ANOTHER_NAME]),
        }
        for step, (label, pair) in enumerate(pairs.items()):
            port = arguments.tls_port + step if arguments.tls_port else 0
            doors[label] = (_door(app, pair), listen(arguments.host, port))
    ports = {label: sockets[0].getsockname()[1] for label, (_, sockets) in doors.items()}
    if arguments.s3_port is not None:
        # Its import takes a second or two.
        from tests.sources import s3

        ports["s3"] = s3.serve(arguments.root, counts, host=arguments.host[0], port=arguments.s3_port)

    def stop() -> None:
        for door, _ in doors.values():
            door.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*(door.serve(sockets=sockets) for door, sockets in doors.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--host", action="append", default=[], help="address to listen at; may repeat")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free")
    parser.add_argument("--tls-port", type=int, help="0: any three that are free")
    parser.add_argument("--s3-port", type=int, help="0: any that is free")
    parser.add_argument("--cdn", default="", help="host name of the CDN; default: the same host")
    parser.add_argument(
        "--name", action="append", default=[], help="host name of the certificate; may repeat"
    )
    arguments = parser.parse_args()
    arguments.root = arguments.root.resolve()
    arguments.host = arguments.host or ["0.0.0.0"]
    with tempfile.TemporaryDirectory(prefix="sources-") as folder:
        asyncio.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
