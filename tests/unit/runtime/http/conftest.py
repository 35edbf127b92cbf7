"""A server around a hand-written engine; the engines honour the contract, or break one point of it each."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import numpy as np
import pytest

from sd_runtime import serving
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.a1111.options import Options
from sd_runtime.app import create_app
from sd_runtime.device import DeviceInfo
from sd_runtime.errors import Cancelled, CheckpointError
from sd_runtime.guards.auth import CredentialFiles
from sd_runtime.health import RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.job import Pixels
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings
from sd_runtime.tasks.txt2img import Txt2Img

SHA256 = "ab12" * 16


def picture_of(task: Txt2Img) -> Pixels:
    """A picture that tells its seed: every value is the seed's last byte."""
    return np.full((task.height, task.width, 3), task.seed % 256, dtype=np.uint8)


class ManualTicket:
    """A picture that the test finishes, step by step."""

    def __init__(self, task: Txt2Img, on_step: Callable[[int, int], None] | None, request: Hashable) -> None:
        self.task = task
        self.request = request
        self.future: Future[Pixels] = Future()
        self.future.set_running_or_notify_cancel()
        self._on_step = on_step
        self.taken_back = False

    def step(self, done: int) -> None:
        if self._on_step:
            self._on_step(done, self.task.steps)

    def finish(self) -> None:
        self.future.set_result(picture_of(self.task))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)

    def cancel(self) -> None:
        self.taken_back = True
        if not self.future.done():
            self.future.set_exception(Cancelled("taken back"))


class ManualEngine:
    """Keeps what was handed in; nothing is computed until the test says so."""

    def __init__(self) -> None:
        self.tickets: list[ManualTicket] = []

    def start(self) -> None: ...

    def close(self) -> None: ...

    def load(self, path: Path) -> Future[LoadedCheckpoint]:
        future: Future[LoadedCheckpoint] = Future()
        future.set_result(loaded(path))
        return future

    def submit(
        self,
        task: Txt2Img,
        *,
        on_step: Callable[[int, int], None] | None = None,
        request: Hashable | None = None,
    ) -> ManualTicket:
        ticket = ManualTicket(task, on_step, request)
        self.tickets.append(ticket)
        return ticket

    @property
    def open(self) -> list[ManualTicket]:
        return [ticket for ticket in self.tickets if not ticket.future.done()]


class PromptEngine(ManualEngine):
    """Finishes every picture at once."""

    def submit(
        self,
        task: Txt2Img,
        *,
        on_step: Callable[[int, int], None] | None = None,
        request: Hashable | None = None,
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
        self,
        task: Txt2Img,
        *,
        on_step: Callable[[int, int], None] | None = None,
        request: Hashable | None = None,
    ) -> ManualTicket:
        ticket = super().submit(task, on_step=on_step, request=request)
        ticket.fail(self._error)
        return ticket


class UnloadableEngine(ManualEngine):
    """Cannot load any checkpoint."""

    def load(self, path: Path) -> Future[LoadedCheckpoint]:
        future: Future[LoadedCheckpoint] = Future()
        future.set_exception(CheckpointError(f"{path.name}: not a safetensors file"))
        return future


def loaded(path: Path) -> LoadedCheckpoint:
    device = DeviceInfo(type="cpu", name="a test's CPU", dtype="float32")
    return LoadedCheckpoint(path=path, sha256=SHA256, family="SD15", device=device, text_layers=4)


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
def failing_engine() -> Callable[[Exception], FailingEngine]:
    return FailingEngine


@pytest.fixture
def loaded_checkpoint() -> Callable[[Path], LoadedCheckpoint]:
    return loaded


USER = ("alice", "s3cret:with colon")


@dataclass(kw_only=True)
class World:
    """One server: both doors, and what lies behind them."""

    services: Services
    engine: ManualEngine
    root: Path

    def client(self, *, user: tuple[str, str] | None = USER) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=create_app(self.services))
        return httpx.AsyncClient(transport=transport, base_url="http://sd", auth=user)

    def management(self, *, token_sha256: str = "", address: str = "127.0.0.1") -> httpx.AsyncClient:
        services = self.services
        settings = services.settings
        app = create_management_app(
            state=services.state,
            shelf=services.shelf,
            metrics=services.metrics,
            token_sha256=token_sha256,
            credentials=CredentialFiles(settings.auth_dir) if settings.auth == "required" else None,
        )
        transport = httpx.ASGITransport(app=app, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://sd")

    async def load(self) -> None:
        state, queue = self.services.state, self.services.queue
        await serving.load(self.engine, self.services.settings.checkpoint, state=state, queue=queue)

    def saved(self) -> list[Path]:
        return sorted((self.root / "outputs").rglob("*.png"))


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """A server whose checkpoint is not loaded yet; any setting can be given."""

    def make(engine: ManualEngine, **given: object) -> World:
        folder = tmp_path / "bundle" / "models" / "Stable-diffusion"
        folder.mkdir(parents=True)
        (folder / "shapes.safetensors").write_bytes(b"x" * 0x110000)
        (folder / "other.safetensors").write_bytes(b"y" * 0x110000)
        auth = tmp_path / "auth"
        auth.mkdir()
        (auth / "username").write_text(USER[0])
        (auth / "password").write_text(USER[1] + "\n")
        values: dict[str, object] = {
            "model_roots": (tmp_path / "bundle",),
            "checkpoint": folder / "shapes.safetensors",
            "output_dir": tmp_path / "outputs",
            "auth_dir": auth,
        }
        settings = Settings(**(values | given))  # type: ignore[arg-type]
        outputs = OutputFolder(settings.output_dir)
        services = Services(
            settings=settings,
            state=RuntimeState(),
            queue=JobQueue(limit=settings.queue_limit),
            shelf=Shelf(settings.model_roots, settings.checkpoint),
            options=Options(output_folder=str(outputs.txt2img)),
            outputs=outputs,
            metrics=Metrics(),
            random=Random(1),
        )
        return World(services=services, engine=engine, root=tmp_path)

    return make


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
