"""Processes beside the tests: started, waited for, measured and ended by their own handle.

What a process prints goes to a file; where it does not come up, the end of that file is in the error.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


class ProcessError(Exception):
    """A process did not come up, or ended by itself."""


@dataclass(slots=True)
class Process:
    """One process that can be started again."""

    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    #: seconds after SIGTERM before SIGKILL
    grace: float = 15.0
    _running: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the one that runs."""
        if self._running is None or self._running.returncode is not None:
            raise ProcessError(f"{self.command[-1]} does not run; {self.tail()}")
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.returncode is None

    async def start(self) -> None:
        """A new one; its output is added to the log."""
        with self.log.open("ab") as output:
            self._running = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": ".:modelfiles:operator:runtime", **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, now; `ended` waits for it."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                self._running.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """The exit code."""
        return await self._running.wait() if self._running is not None else 0

    async def stop(self) -> None:
        """SIGTERM, and patience."""
        if not self.alive or self._running is None:
            return
        self._running.terminate()
        try:
            await asyncio.wait_for(self._running.wait(), self.grace)
        except TimeoutError:
            self.kill()
            await self._running.wait()

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{self.log}:\n" + "\n".join(text.splitlines()[-lines:])

    async def says(self, word: str, *, seconds: float) -> None:
        """Wait for a line of its log."""
        async with patience(f"{self.command[-1]} to say {word!r}", seconds):
            while word not in self.log.read_text(errors="replace").splitlines():
                if not self.alive:
                    raise ProcessError(f"{' '.join(self.command)} has ended; {self.tail()}")
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(process: Process, *, ready: str = "", seconds: float = 60.0) -> AsyncIterator[Process]:
    """The process for the length of the block, once it has said `ready`."""
    process.log.unlink(missing_ok=True)
    await process.start()
    try:
        if ready:
            await process.says(ready, seconds=seconds)
        yield process
    finally:
        await process.stop()


@contextlib.asynccontextmanager
async def patience(what: str, seconds: float) -> AsyncIterator[None]:
    """A time limit that names what was waited for."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ProcessError(f"after {seconds:.0f} s still waiting for {what}") from error


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, its own and the kernel's on its behalf."""
    # The name in parentheses may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process, now or at its highest."""
    name = "VmHWM" if peak else "VmRSS"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cluster_parts() -> dict[str, int]:
    """The local cluster's processes, by the name of their part; what is not ours to read is left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if len(words) > 1 and words[0].endswith(b"/localkube"):
                found[words[1].decode()] = int(folder.name)
    return found
