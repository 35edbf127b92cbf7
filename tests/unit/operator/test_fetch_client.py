"""What fetch pods say of their progress, and what is made of no answer and of rubbish."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from sd_operator.api.bundle import FileStatus
from sd_operator.bundle.progress import progress, readable
from sd_operator.fetch_client import FetchClient, Progress

KEY = b"0123456789abcdef"


class Pod:
    def __init__(self) -> None:
        self.answer = web.Response
        self.text = '{"bytes": 5, "totalBytes": 10, "bytesPerSecond": 2.5, "phase": "Fetching", "new": 1}'
        self.status = 200
        self.headers: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers["Authorization"])
        return web.Response(text=self.text, status=self.status)


@pytest.fixture
async def pod() -> Pod:
    return Pod()


@pytest.fixture
async def client(pod: Pod) -> AsyncIterator[FetchClient]:
    app = web.Application()
    app.add_routes([web.get("/v1/progress", pod.handle)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        yield FetchClient(session, key=KEY, port=port)
    await runner.cleanup()


async def test_a_pod_says_how_far_it_is(pod: Pod, client: FetchClient) -> None:
    assert await client.progress(pod_ip="127.0.0.1", uid="u") == Progress(
        bytes=5, total_bytes=10, bytes_per_second=2.5, phase="Fetching"
    )
    assert pod.headers[0].startswith("Bearer ")


@pytest.mark.parametrize(
    ("text", "status"), [("no", 200), ('{"bytes": -1}', 200), ("[]", 200), ("{}", 401), ("x" * 70_000, 200)]
)
async def test_what_is_no_answer_is_none(pod: Pod, client: FetchClient, text: str, status: int) -> None:
    pod.text, pod.status = text, status
    assert await client.progress(pod_ip="127.0.0.1", uid="u") is None


async def test_a_pod_that_is_gone_does_not_answer() -> None:
    async with aiohttp.ClientSession() as session:
        gone = FetchClient(session, key=KEY, port=1)
        assert await gone.progress(pod_ip="127.0.0.1", uid="u") is None


def test_every_bundle_has_another_token() -> None:
    client = FetchClient(None, key=KEY)  # type: ignore[arg-type]  # nothing is asked
    assert client.token_sha256("one") != client.token_sha256("two")
    assert len(client.token_sha256("one")) == 64


def told(name: str, state: str, size: int | None = None) -> FileStatus:
    return FileStatus(name=name, state=state, size=size, job=f"job-{name}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "running", "expected"),
    [
        ([told("a", "Verified", 100)], {}, ("1/1", 100, 100, 100, None, None)),
        ([told("a", "Pending")], {}, ("0/1", 0, 0, None, None, None)),
        (
            [told("a", "Verified", 100), told("b", "Fetching")],
            {"job-b": Progress(bytes=50, total_bytes=300, bytes_per_second=25)},
            ("1/2", 37, 150, 400, 25, 10),
        ),
        (
            [told("a", "Verified", 100), told("b", "Fetching"), told("c", "Pending")],
            {"job-b": Progress(bytes=50, total_bytes=300, bytes_per_second=25)},
            ("1/3", 33, 150, None, 25, None),
        ),
        (
            [told("a", "Fetching")],
            {"job-a": Progress(bytes=300, total_bytes=300)},
            ("0/1", 99, 300, 300, 0, None),
        ),
    ],
    ids=["done", "waiting", "half-way", "a size is not known", "all there, not verified"],
)
def test_the_numbers(
    files: list[FileStatus], running: dict[str, Progress], expected: tuple[object, ...]
) -> None:
    found = progress(files, running)
    assert (
        found.files,
        found.percent,
        found.bytes,
        found.total_bytes,
        found.bytes_per_second,
        found.eta_seconds,
    ) == expected


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0"), (1023, "1023"), (1536, "1.5Ki"), (4 * 2**30, "4.0Gi"), (2**52, "4096.0Ti")]
)
def test_sizes_are_as_kubectl_shows_them(size: int, words: str) -> None:
    assert readable(size) == words
