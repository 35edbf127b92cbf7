"""A server around a hand-written engine; the engines honour the contract, or break one point of it each."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest

from sd_runtime import process
from sd_runtime.app import create_app
from sd_runtime.desired import Wish
from sd_runtime.device import DeviceInfo
from sd_runtime.engine.work import Made, OnStep, Pixels, Step
from sd_runtime.errors import Cancelled, CheckpointError
from sd_runtime.health import Health
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings
from sd_runtime.switching import Switcher, wish_at_start

sys.path.append(str(Path(__file__).parent))  # makes the hand-written parts of this folder importable
from checkpoint_files import checkpoint_bytes

SHA256 = "ab12" * 16


def size_of(task: Any) -> tuple[int, int]:
    """Width and height of what the task makes; 8 pixels square of one that tells neither."""
    final = getattr(task, "hires", None) or task
    return getattr(final, "width", 8), getattr(final, "height", 8)


def picture_of(task: Any) -> Pixels:
    """A picture that tells its seed, if it has one: every value is the seed's last byte."""
    width, height = size_of(task)
    return np.full((height, width, 3), getattr(task, "seed", 0) % 256, dtype=np.uint8)


class ManualTicket:
    """A picture that the test finishes, step by step."""

    def __init__(self, engine: "ManualEngine", task: Any, on_step: OnStep | None, request: Hashable) -> None:
        self.task = task
        self.request = request
        self.future: Future[Made] = Future()
        self.future.set_running_or_notify_cancel()
        self.loaded: LoadedCheckpoint | None = engine.begun_with(task)
        self._on_step = on_step
        self._steps = 0
        self.taken_back = False
        self.interrupted = False

    def step(self, done: int, *, part: int = 0, parts: int = 1) -> None:
        self._steps += 1
        if self._on_step:
            self._on_step(Step(done, self.task.steps, part, parts))

    def finish(self, **made: Any) -> None:
        self.future.set_result(Made(**({"pixels": picture_of(self.task)} | made)))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)

    def cancel(self) -> None:
        self.taken_back = True
        if not self.future.done():
            self.future.set_exception(Cancelled("taken back"))

    def interrupt(self) -> None:
        """As the engine does: a picture that has begun is kept as it is."""
        self.interrupted = True
        if self.future.done():
            return
        if self._steps:
            self.finish(interrupted=True)
        else:
            self.future.set_exception(Cancelled("interrupted before there was a picture"))


class ManualEngine:
    """Keeps what was handed in; nothing is computed until the test says so."""

    def __init__(self) -> None:
        self.tickets: list[ManualTicket] = []
        self.resident: LoadedCheckpoint | None = None

    def start(self) -> None: ...

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        future: Future[LoadedCheckpoint] = Future()
        self.resident = loaded(path, sha256 or SHA256)
        future.set_result(self.resident)
        return future

    def submit(
        self, task: Any, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> ManualTicket:
        ticket = ManualTicket(self, task, on_step, request)
        self.tickets.append(ticket)
        return ticket

    def preview(self, ticket: ManualTicket) -> Future[Pixels | None]:
        """A picture of four pixels, once there is a step."""
        future: Future[Pixels | None] = Future()
        future.set_result(np.full((2, 2, 3), 77, dtype=np.uint8) if ticket._steps else None)
        return future

    def begun_with(self, task: Any) -> LoadedCheckpoint | None:
        if getattr(task, "checkpoint", None) is None:
            return self.resident
        return loaded(task.checkpoint, "77" * 32)

    @property
    def open(self) -> list[ManualTicket]:
        return [ticket for ticket in self.tickets if not ticket.future.done()]


class PromptEngine(ManualEngine):
    """Finishes every picture at once."""

    def submit(
        self, task: Any, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> ManualTicket:
        ticket = super().submit(task, on_step=on_step, request=request)
        ticket.step(task.steps)
        ticket.finish()
        return ticket


class FailingEngine(ManualEngine):
    """Fails every picture with the error it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def submit(
        self, task: Any, *, on_step: OnStep | None = None, request: Hashable | None = None
    ) -> ManualTicket:
        ticket = super().submit(task, on_step=on_step, request=request)
        ticket.fail(self._error)
        return ticket


class UnloadableEngine(ManualEngine):
    """Cannot load any checkpoint."""

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        future: Future[LoadedCheckpoint] = Future()
        future.set_exception(CheckpointError(f"{path.name}: not a safetensors file"))
        return future


@dataclass
class ManualLoad:
    """A load that the test ends."""

    engine: "LoadingEngine"
    path: Path
    sha256: str | None
    future: Future[LoadedCheckpoint] = field(default_factory=Future)

    def succeed(self, *, text_layers: int = 4) -> None:
        self.engine.resident = loaded(self.path, self.sha256 or SHA256, text_layers=text_layers)
        self.future.set_result(self.engine.resident)

    def fail(self, error: Exception | None = None, *, after_dropping: bool = True) -> None:
        """By default the fault is found when the network before is gone already."""
        if after_dropping:
            self.engine.resident = None
        self.future.set_exception(error or CheckpointError(f"{self.path.name}: is broken"))


class LoadingEngine(ManualEngine):
    """Its loads are ended by the test, too."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[ManualLoad] = []

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        load = ManualLoad(self, path, sha256)
        self.loads.append(load)
        return load.future


def loaded(path: Path, sha256: str = SHA256, *, text_layers: int = 4) -> LoadedCheckpoint:
    device = DeviceInfo(type="cpu", name="a test's CPU", dtype="float32")
    return LoadedCheckpoint(path=path, sha256=sha256, family="SD15", device=device, text_layers=text_layers)


async def wait_until(happened: Callable[[], object]) -> None:
    for _ in range(5000):
        if happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits for something that another task or thread does."""
    return wait_until


@pytest.fixture
def manual_engine() -> ManualEngine:
    return ManualEngine()


@pytest.fixture
def prompt_engine() -> PromptEngine:
    return PromptEngine()


@pytest.fixture
def unloadable_engine() -> UnloadableEngine:
    return UnloadableEngine()


@pytest.fixture
def loading_engine() -> LoadingEngine:
    return LoadingEngine()


@pytest.fixture
def failing_engine() -> Callable[[Exception], FailingEngine]:
    return FailingEngine


@pytest.fixture
def loaded_checkpoint() -> Callable[[Path], LoadedCheckpoint]:
    return loaded


USER = ("alice", "s3cret:with colon")


class Pauses:
    """Sleeps that the test ends."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.going_on: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.append(seconds)
        self.going_on.append(end)
        try:
            await end
        finally:
            self.going_on.remove(end)

    async def end(self) -> None:
        """Ends the one that goes on, once there is one."""
        await wait_until(lambda: self.going_on)
        (pause,) = self.going_on
        pause.set_result(None)
        await wait_until(lambda: pause not in self.going_on)


@dataclass(kw_only=True)
class World:
    """One server: both doors, and what lies behind them."""

    services: Services
    engine: ManualEngine
    root: Path
    switcher: Switcher
    pauses: Pauses
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.root / "bundle" / "models" / "Stable-diffusion"

    def client(self, *, user: tuple[str, str] | None = USER) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=create_app(self.services))
        return httpx.AsyncClient(transport=transport, base_url="http://sd", auth=user)

    def management(self, *, address: str = "127.0.0.1", host: str = "127.0.0.1:9091") -> httpx.AsyncClient:
        app = create_management_app(self.services, self.switcher)
        transport = httpx.ASGITransport(app=app, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    def start(self) -> None:
        """Follows the wish that the settings hold, and later ones."""
        self.tasks.append(asyncio.create_task(self.switcher.run()))

    async def load(self) -> None:
        """Starts, and waits for the end of the first load."""
        self.start()
        await wait_until(lambda: self.services.state.health in (Health.READY, Health.LOAD_FAILED))

    async def state(self) -> dict[str, Any]:
        async with self.management() as client:
            answer: dict[str, Any] = (await client.get("/v1/state")).json()
            return answer

    async def readiness(self) -> tuple[int, str]:
        async with self.management() as client:
            assert (await client.get("/healthz")).status_code == 200
            response = await client.get("/readyz")
            return response.status_code, response.text

    def wish(self, name: str, sha256: str, **fields: Any) -> Wish:
        """A wish for that file; its revision is its name where none is given."""
        path = self.folder / f"{name}.safetensors"
        return Wish(path=path, sha256=sha256, **({"revision": name} | fields))

    @property
    def served(self) -> tuple[str, str] | None:
        """Name and digest of the checkpoint that is served."""
        loaded = self.services.state.loaded
        return loaded and (loaded.path.stem, loaded.sha256)

    def saved(self) -> list[Path]:
        return sorted((self.root / "outputs").rglob("*.png"))


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Callable[..., World]]:
    """A server whose checkpoint is not loaded yet; any setting can be given. Its clock ticks once a look."""
    made: list[World] = []

    def make(engine: ManualEngine, **given: object) -> World:
        folder = tmp_path / "bundle" / "models" / "Stable-diffusion"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "shapes.safetensors").write_bytes(checkpoint_bytes(b"x"))
        (folder / "other.safetensors").write_bytes(checkpoint_bytes(b"y"))
        auth = tmp_path / "auth"
        auth.mkdir(exist_ok=True)
        (auth / "username").write_text(USER[0])
        (auth / "password").write_text(USER[1] + "\n")
        values: dict[str, object] = {
            "model_roots": (tmp_path / "bundle",),
            "checkpoint": folder / "shapes.safetensors",
            "output_dir": tmp_path / "outputs",
            "auth_dir": auth,
            "warm_up": "off",
            "page": "off",
        }
        settings = Settings(**(values | given))  # type: ignore[arg-type]
        services = process.make_services(
            settings,
            library=process.make_library(settings),
            engine=engine,
            metrics=Metrics(),
            random=Random(1),
        )
        ticks: Iterator[int] = count()
        pauses = Pauses()
        switcher = Switcher(services, engine, clock=lambda: float(next(ticks)), sleep=pauses.sleep)
        wish_at_start(switcher, settings)
        made.append(World(services=services, engine=engine, root=tmp_path, switcher=switcher, pauses=pauses))
        return made[-1]

    yield make
    tasks = [task for world in made for task in world.tasks]
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(ended, asyncio.CancelledError), "the following of wishes ended by itself"


@pytest.fixture
async def world(make_world: Callable[..., World], prompt_engine: PromptEngine) -> World:
    """A server that is ready and makes pictures at once."""
    made = make_world(prompt_engine)
    await made.load()
    return made


@pytest.fixture
async def slow_world(make_world: Callable[..., World], manual_engine: ManualEngine) -> World:
    """A server that is ready and whose pictures the test finishes."""
    made = make_world(manual_engine)
    await made.load()
    return made


@pytest.fixture
async def switching_world(make_world: Callable[..., World], loading_engine: LoadingEngine) -> World:
    """A server that is ready, takes three requests, and whose pictures and next loads the test ends."""
    made = make_world(loading_engine, queue_limit=3)
    made.start()
    await wait_until(lambda: loading_engine.loads)
    loading_engine.loads.pop().succeed()
    await wait_until(lambda: made.services.state.health == "Ready")
    return made
