"""The container's first process: holds the listening socket, hands it to a worker, and starts another when
that ends, so that the container stays up whatever a module does.

Requests wait in the socket's backlog while a worker is replaced. While one cannot be had, for the pauses
between two tries grow, every request is answered with 503 and the reason. Knows nothing of what is served.
"""

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sd_plugin import listening
from sd_plugin.child import Child
from sd_plugin.standin import StandIn

logger = logging.getLogger(__name__)

#: Before the next worker is started, by how many ended one soon after another.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: While the pause is longer, requests are answered, not kept waiting.
PATIENCE_SECONDS = 1.0
#: A worker that served for so long has not failed when it ends.
STEADY_SECONDS = 10.0
#: A worker that does not serve after this is ended, and has failed.
START_SECONDS = 120.0
#: A worker that serves and gives no sign of life for so long is ended, and has failed.
SILENT_SECONDS = 30.0
#: After SIGTERM; the container has ten seconds.
END_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Timing:
    """The seconds above, for tests to shorten."""

    pauses: Sequence[float] = PAUSES
    patience: float = PATIENCE_SECONDS
    steady: float = STEADY_SECONDS
    start: float = START_SECONDS
    silent: float = SILENT_SECONDS
    end: float = END_SECONDS


class Supervisor:
    """Runs `command` as the worker of the socket at `path`, until SIGTERM; `name` is for its sentences."""

    def __init__(self, name: str, command: Sequence[str], path: Path, timing: Timing | None = None) -> None:
        self._name = name
        self._command = command
        self._path = path
        self._timing = timing or Timing()
        self._child: Child | None = None
        self._failures = 0
        self._due = time.monotonic()
        self._reason = ""
        self._asked_to_end = 0
        self._end_by: float | None = None
        self._answers = False
        self._stand_in = StandIn()
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Returns the process's exit status, 0, after SIGTERM or SIGINT. Raises `listening.CannotListen`."""
        self._socket = listening.listen(self._path)
        self._socket.setblocking(False)
        self._hear_signals()
        try:
            while not self._has_ended():
                self._start_if_due()
                self._end_if_asked()
                self._judge()
                self._turn_stand_in()
                for key, _ in self._selector.select(self._wait()):
                    key.data()
                self._reap()
        finally:
            listening.remove(self._path, self._socket)
        return 0

    def _hear_signals(self) -> None:
        hearing, told = socket.socketpair()
        for each in (hearing, told):
            each.setblocking(False)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        # Kept alive by the selector.
        self._selector.register(hearing, selectors.EVENT_READ, lambda: hearing.recv(4096) and told)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _ask_to_end(self, *_: object) -> None:
        # Only noted: the signal may come in the midst of a worker's start.
        self._asked_to_end += 1

    def _end_if_asked(self) -> None:
        """The first time asks the worker to end, the second ends it."""
        if self._asked_to_end > 1:
            self._end_by = time.monotonic()
        elif self._asked_to_end and self._end_by is None:
            self._end_by = time.monotonic() + self._timing.end
            if self._child is not None:
                self._child.signal(signal.SIGTERM)

    def _has_ended(self) -> bool:
        return self._end_by is not None and self._child is None

    def _start_if_due(self) -> None:
        if self._child is not None or self._end_by is not None or time.monotonic() < self._due:
            return
        try:
            child = Child(self._command, self._socket)
        except OSError as error:
            self._count_failure(f"no worker can be started: {error.strerror or error}", steady=False)
            return
        self._child = child
        self._listen_to(child.alive, child.hear_sign)
        self._listen_to(child.errors, child.hear_log)

    def _listen_to(self, pipe: int, hear: Callable[[], bool]) -> None:
        def heard() -> None:
            if not hear():
                self._selector.unregister(pipe)

        self._selector.register(pipe, selectors.EVENT_READ, heard)

    def _judge(self) -> None:
        """Ends a worker that is over its time."""
        child, now = self._child, time.monotonic()
        if child is None or child.fault:
            return
        if self._end_by is not None:
            if now >= self._end_by:
                child.fault = "the worker did not end in time"
        elif child.served is None and now - child.began > self._timing.start:
            child.fault = f"the worker did not serve within {self._timing.start:g} s of its start"
        elif child.served is not None and now - child.last_sign > self._timing.silent:
            child.fault = f"the worker gave no sign of life for {self._timing.silent:g} s"
        if child.fault:
            logger.error("%s: %s; it is ended", self._name, child.fault)
            child.signal(signal.SIGKILL)

    def _turn_stand_in(self) -> None:
        """Has requests answered here while no worker can be had, and by the worker otherwise."""
        served = self._child is not None and self._child.served is not None
        answers = not served and self._end_by is None and self._pause() > self._timing.patience
        if answers and not self._answers:
            self._selector.register(self._socket, selectors.EVENT_READ, self._answer)
        elif self._answers and not answers:
            self._selector.unregister(self._socket)
        self._answers = answers

    def _answer(self) -> None:
        left = max(0.0, self._due - time.monotonic())
        when = f"it is started again in {left:.0f} s" if self._child is None else "it is being started again"
        self._stand_in.accept(self._socket, f"{self._name}: {self._reason}; {when}", max(left, 1.0))

    def _pause(self) -> float:
        return (
            self._timing.pauses[min(self._failures, len(self._timing.pauses)) - 1] if self._failures else 0.0
        )

    def _wait(self) -> float:
        """Seconds until something is due, at most one: so coarse are the times that are judged."""
        if self._child is None and self._end_by is None:
            return min(max(0.0, self._due - time.monotonic()), 1.0)
        return 0.1 if self._end_by is not None else 0.5

    def _reap(self) -> None:
        """Takes note of every process that ended: the worker, and, as the container's first process, whatever
        others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._child is not None and pid == self._child.process.pid:
                self._child.process.returncode = os.waitstatus_to_exitcode(status)
                self._bury(self._child)

    def _bury(self, child: Child) -> None:
        child.signal(signal.SIGKILL)  # what it started
        for pipe in (child.alive, child.errors):
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
        child.close()
        self._child = None
        if self._end_by is not None:
            return
        reason = child.how_it_ended()
        if child.last_line:
            reason += f"; its last words: {child.last_line}"
        served = child.served
        steady = served is not None and time.monotonic() - served >= self._timing.steady
        self._count_failure(reason, steady=steady)

    def _count_failure(self, reason: str, *, steady: bool) -> None:
        """Puts off the next start; after a worker that was steady not for long."""
        self._failures = 1 if steady else self._failures + 1
        self._due = time.monotonic() + self._pause()
        self._reason = reason
        logger.error("%s: %s; another is started in %g s", self._name, self._reason, self._pause())
