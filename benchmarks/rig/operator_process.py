"""The operator as a process of this machine, on the cluster of a kubeconfig."""

import asyncio
import contextlib
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.rig.processes import ROOT, Process, ProcessError, patience

#: The name of no image that exists: nothing pulls it.
IMAGE = "localhost/sd-operator/stand-in:1"

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of the operator's metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


class Operator:
    """`python -m sd_operator`, and what its own port says."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *,
        namespace: str = "",
        source: Path = ROOT,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`source` is the checkout whose operator it is."""
        key = folder / "key"
        if not key.exists():
            key.write_text(secrets.token_hex(32))
        self.port = free_port()
        self.process = Process(
            (sys.executable, "-m", "sd_operator"),
            folder / "operator.log",
            {
                "PYTHONPATH": f"{source}/modelfiles:{source}/operator",
                "KUBECONFIG": str(kubeconfig),
                "SDO_OPERATOR_IMAGE": IMAGE,
                "SDO_RUNTIME_IMAGE": IMAGE,
                "SDO_KEY_FILE": str(key),
                "SDO_WATCH_NAMESPACE": namespace,
                "SDO_METRICS_PORT": str(self.port),
                "SDO_LOG_LEVEL": "INFO",
                **(settings or {}),
            },
        )

    async def start(self, *, seconds: float = 60.0) -> None:
        """Until its own port answers."""
        await self.process.start()
        async with patience("the operator's port", seconds):
            while not await self._answers():
                if not self.process.alive:
                    raise ProcessError(f"the operator has ended; {self.process.tail()}")
                await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self.samples()
            return True
        return False

    async def samples(self) -> list[Sample]:
        """All it counts."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{self.port}/metrics") as response,
        ):
            text = await response.text()
        return [
            Sample(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
            for name, labels, value in _SAMPLE.findall(text)
        ]

    async def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's series with these labels."""
        return sum(
            sample.value
            for sample in await self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def writes(self) -> dict[str, float]:
        """Writes that the API server took, by verb and kind."""
        return {
            f"{sample.labels['verb']} {sample.labels['kind']}": sample.value
            for sample in await self.samples()
            if sample.name == "sdo_api_writes_total"
        }


@contextlib.asynccontextmanager
async def serving(operator: Operator) -> AsyncIterator[Operator]:
    """The operator for the length of the block."""
    operator.process.log.unlink(missing_ok=True)
    await operator.start()
    try:
        yield operator
    finally:
        await operator.process.stop()


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
