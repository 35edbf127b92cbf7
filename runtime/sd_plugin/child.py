"""A worker as the supervisor sees it: a process, the pipe by which it says that it lives, and its log."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence

from sd_plugin import log, processors

#: Of a line of the log that is repeated to clients.
_LONGEST_LINE = 300
_MOST_BYTES = 1 << 16
#: The exit status of a worker that must be replaced, for a run of it goes on for ever.
STUCK = 70
#: glibc has it that pictures come and go: their pages are not given back to the kernel each time, which costs
#: more than what is done to them. They are read as a process starts; who sets them otherwise has the say.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


def libraries() -> dict[str, str]:
    """How many threads libraries start, which by default is one for each of the machine's processors: those
    that compute as many as the container's processors; OpenBLAS, which is in NumPy and in OpenCV and has
    little to do in either, none besides. Each thread of its costs 40 MB of what may be mapped."""
    threads = str(processors.threads())
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}


class Child:
    """One process, the pipes to it, and what is known of it. Making one raises `OSError` where there is no
    process to be had: too many of them, of open files, or too little memory."""

    def __init__(self, command: Sequence[str], listening: socket.socket) -> None:
        self.alive, told = os.pipe()
        os.set_blocking(self.alive, False)
        try:
            # Its own session: Ctrl-C is the supervisor's to pass on, and what it started ends with it.
            self.process = subprocess.Popen(
                [*command, "--listening", str(listening.fileno()), "--alive", str(told)],
                pass_fds=(listening.fileno(), told),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=_ALLOCATOR | libraries() | os.environ,
            )
        except OSError:
            os.close(self.alive)
            raise
        finally:
            os.close(told)
        assert self.process.stderr is not None
        self.errors = self.process.stderr.fileno()
        os.set_blocking(self.errors, False)
        self.began = time.monotonic()
        self.served: float | None = None
        self.last_sign = self.began
        self.last_line = ""
        self._rest = b""
        #: Why the supervisor ends it, where it does.
        self.fault = ""

    def hear_sign(self) -> bool:
        """Takes a sign of life; False at the pipe's end."""
        try:
            beats = os.read(self.alive, 4096)
        except BlockingIOError:
            return True
        if beats:
            self.last_sign = time.monotonic()
            self.served = self.served or self.last_sign
        return bool(beats)

    def hear_log(self) -> bool:
        """Passes on what it wrote to standard error and keeps the last line; False at the pipe's end."""
        try:
            text = os.read(self.errors, _MOST_BYTES)
        except BlockingIOError:
            return True
        _pass_on(text)
        lines = (self._rest + text).split(b"\n")
        # A line without an end must not fill the memory.
        self._rest = lines.pop()[-(_MOST_BYTES):]
        told = [line for line in [*lines, *([] if text else [self._rest])] if line.strip()]
        if told:
            self.last_line = log.message(told[-1].decode(errors="replace").strip())[:_LONGEST_LINE]
        return bool(text)

    def signal(self, number: int) -> None:
        """To it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """Reads what is left of its log, and closes the pipes."""
        for _ in range(64):
            before = self.last_line, self._rest
            if not self.hear_log() or before == (self.last_line, self._rest):
                break
        os.close(self.alive)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def how_it_ended(self) -> str:
        """One clause, once it has."""
        status = self.process.returncode
        if self.fault:
            return self.fault
        if status == STUCK:
            return "a run went on past its deadline and could not be ended"
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            likely = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return f"the worker was ended by {name}{likely}"
        return f"the worker ended with exit status {status}"


def _pass_on(text: bytes) -> None:
    """To our own standard error, which the container's log is."""
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(2, text) :]
