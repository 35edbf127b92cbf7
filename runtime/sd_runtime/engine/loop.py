"""The engine as the rest of the process sees it: hand in tasks, get tickets; one thread owns the device.

This is the threads-and-futures half; what happens in a round is in `rounds`. It imports torch on its thread
only, which takes seconds, so that the process can listen first and load after.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.ticket import Observer, Ticket
from sd_runtime.engine.work import OnStep, Pixels, Task, Unneeded
from sd_runtime.errors import Cancelled, DeviceLost, GenerationError, SdError
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.library import Library

if TYPE_CHECKING:
    from sd_runtime.engine.rounds import Rounds

__all__ = ["Engine", "EngineSettings", "Observer", "Ticket"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    path: Path
    sha256: str | None
    future: Future[LoadedCheckpoint] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class _Preview:
    ticket: object
    future: Future[Pixels | None] = field(default_factory=Future)


class Engine:
    """Owns the one device thread; all methods may be called from any thread."""

    def __init__(
        self,
        settings: EngineSettings,
        library: Library,
        observer: Observer,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_end` is called on the device thread when that ends by itself: nothing can be computed by this
        process any more."""
        self._on_end = on_end
        self._settings = settings
        self._library = library
        self._observer = observer
        self._inbox: deque[Ticket | _Load] = deque()
        self._previews: deque[_Preview] = deque()
        self._changed = threading.Condition()
        self._poked = False
        self._closing = False
        self._resident: LoadedCheckpoint | None = None
        self._thread = threading.Thread(target=self._own_the_device, name="device", daemon=True)

    def start(self) -> None:
        """Start the device thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the round under way (a call of the network, and some tiles of a picture or one that is
        computed as a whole) or, of a load, the tensor; whatever is not finished then raises `Cancelled`. What
        other threads do for a task just then ends by itself."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def resident(self) -> LoadedCheckpoint | None:
        """The checkpoint that is served; up to date when a load's future is settled."""
        return self._resident

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        """Serve this checkpoint, once the tasks handed in before have finished; it fails when its bytes have
        another digest. Whether a failed load has left the one before is told by `resident`.
        """
        load = _Load(path, sha256)
        load.future.set_running_or_notify_cancel()
        self._hand_in(load)
        return load.future

    def submit(self, task: Task, *, on_step: OnStep | None = None, request: Hashable | None = None) -> Ticket:
        """Queue one picture. Tickets of one `request` count as one where the observer is told of requests.

        `on_step` is called on the device thread after each step and must be quick.
        """
        ticket = Ticket(task, on_step, request, self._poke)
        self._hand_in(ticket)
        return ticket

    def preview(self, ticket: object) -> Future[Pixels | None]:
        """A small picture of where a ticket's task stands, made between two rounds; None: there is none."""
        asked = _Preview(ticket)
        with self._changed:
            if self._closing:
                asked.future.set_result(None)
            else:
                self._previews.append(asked)
                self._poked = True
                self._changed.notify()
        return asked.future

    def _hand_in(self, item: Ticket | _Load) -> None:
        with self._changed:
            if not self._closing:
                self._inbox.append(item)
                self._poked = True
                self._changed.notify()
                return
        item.future.set_exception(Cancelled("the engine is shutting down"))

    def _poke(self) -> None:
        """Something that the device thread may be waiting for has happened."""
        with self._changed:
            self._poked = True
            self._changed.notify()

    def _own_the_device(self) -> None:
        end: Exception = Cancelled("the engine is shutting down")
        try:
            self._serve_until_closed()
        except Exception as error:
            logger.critical("the device thread ends: nothing is computed any more", exc_info=error)
            end = GenerationError(
                "the device can compute nothing any more; the server has to be started again"
            )
            self._on_end()
        self._refuse_the_rest(end)

    def _serve_until_closed(self) -> None:
        from sd_runtime.engine.rounds import Rounds

        rounds = Rounds(self._settings, self._library, self._observer, poke=self._poke)
        something_done = False
        while self._wait_for_work(busy=something_done):
            try:
                self._take_in(rounds)
                self._answer_previews(rounds)
                something_done = rounds.play()
            # The outermost guard of the thread: it must outlive every defect, or all later requests would
            # hang.
            except Exception as error:
                logger.exception("a round failed")
                rounds.fail_all(error)
                if isinstance(error, DeviceLost):
                    raise
        rounds.fail_all(Cancelled("the engine is shutting down"))
        rounds.close()

    def _wait_for_work(self, *, busy: bool) -> bool:
        """Until there may be something to do: after a round that did something, at once."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._poked or busy)
            self._poked = False
            return not self._closing

    def _take_in(self, rounds: "Rounds") -> None:
        """Admit what was handed in, in order. What needs room in memory that is in use waits, and all behind
        it wait too, but for those that need no checkpoint: a load until nobody uses the old model, a task for
        the checkpoint it names.
        """
        self._let_go_of_the_cancelled()
        while (item := self._next(rounds)) is not None:
            with self._changed:
                self._inbox.remove(item)
            if isinstance(item, Ticket):
                rounds.admit(item)
            else:
                self._load(rounds, item)

    def _next(self, rounds: "Rounds") -> Ticket | _Load | None:
        """The first in line that may begin."""
        with self._changed:
            waiting = list(self._inbox)
        if not waiting or self._may_begin(rounds, waiting[0]):
            return waiting[0] if waiting else None
        return next((item for item in waiting if _needs_no_checkpoint(item)), None)

    def _let_go_of_the_cancelled(self) -> None:
        """Those that wait behind a load would be told only after it."""
        with self._changed:
            ended = [item for item in self._inbox if isinstance(item, Ticket) and item.is_to_end]
            for item in ended:
                self._inbox.remove(item)
        for item in ended:
            item.future.set_exception(Cancelled("the request was cancelled before it began"))

    def _may_begin(self, rounds: "Rounds", item: Ticket | _Load) -> bool:
        if isinstance(item, _Load):
            return not rounds.busy
        if _needs_no_checkpoint(item):
            return True
        return not rounds.waits_for_a_checkpoint and rounds.can_admit(item)

    def _answer_previews(self, rounds: "Rounds") -> None:
        while True:
            with self._changed:
                if not self._previews:
                    return
                asked = self._previews.popleft()
            try:
                asked.future.set_result(rounds.preview(asked.ticket))
            # A preview that fails costs nobody anything.
            except Exception:
                logger.exception("a preview was not made")
                asked.future.set_result(None)

    def _load(self, rounds: "Rounds", item: _Load) -> None:
        try:
            loaded = rounds.load(item.path, sha256=item.sha256, between=self._end_if_closing)
        except Exception as error:
            if not isinstance(error, SdError):
                logger.exception("loading %s failed unexpectedly", item.path)
            self._resident = rounds.resident
            item.future.set_exception(error)
            rounds.demand_device(error)
        else:
            self._resident = loaded
            item.future.set_result(loaded)

    def _end_if_closing(self) -> None:
        """A large file takes minutes to load, and nobody waits for it any more."""
        if self._closing:
            raise Cancelled("the engine is shutting down")

    def _refuse_the_rest(self, reason: Exception) -> None:
        with self._changed:
            self._closing = True
            left, previews = list(self._inbox), list(self._previews)
            self._inbox.clear()
            self._previews.clear()
        for item in left:
            item.future.set_exception(reason)
        for asked in previews:
            asked.future.set_result(None)


def _needs_no_checkpoint(item: Ticket | _Load) -> bool:
    return isinstance(item, Ticket) and item.task.checkpoint is Unneeded.CHECKPOINT
