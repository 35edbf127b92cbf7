"""The engine as the rest of the process sees it: hand in tasks, get tickets; one thread owns the device.

This is the threads-and-futures half; what happens in a round is in `rounds`. It imports torch on its thread
only, which takes seconds, so that the process can listen first and load after.
"""

import logging
import threading
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sd_runtime.engine.ticket import Observer, Ticket
from sd_runtime.engine.work import OnStep, Task
from sd_runtime.errors import Cancelled, SdError
from sd_runtime.models import LoadedCheckpoint

if TYPE_CHECKING:
    from sd_runtime.engine.rounds import Rounds

__all__ = ["Engine", "Observer", "Ticket"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    path: Path
    sha256: str | None
    future: Future[LoadedCheckpoint] = field(default_factory=Future)


class Engine:
    """Owns the one device thread; all methods may be called from any thread."""

    def __init__(self, *, device: str, max_batch: int, observer: Observer) -> None:
        self._device = device
        self._max_batch = max_batch
        self._observer = observer
        self._inbox: deque[Ticket | _Load] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._resident: LoadedCheckpoint | None = None
        self._thread = threading.Thread(target=self._own_the_device, name="device", daemon=True)

    def start(self) -> None:
        """Start the device thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the round or the tensor under way; whatever is not finished then raises `Cancelled`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def resident(self) -> LoadedCheckpoint | None:
        """The checkpoint that tasks would run on now; up to date when a load's future is settled."""
        return self._resident

    def load(self, path: Path, *, sha256: str | None = None) -> Future[LoadedCheckpoint]:
        """Make this checkpoint the resident one, once the tasks handed in before have finished; it fails when
        its bytes have another digest. Whether a failed load has left the one before is told by `resident`.
        """
        load = _Load(path, sha256)
        load.future.set_running_or_notify_cancel()
        self._hand_in(load)
        return load.future

    def submit(self, task: Task, *, on_step: OnStep | None = None, request: Hashable | None = None) -> Ticket:
        """Queue one picture. Tickets of one `request` count as one where the observer is told of requests.

        `on_step(done, steps)` is called on the device thread after each step and must be quick.
        """
        ticket = Ticket(task, on_step, request)
        self._hand_in(ticket)
        return ticket

    def _hand_in(self, item: Ticket | _Load) -> None:
        with self._changed:
            if not self._closing:
                self._inbox.append(item)
                self._changed.notify()
                return
        item.future.set_exception(Cancelled("the engine is shutting down"))

    def _own_the_device(self) -> None:
        end: Exception = Cancelled("the engine is shutting down")
        try:
            self._serve_until_closed()
        except Exception as error:
            logger.critical("the device thread ends", exc_info=error)
            end = error
        self._refuse_the_rest(end)

    def _serve_until_closed(self) -> None:
        from sd_runtime.engine.rounds import Rounds

        rounds = Rounds(device_request=self._device, max_batch=self._max_batch, observer=self._observer)
        while self._wait_for_work(rounds):
            try:
                self._take_in(rounds)
                rounds.play()
            # The outermost guard of the thread: it must outlive every defect, or all later requests would
            # hang.
            except Exception as error:
                logger.exception("a round failed")
                rounds.fail_all(error)
        rounds.fail_all(Cancelled("the engine is shutting down"))

    def _wait_for_work(self, rounds: "Rounds") -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._inbox or rounds.busy)
            return not self._closing

    def _take_in(self, rounds: "Rounds") -> None:
        """Admit what was handed in, in order; a load waits until nobody uses the old model, and all behind
        it wait too.
        """
        while True:
            with self._changed:
                if not self._inbox or (isinstance(self._inbox[0], _Load) and rounds.busy):
                    return
                item = self._inbox.popleft()
            if isinstance(item, Ticket):
                rounds.admit(item)
            else:
                self._load(rounds, item)

    def _load(self, rounds: "Rounds", item: _Load) -> None:
        try:
            loaded = rounds.load(item.path, sha256=item.sha256, between=self._end_if_closing)
        except Exception as error:
            if not isinstance(error, SdError):
                logger.exception("loading %s failed unexpectedly", item.path)
            self._resident = rounds.resident
            item.future.set_exception(error)
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
            left = list(self._inbox)
            self._inbox.clear()
        for item in left:
            item.future.set_exception(reason)
