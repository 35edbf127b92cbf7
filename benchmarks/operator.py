"""How the operator behaves with many instances: `python benchmarks/operator.py --count 1000`.

On the local cluster with fake nodes (see `rig`). In one run: a bare script that creates the same child
objects, which is the alternative; N instances to Ready; changes that reach their Deployments; a restart; a
rest. Prints a table with the design's targets and what others publish beside.
"""

import sys

# Run by its path, this file would take the place of the standard library's `operator`, which most others
# import.
if sys.path[0].endswith("/benchmarks"):
    sys.path[0] = sys.path[0].removesuffix("/benchmarks")

import argparse
import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import table
from benchmarks.rig import bare, scene
from benchmarks.rig.kube import Object
from benchmarks.rig.operator_process import Operator, serving
from benchmarks.rig.processes import ROOT, cluster_parts, cpu_seconds, memory_mib, patience
from benchmarks.rig.stage import Stage, set_up

#: A word that no manifest has in it, since the bare script renames children by it.
PROBE = "scaleprobe"
CLIENTS = 8
PODS_PER_NODE = 200
REST_SECONDS, LONG_REST_SECONDS = 120, 600
CHANGES_PER_SECOND, CHANGE_SECONDS = 5, 60
#: The generous end of everything: what takes longer has gone wrong.
SECONDS_PER_OBJECT = 2.0


@dataclass
class Figures:
    """What one run measured."""

    count: int
    bare_seconds: float | None = None
    create_seconds: float = 0.0
    create_cpu: float = 0.0
    api_cpu: float = 0.0
    writes: Counter[str] = field(default_factory=Counter)
    peak_mib: float = 0.0
    steady_mib: float = 0.0
    restart_seconds: float = 0.0
    restart_writes: float = 0.0
    restart_peak_mib: float = 0.0
    rest_seconds: float = 0.0
    rest_writes: float = 0.0
    rest_cpu_percent: float = 0.0
    change_seconds: list[float] = field(default_factory=list)
    changes: int = 0
    parts_cpu: dict[str, float] = field(default_factory=dict)


def say(words: str) -> None:
    """Progress, apart from the table."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


class Run:
    """One run in one namespace."""

    def __init__(self, stage: Stage, operator: Operator, namespace: str, count: int) -> None:
        self.stage = stage
        self.operator = operator
        self.namespace = namespace
        self.figures = Figures(count)
        self.patience = 120 + SECONDS_PER_OBJECT * count

    async def ready(self, names: set[str]) -> None:
        """Wait until all these instances are Ready; an older Ready of the same generation counts."""
        waiting = set(names)
        async with patience(f"{len(names)} instances to be Ready", self.patience):
            async for event in self.stage.kube.watch(scene.API, scene.INSTANCES, self.namespace):
                manifest = event["object"]
                if scene.is_current(manifest):
                    waiting.discard(manifest["metadata"]["name"])
                if not waiting:
                    return

    async def bundle(self, namespace: str) -> None:
        """The bundle, verified."""
        kube = self.stage.kube
        await kube.create(scene.BUNDLES, scene.bundle(namespace))
        async with patience("the bundle to be Ready", 60):
            while not scene.is_current(await kube.get(scene.API, scene.BUNDLES, namespace, scene.BUNDLE)):
                await asyncio.sleep(0.2)

    async def probe(self) -> list[bare.Child]:
        """What the operator makes of one instance."""
        kube = self.stage.kube
        owner = await kube.create(scene.INSTANCES, scene.instance(self.namespace, PROBE))
        await self.ready({PROBE})
        children = await bare.children_of(kube, owner)
        await kube.delete(scene.API, scene.INSTANCES, self.namespace, PROBE)
        async with patience("the probe's children to go", 120):
            while await bare.children_of(kube, owner):
                await asyncio.sleep(0.5)
        return children

    async def create(self) -> None:
        """N instances, all Ready."""
        figures, operator = self.figures, self.operator
        names = [f"i{number:05d}" for number in range(figures.count)]
        ready = asyncio.create_task(self.ready(set(names)), name="ready")
        numbers = iter(names)

        async def work() -> None:
            for name in numbers:
                await self.stage.kube.create(scene.INSTANCES, scene.instance(self.namespace, name))

        writes, cpu = await operator.writes(), cpu_seconds(operator.process.pid)
        parts = _parts_cpu()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(work())
        say(f"{figures.count} instances created after {time.monotonic() - begun:.1f} s")
        await ready
        figures.create_seconds = time.monotonic() - begun
        figures.create_cpu = cpu_seconds(operator.process.pid) - cpu
        figures.parts_cpu = {name: value - parts.get(name, 0.0) for name, value in _parts_cpu().items()}
        figures.api_cpu = figures.parts_cpu.get("apiserver", 0.0)
        say(f"all Ready after {figures.create_seconds:.1f} s")
        await self.settle()
        figures.writes = Counter(await operator.writes())
        figures.writes.subtract(writes)

    async def settle(self, *, quiet: float = 5.0) -> None:
        """Wait until the operator has not written for some seconds."""
        seen, since = -1.0, time.monotonic()
        async with patience("the operator to come to rest", self.patience):
            while time.monotonic() - since < quiet:
                now = await self.operator.total("sdo_api_writes_total")
                if now != seen:
                    seen, since = now, time.monotonic()
                await asyncio.sleep(0.5)

    async def change(self) -> None:
        """Changes that reach Deployments, timed from the request until another watcher sees them there."""
        wanted: dict[str, tuple[str, float]] = {}
        watcher = asyncio.create_task(self._see(wanted), name="deployment watcher")
        chosen = random.Random(1).sample(range(self.figures.count), min(self.figures.count, 300))
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, index in enumerate(chosen):
                await asyncio.sleep(max(0.0, begun + number / CHANGES_PER_SECOND - time.monotonic()))
                group.create_task(self._change(f"i{index:05d}", f"{300 + number}m", wanted))
        self.figures.changes = len(chosen)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while wanted:
                    await asyncio.sleep(0.2)
        watcher.cancel()

    async def _change(self, name: str, cpu: str, wanted: dict[str, tuple[str, float]]) -> None:
        wanted[name] = (cpu, time.monotonic())
        change: Object = {"spec": {"resources": {"requests": {"cpu": cpu}}}}
        await self.stage.kube.patch(scene.API, scene.INSTANCES, self.namespace, name, change)

    async def _see(self, wanted: dict[str, tuple[str, float]]) -> None:
        async for event in self.stage.kube.watch("apps/v1", "deployments", self.namespace):
            now, manifest = time.monotonic(), event["object"]
            name = manifest["metadata"]["name"]
            container = manifest["spec"]["template"]["spec"]["containers"][0]
            cpu = container.get("resources", {}).get("requests", {}).get("cpu")
            if name in wanted and cpu == wanted[name][0]:
                self.figures.change_seconds.append(now - wanted.pop(name)[1])

    async def restart(self) -> None:
        """Seconds until every instance was looked at and nothing waits."""
        operator, figures = self.operator, self.figures
        await operator.process.stop()
        begun = time.monotonic()
        await operator.start()
        async with patience("the restarted operator to have seen everything", self.patience):
            while (
                await operator.total("sdo_reconcile_seconds_count", kind="SDInstance") < figures.count
                or await operator.total("sdo_queue_depth") > 0
            ):
                await asyncio.sleep(0.2)
        figures.restart_seconds = time.monotonic() - begun
        await self.settle()
        figures.restart_writes = await operator.total("sdo_api_writes_total")
        figures.restart_peak_mib = memory_mib(operator.process.pid, peak=True)

    async def rest(self, seconds: float) -> None:
        """What the operator does when there is nothing to do."""
        operator, figures = self.operator, self.figures
        writes, cpu = await operator.total("sdo_api_writes_total"), cpu_seconds(operator.process.pid)
        await asyncio.sleep(seconds)
        figures.rest_seconds = seconds
        figures.rest_writes = await operator.total("sdo_api_writes_total") - writes
        figures.rest_cpu_percent = 100 * (cpu_seconds(operator.process.pid) - cpu) / seconds
        figures.steady_mib = memory_mib(operator.process.pid)


def _parts_cpu() -> dict[str, float]:
    found = {}
    for name, pid in cluster_parts().items():
        with contextlib.suppress(OSError):
            found[name] = cpu_seconds(pid)
    return found


async def measure_bare(run: Run, children: Sequence[bare.Child]) -> None:
    """The bare script, in a namespace of its own and with no operator."""
    claim = f"{scene.BUNDLE}-models"
    async with run.stage.namespace("bare", claim) as namespace:
        manifest = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": scene.STORAGE_CLASS,
                "resources": {"requests": {"storage": "20Gi"}},
            },
        }
        await run.stage.kube.create("persistentvolumeclaims", manifest)
        count = run.figures.count
        async with patience("the bare script's Deployments", run.patience):
            seconds = await bare.create(
                run.stage.kube, list(children), old=PROBE, namespace=namespace, count=count
            )
        run.figures.bare_seconds = seconds
        say(f"bare script: {len(children)} objects each, all available after {seconds:.1f} s")


async def measure(arguments: argparse.Namespace) -> Figures:
    """The whole story."""
    nodes = min(250, -(-arguments.count // PODS_PER_NODE) + 1)
    standin = ("--assume", arguments.assume) if arguments.assume else ()
    async with (
        set_up(nodes=nodes, source=arguments.source, standin=standin) as stage,
        stage.namespace("scale", f"{scene.BUNDLE}-models") as namespace,
    ):
        # Of this namespace only: what others have in the cluster is not its business.
        operator = Operator(stage.kubeconfig, stage.folder, namespace=namespace, source=arguments.source)
        async with serving(operator):
            run = Run(stage, operator, namespace, arguments.count)
            await run.bundle(namespace)
            children = await run.probe()
            if not arguments.no_bare:
                await operator.process.stop()
                await measure_bare(run, children)
                await operator.start()
            await run.settle()
            await run.create()
            run.figures.peak_mib = memory_mib(operator.process.pid, peak=True)
            say("changes")
            await run.change()
            await run.settle()
            say("restart")
            await run.restart()
            say("rest")
            await run.rest(LONG_REST_SECONDS if arguments.long else REST_SECONDS)
        say("away with it")
    return run.figures


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=1000, help="instances (default 1000)")
    parser.add_argument(
        "--long", action="store_true", help=f"rest {LONG_REST_SECONDS} s instead of {REST_SECONDS}"
    )
    parser.add_argument("--no-bare", action="store_true", help="leave the bare script out")
    parser.add_argument(
        "--source", type=Path, default=ROOT, help="checkout whose operator is measured (default: this)"
    )
    parser.add_argument(
        "--assume", metavar="PATH:SHA256", help="what the stand-in's pods hold before they are told"
    )
    parser.add_argument("--output", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments))
    text = table.render(figures)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
