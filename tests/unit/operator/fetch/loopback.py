"""Web servers on loopback that answer as a test says, a client that may reach them, and Secrets as files."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from sd_operator.fetch.credentials import Credentials
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.network.backend import Resolver, look_up
from sd_operator.fetch.network.client import open_client
from sd_operator.fetch.settings import Settings
from tests.sources.certificates import Authority, Pair

LOOPBACK = "127.0.0.0/8,::1/128"


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None  # where it is not that of the body


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status, b"moved", {"Location": location})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Web"

    def do_GET(self) -> None:
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.server.asked.append(asked)
        reply = self.server.answer(asked)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.close_connection = self.close_connection or length != len(reply.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Asked], Reply], host: str, pair: Pair | None) -> None:
        super().__init__((host, 0), Handler)
        self.answer = answer
        self.asked: list[Asked] = []
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            # The handshake in the connection's own thread: one that never ends holds nobody up.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme = "http" if pair is None else "https"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what a test wants."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextmanager
def serving(
    answer: Callable[[Asked], Reply] | Reply, *, host: str = "127.0.0.1", pair: Pair | None = None
) -> Iterator[Web]:
    with Web((lambda _asked: answer) if isinstance(answer, Reply) else answer, host, pair) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()


def settings(**changes: Any) -> Settings:
    """Settings that reach loopback; nothing of this process's environment but what is given."""
    names = {name: field.validation_alias or name for name, field in Settings.model_fields.items()}
    values = {"allowed_networks": LOOPBACK, "http_proxy": None, "https_proxy": None, "no_proxy": ""}
    return Settings(**{str(names[name]): value for name, value in (values | changes).items()})


@contextmanager
def client(
    known: Settings | None = None, *, resolver: Resolver = look_up, secrets: Path = Path("/nowhere")
) -> Iterator[httpx.Client]:
    known = known or settings()
    with open_client(known, Credentials(secrets), resolver=resolver) as found:
        yield found


def secret(root: Path, name: str, **keys: str) -> Path:
    """A Secret as a folder of files; a key `host` in the words of the test."""
    folder = root / name
    folder.mkdir(parents=True)
    for key, value in keys.items():
        (folder / key).write_text(value)
    return root


def at_loopback(*addresses: str) -> Resolver:
    """A name service that knows every name."""
    return lambda _host, _port: addresses or ("127.0.0.1",)


def authority(folder: Path) -> tuple[Authority, Path]:
    """A certificate authority, and the file that makes a client trust it."""
    found = Authority(folder)
    pem = folder / "ca.pem"
    pem.write_bytes(found.pem)
    return found, pem


def failure(client: httpx.Client, url: str, **options: Any) -> FetchError:
    """What a GET and the reading of its body fail with."""
    try:
        with failing("the source"):
            client.get(url, **options)
    except FetchError as error:
        return error
    raise AssertionError(f"{url} was answered well")


@contextmanager
def listening(behave: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server below HTTP: each connection is given to `behave`, then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    behave(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
