"""What is served: follows the last wish, from the first load on, without failing a request for it.

A switch lets the jobs that have begun finish, holds back those that come, loads, makes the warm-up picture
and only then serves. When it fails, the checkpoint before it is served again, and the wish is tried again
later where that can help. Knows the order of these things; how a file is loaded and how jobs run is known by
those it is given.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from sd_runtime import desired
from sd_runtime.desired import DesiredError, OutdatedError, Wish
from sd_runtime.errors import CheckpointError, CheckpointUnavailable, GenerationError, SdError
from sd_runtime.health import Health, Startup
from sd_runtime.jobs.job import Engine
from sd_runtime.jobs.queue import Draining
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.trial import Trial
from sd_runtime.routes.services import Services, Superseded
from sd_runtime.settings import Settings
from sd_runtime.tasks import warm_up

logger = logging.getLogger(__name__)

#: Seconds between a failure and the next try, doubled each time up to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0


class LoadingEngine(Engine, Protocol):
    """What is needed of the engine."""

    @property
    def resident(self) -> LoadedCheckpoint | None:
        """The checkpoint that tasks would run on now."""

    def start(self) -> None:
        """Starts the device thread."""

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        """Makes a checkpoint resident, if its bytes have this digest."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What became of a wish: a resident checkpoint, or a sentence that says why not."""

    wish: Wish
    loaded: LoadedCheckpoint | None = None
    error: str = ""
    #: Whether what went wrong may be right again later, with the same wish.
    may_pass: bool = False


class Switcher:
    """Takes wishes and makes them come true, one at a time; everything runs on one event loop."""

    def __init__(
        self,
        services: Services,
        engine: LoadingEngine,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._take_defaults = services.take_defaults
        self._state = services.state
        self._queue = services.queue
        self._metrics = services.metrics
        self._warms_up = services.settings.warm_up == "on"
        self._random = services.random
        self._clock = clock
        self._sleep = sleep
        self._wish: Wish | None = None
        self._failed: Wish | None = None
        #: The checkpoint that was served last, to which a failed switch goes back.
        self._before: LoadedCheckpoint | None = None
        self._retry: asyncio.Task[None] | None = None
        self._pauses = 0
        self._wished = asyncio.Event()
        self._busy = False
        self._has_ended = False
        #: Of those who wait for news of their wish.
        self._listeners: set[asyncio.Future[None]] = set()

    def accept(self, wish: Wish, *, generation: int | None = None) -> bool:
        """Takes the wish over; whether anything remains to be done for it. It takes the place of one that is
        not in effect yet. Raises `OutdatedError` for a wish older than the last, and `Draining`.
        """
        state = self._state
        if state.draining:
            raise Draining("this replica is shutting down, and serves nothing else any more")
        known = state.desired.generation
        if self._wish is not None and wish.revision == self._wish.revision:
            if generation is not None:
                state.desired.generation = max(generation, known or 0)
            return False
        if generation is not None and known is not None and generation < known:
            raise OutdatedError(
                f"generation: {generation} is older than {known}, which was accepted before;"
                f" allowed: {known} and above"
            )
        self._wish = wish
        self._tell_listeners()
        self._end_retry()
        self._pauses = 0
        state.wish(path=wish.path, revision=wish.revision, generation=generation)
        logger.info("wished for", extra={"checkpoint": str(wish.path), "revision": wish.revision})
        if self._is_served(wish) and not self._busy and not self._wished.is_set():
            assert state.loaded is not None
            self._take_defaults(wish.options, state.loaded)
            state.come_into_effect()
            return False
        self._wished.set()
        return True

    async def switch_to(self, path: Path) -> None:
        """Serves this checkpoint, as somebody at the users' door asks for; returns when it does. Where it
        cannot, the one before it serves on and stays wished: raises `CheckpointError`. Raises `Superseded`
        where another wish takes its place, and `Draining` where the process ends before it is served."""
        wish = Wish(path=path, revision=uuid.uuid4().hex)
        if not self.accept(wish):
            return
        desired = self._state.desired
        while self._is_followed(wish) and not desired.in_effect and desired.error is None:
            news = asyncio.get_running_loop().create_future()
            self._listeners.add(news)
            try:
                await news
            finally:
                self._listeners.discard(news)
        if self._wish is not wish:
            last = self._wish.path.name if self._wish else "none"
            sentence = f"{path.name}: another checkpoint was asked for before this one was served: {last}"
            raise Superseded(f"{sentence}, which counts")
        if self._has_ended:
            raise Draining(f"{path.name}: this replica ended before it was served")
        if desired.error is not None:
            error, before = desired.error, self._before
            if before is not None and not self._state.draining:
                self.accept(Wish(path=before.path, sha256=before.sha256, revision=uuid.uuid4().hex))
            raise CheckpointError(error)

    def _is_followed(self, wish: Wish) -> bool:
        return self._wish is wish and not self._has_ended

    def refuse(self, error: DesiredError) -> None:
        """There is no wish that could be followed, for this reason."""
        logger.error("nothing to serve: %s", error)
        self._state.fail_wish(str(error))
        self._state.fail(str(error))

    async def run(self) -> None:
        """Follows the wishes until it is cancelled."""
        self._engine.start()
        try:
            while True:
                await self._wished.wait()
                self._busy = True
                try:
                    await self._follow()
                finally:
                    self._busy = False
                self._tell_listeners()
        finally:
            self._has_ended = True
            self._tell_listeners()
            self._end_retry()

    async def _follow(self) -> None:
        """Serves what is wished, or what was served before."""
        self._queue.hold()
        await self._queue.idle()
        attempt = await self._attempt_the_last()
        if attempt.loaded is not None:
            if self._before not in (None, attempt.loaded):
                self._metrics.checkpoint_switched(result="done")
            self._serve(attempt.loaded)
            self._take_defaults(attempt.wish.options, attempt.loaded)
            if attempt.wish is self._wish:
                self._state.come_into_effect()
            return
        self._note_failure(attempt.wish, attempt.error)
        await self._go_back(attempt)
        if attempt.wish is self._wish and (self._state.loaded is None or attempt.may_pass):
            self._retry = asyncio.create_task(self._bring_back(attempt.wish), name="retry")

    async def _attempt_the_last(self) -> _Attempt:
        """Tries the last wish, and again when there is a newer one by then."""
        while True:
            self._wished.clear()
            wish = self._wish
            assert wish is not None
            # A wish that failed before keeps its error until it succeeds: nothing flaps between the tries.
            if self._state.loaded is None and wish is not self._failed:
                self._state.begin_loading()
            attempt = await self._attempt(wish)
            # While the process ends, jobs that are held back are served best with what is resident.
            if not self._wished.is_set() or (self._state.draining and attempt.loaded):
                return attempt
            if self._before is not None:
                self._metrics.checkpoint_switched(result="superseded")

    async def _attempt(self, wish: Wish) -> _Attempt:
        served = self._state.loaded
        if served and wish.means(served.path, served.sha256) and self._engine.resident == served:
            return _Attempt(wish, served)
        try:
            return _Attempt(wish, await self._make_resident(wish.path, wish.sha256))
        except SdError as error:
            return _Attempt(wish, error=str(error), may_pass=isinstance(error, CheckpointUnavailable))
        except Exception:
            logger.exception("the checkpoint was not loaded")
            sentence = f"an unforeseen error while loading {wish.path.name}; the cause is in the log"
            return _Attempt(wish, error=sentence)

    def _note_failure(self, wish: Wish, sentence: str) -> None:
        logger.error("not served: %s", sentence, extra={"checkpoint": str(wish.path)})
        self._metrics.checkpoint_switched(result="failed")
        if wish is self._wish:
            self._failed = wish
            self._state.fail_wish(sentence)

    async def _go_back(self, failed: _Attempt) -> None:
        """Serves the checkpoint before the one that failed; it is gone from memory unless the fault was seen
        in the header of the new one."""
        before, sentence = self._before, failed.error
        if before is not None and not failed.wish.means(before.path, before.sha256):
            again = await self._attempt(Wish(path=before.path, sha256=before.sha256))
            if again.loaded is not None:
                self._serve(again.loaded)
                return
            sentence += f"; and the checkpoint before it could not be loaded again: {again.error}"
        logger.critical("nothing is served: %s", sentence)
        self._queue.serve_nothing()
        self._state.fail(sentence)

    async def _bring_back(self, wish: Wish) -> None:
        """Has a failed wish followed once more, after a pause. What is served by then is given up for it only
        if the file was found to be the wished one."""
        trial = Trial(wish.path, wish.sha256)
        while not self._state.draining:
            await self._sleep(_pause(self._pauses, self._random))
            self._pauses += 1
            if self._state.draining:
                return
            if self._state.loaded is None or await self._is_worth_it(wish, trial):
                self._wished.set()
                return

    async def _is_worth_it(self, wish: Wish, trial: Trial) -> bool:
        over = threading.Event()
        try:
            await asyncio.to_thread(trial.demand, over.is_set)
        except CheckpointUnavailable as error:
            self._note_failure(wish, str(error))
            return False
        finally:
            over.set()  # the thread would go on by itself, and the process not end before it
        return not self._state.draining

    def _tell_listeners(self) -> None:
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)

    def _end_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _make_resident(self, path: Path, sha256: str | None) -> LoadedCheckpoint:
        """Loads and warms up."""
        began = self._clock()
        loaded = await asyncio.wrap_future(self._engine.load(path, sha256=sha256))
        loaded_at = warm_at = self._clock()
        if self._warms_up:
            await self._make_warm_up_picture()
            warm_at = self._clock()
        took = Startup(round(loaded_at - began, 3), round(warm_at - loaded_at, 3))
        self._state.startup = self._state.startup or took
        self._metrics.checkpoint_loaded(load_seconds=took.load_seconds, warm_up_seconds=took.warm_up_seconds)
        return loaded

    async def _make_warm_up_picture(self) -> None:
        try:
            await asyncio.wrap_future(self._engine.submit(warm_up.picture()).future)
        except SdError as error:
            raise GenerationError(f"the warm-up picture failed: {error}") from error

    def _serve(self, loaded: LoadedCheckpoint) -> None:
        self._before = loaded
        self._state.become_ready(loaded)
        self._queue.serve_with(self._engine, loaded)
        logger.info(
            "ready", extra={"checkpoint": str(loaded.path), "sha256": loaded.sha256, "family": loaded.family}
        )

    def _is_served(self, wish: Wish) -> bool:
        loaded = self._state.loaded
        return (
            self._state.health is Health.READY
            and loaded is not None
            and wish.means(loaded.path, loaded.sha256)
        )


def _pause(number: int, random: Random) -> float:
    """Seconds before a try; shortened by chance, as the replicas of one instance read from one volume."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(number, 10))
    return longest * random.uniform(0.8, 1.0)


def wish_at_start(switcher: Switcher, settings: Settings) -> None:
    """The wish that the settings hold; a file that holds none is a failed load, and the process waits for a
    wish over the management port."""
    if settings.checkpoint is not None:
        switcher.accept(Wish(path=settings.checkpoint))
        return
    assert settings.desired_file is not None, "the settings name one or the other"
    try:
        switcher.accept(desired.read(settings.desired_file, settings.model_roots))
    except DesiredError as error:
        switcher.refuse(error)
