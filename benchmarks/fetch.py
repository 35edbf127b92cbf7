"""What a fetch costs beside its alternatives: `python -m benchmarks.fetch --size 8GiB`.

A large checkpoint from a server on loopback: by the fetcher as its Job runs it, by `curl; sync; sha256sum`,
and by huggingface_hub; by turns, several times. Then fetches that are killed half-way and gone on with.
Prints a table.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import fetch_table
from benchmarks.fileserver import REVISION
from benchmarks.rig.processes import ROOT

UNITS = {"": 1, "MiB": 1024**2, "GiB": 1024**3}
#: Seconds of rest before each run.
REST_SECONDS = 2.0

#: It hashes nothing and makes nothing durable; that is left as it is.
HUB_SCRIPT = """
import sys
from huggingface_hub import hf_hub_download
print(hf_hub_download("org/model", "model.safetensors", revision=sys.argv[1], local_dir=sys.argv[2]))
"""
CURL_SCRIPT = 'curl -sSf -o "$1" "$2" && sync && sha256sum "$1"'


@dataclass(frozen=True, slots=True)
class Command:
    """What a contender runs, and how the sha256 it found is read; "" for one that finds none."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    digest: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Resume:
    """A fetch that was killed, and the one that went on."""

    killed_at: int
    seconds: float
    twice: int


@dataclass(slots=True)
class Figures:
    """What a run measured."""

    size: int
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    resumes: list[Resume] = field(default_factory=list)

    def seconds(self, name: str) -> float:
        return statistics.median(cost.seconds for cost in self.costs[name])


class Benchmark:
    """One file of one server, and a folder for what is made of it."""

    def __init__(self, size: int, address: str, folder: Path) -> None:
        self.figures = Figures(size)
        self._address = address
        self._folder = folder
        self._digest = ""

    def contenders(self) -> dict[str, Callable[[Path], Command]]:
        """Those that this machine has."""
        found: dict[str, Callable[[Path], Command]] = {fetch_table.FETCH: self.fetch}
        if shutil.which("curl") is None:
            say("no curl here: it is left out")
        else:
            found[fetch_table.CURL] = self.curl
        if importlib.util.find_spec("huggingface_hub") is None:
            say("no huggingface_hub here: it is left out")
        else:
            found[fetch_table.HUB] = self.hub
        return found

    def measure(self, repeats: int) -> None:
        """By turns, in another order each time: what a disk does later is everybody's luck."""
        contenders = self.contenders()
        names = list(contenders)
        for number in range(repeats):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                with self._fresh() as root:
                    cost = self._run(contenders[name](root))
                self.figures.costs.setdefault(name, []).append(cost)
                say(f"{name}: {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} s of processor")

    def measure_resume(self, repeats: int) -> None:
        """Kill the fetch half-way; what the next one costs, and how many bytes came twice."""
        for _ in range(repeats):
            before = self._delivered()
            with self._fresh() as root:
                command, begun = self.fetch(root), time.monotonic()
                killed_at = self._kill_half_way(command, root)
                self._run(command)
                seconds = time.monotonic() - begun
            # The server counts a connection when it sees its end.
            time.sleep(1.0)
            twice = max(0, self._delivered() - before - self.figures.size)
            self.figures.resumes.append(Resume(killed_at, seconds, twice))
            say(f"killed at {killed_at} bytes: {seconds:.1f} s, {twice} bytes twice")

    def fetch(self, root: Path) -> Command:
        """The fetcher, as its Job runs it."""
        source = {"http": {"url": f"{self._address}/model.safetensors"}}
        request = {"bundle": "b", "file": {"name": "f", "type": "Checkpoint", "sources": [source]}}
        verdict = root / "verdict"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/modelfiles:{ROOT}/operator",
            "SD_FETCH_FILE": json.dumps(request),
            "SD_FETCH_ROOT": str(root),
            "SD_FETCH_VERDICT": str(verdict),
            "SD_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
        }

        def digest(_output: str) -> str:
            told = json.loads(verdict.read_bytes())
            if told["state"] != "Verified":
                raise SystemExit(f"the fetch failed: {told['reason']}: {told['message']}")
            return str(told["sha256"])

        return Command((sys.executable, "-m", "sd_operator.fetch"), environment, digest)

    def curl(self, root: Path) -> Command:
        """What people do by hand."""
        target, url = str(root / "model.safetensors"), f"{self._address}/model.safetensors"
        return Command(
            ("sh", "-c", CURL_SCRIPT, "sh", target, url), os.environ, lambda output: output.split()[0]
        )

    def hub(self, root: Path) -> Command:
        """The hub's own client, its ordinary path."""
        environment = {
            **os.environ,
            "HF_ENDPOINT": self._address,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(root / "home"),
        }

        def digest(output: str) -> str:
            if Path(output.strip()).stat().st_size != self.figures.size:
                raise SystemExit("huggingface_hub brought another size")
            return ""

        return Command((sys.executable, "-c", HUB_SCRIPT, REVISION, str(root)), environment, digest)

    def _run(self, command: Command) -> Cost:
        """Run it to its end; its own children are measured with it."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                command.arguments, env=dict(command.environment), stdout=output, stderr=log, cwd=ROOT
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            log.seek(0)
            if process.returncode != 0:
                raise SystemExit(f"{command.arguments[:3]} failed:\n{log.read()[-2000:]}")
            digest = command.digest(output.read())
        self._digest = self._digest or digest
        if digest and digest != self._digest:
            raise SystemExit(f"the contenders do not agree: sha256 {digest} and {self._digest}")
        return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def _kill_half_way(self, command: Command, root: Path) -> int:
        process = subprocess.Popen(
            command.arguments, env=dict(command.environment), stderr=subprocess.DEVNULL, cwd=ROOT
        )
        while _journaled(root) < self.figures.size // 2:
            if process.poll() is not None:
                raise SystemExit("the fetch ended before it could be killed")
            time.sleep(0.005)
        process.kill()
        process.wait()
        return _journaled(root)

    def _delivered(self) -> int:
        """Bytes of the file that clients had acknowledged, as the server knows."""
        with urllib.request.urlopen(f"{self._address}/delivered") as answer:
            return int(json.loads(answer.read())["delivered"])

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[Path]:
        """An empty folder, on a disk that has nothing else to do."""
        root = self._folder / "volume"
        root.mkdir()
        os.sync()
        time.sleep(REST_SECONDS)
        try:
            yield root
        finally:
            shutil.rmtree(root)


def _journaled(root: Path) -> int:
    """How many bytes the partial download has, by its own journal."""
    found = [*root.glob(".sd-operator/partial/*.journal")]
    raw = found[0].read_bytes() if found else b""
    return sum(struct.unpack(f"<{len(raw) // 4}I", raw))


@contextlib.contextmanager
def serving(size: int) -> Iterator[str]:
    """The server, in a process of its own; its address."""
    process = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.fileserver", "--size", str(size)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def bytes_of(text: str) -> int:
    """`8GiB`, `500MiB` or a number of bytes."""
    found = re.fullmatch(r"(\d+)(GiB|MiB|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: a number with GiB, MiB or nothing expected")
    return int(found[1]) * UNITS[found[2]]


def say(words: str) -> None:
    """Progress, apart from the table."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=bytes_of, default="8GiB", help="of the file (default 8GiB)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--folder", type=Path, help="where files are made (default: the temporary folder)")
    parser.add_argument("--output", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        serving(arguments.size) as address,
    ):
        benchmark = Benchmark(arguments.size, address, Path(folder))
        benchmark.measure(arguments.repeats)
        benchmark.measure_resume(arguments.repeats)
    text = fetch_table.render(benchmark.figures)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
