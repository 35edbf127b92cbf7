"""One story, the same each time: a bundle and an instance are made, changed in several ways, and deleted.

Played undisturbed it yields, chapter by chapter, what the world looks like after it. Played again while
something goes wrong, each chapter must end in the same world.
"""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rig import scene
from benchmarks.rig.kube import KubeError, Object
from benchmarks.rig.operator_process import Operator
from benchmarks.rig.processes import ProcessError
from benchmarks.rig.stage import Stage
from tests.soak import snapshot
from tests.soak.faultproxy import FaultProxy, Plan, standing_between
from tests.soak.snapshot import Snapshot

INSTANCE = "story"
CLAIMS = (f"{scene.BUNDLE}-models", f"{INSTANCE}-outputs")
#: Lost events are made good after this long, and a settled object is looked at this often.
HEALING = {"SDO_AUDIT_SECONDS": "5", "SDO_RECHECK_SECONDS": "5"}
#: Longer than HEALING: what has not changed for so long does not change.
QUIET_SECONDS = 12.0
#: Between two tries of an operator that has ended, as a kubelet would wait.
RESTART_SECONDS = 0.5
POLL_SECONDS = 0.5

#: The chapters in between: changes of the instance's spec, and what is new in each.
CHANGES: Mapping[str, Object] = {
    "another checkpoint and options": {
        "checkpoint": {"bundle": scene.BUNDLE, "file": "other"},
        "options": {"samples_format": "png", "CLIP_stop_at_last_layers": 2},
    },
    "a rollout": {
        "image": "localhost/sd-operator/stand-in:2",
        "replicas": 2,
        "podAnnotations": {"example.org/team": "soak"},
        "outputs": {
            "size": "1Gi",
            "storageClassName": scene.STORAGE_CLASS,
            "accessModes": ["ReadWriteMany"],
        },
    },
    "an ingress": {"access": {"auth": "Disabled", "ingress": {"host": "story.example.org"}}},
    "back again": {
        "image": None,
        "podAnnotations": None,
        "replicas": 1,
        "access": {"auth": "Disabled", "ingress": None},
        "checkpoint": {"bundle": scene.BUNDLE, "file": scene.BUNDLE},
    },
}
#: And one of the bundle's: a file leaves and is removed, another comes, what stays is hashed anew.
OTHER_FILES = "other files"
BUNDLE_CHANGE: Object = {
    "metadata": {"annotations": {"sdoperator.dev/verify": "soak"}},
    "spec": {"files": [scene.file(scene.BUNDLE), scene.file(scene.LATER)], "removeAfter": "0s"},
}
CREATE, DELETE = "create", "delete"
CHAPTERS = (CREATE, *CHANGES, OTHER_FILES, DELETE)
LAST_CHANGE = OTHER_FILES


class StoryError(AssertionError):
    """A chapter did not end in the world that it should."""


@dataclass
class Record:
    """The undisturbed story: worlds by chapter, and how many writes each chapter took."""

    worlds: dict[str, Snapshot] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    created: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Writes of the whole story."""
        return sum(self.writes.values())


@dataclass
class Play:
    """One performance in a namespace of its own."""

    stage: Stage
    namespace: str
    proxy: FaultProxy
    operator: Operator
    #: how often the operator ended by itself, and by our hand
    ended: Counter[str] = field(default_factory=Counter)
    killing: bool = False

    def kill(self) -> None:
        """SIGKILL; the operator is started again by `keep_running`."""
        self.killing = True
        self.operator.process.kill()

    async def keep_running(self) -> None:
        """As a kubelet would, for ever."""
        while True:
            code = await self.operator.process.ended()
            self.ended["killed" if self.killing else f"exit {code}"] += 1
            self.killing = False
            await asyncio.sleep(RESTART_SECONDS)
            await self.operator.process.start()

    async def begin(self, chapter: str) -> None:
        """Do what a user does in this chapter."""
        kube = self.stage.kube
        if chapter == CREATE:
            await kube.create(scene.BUNDLES, scene.bundle(self.namespace, files=scene.FILES))
            await kube.create(scene.INSTANCES, scene.instance(self.namespace, INSTANCE))
        elif chapter == DELETE:
            await kube.delete(scene.API, scene.INSTANCES, self.namespace, INSTANCE)
            await kube.delete(scene.API, scene.BUNDLES, self.namespace, scene.BUNDLE)
        elif chapter == OTHER_FILES:
            await kube.patch(scene.API, scene.BUNDLES, self.namespace, scene.BUNDLE, BUNDLE_CHANGE)
        else:
            change = {"spec": CHANGES[chapter]}
            await kube.patch(scene.API, scene.INSTANCES, self.namespace, INSTANCE, change)

    async def world(self) -> tuple[bool, Snapshot, list[Object]]:
        """Whether nothing has anything left to do, and what there is."""
        objects = await snapshot.collect(self.stage.kube, self.namespace)
        own = [item for item in objects if item["apiVersion"] == scene.API]
        done = snapshot.settled(objects) and all(scene.is_current(item) for item in own)
        return done, snapshot.normal(objects, self.namespace), objects

    async def come_to_rest(self, *, quiet: float = QUIET_SECONDS, seconds: float = 180.0) -> Snapshot:
        """The world once it is settled and has not changed for a while."""
        last: Any = None
        since, deadline = time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, found, _ = await self.world()
            state = (len(self.proxy.writes), found)
            if not done or state != last:
                last, since = state, time.monotonic()
            if time.monotonic() - since >= quiet:
                return found
            await asyncio.sleep(POLL_SECONDS)
        raise StoryError(f"does not come to rest; {await self.why()}")

    async def reach(self, expected: Snapshot, *, seconds: float) -> None:
        """Wait for the world to be the expected one."""
        deadline = time.monotonic() + seconds
        while True:
            done, found, _ = await self.world()
            if done and found == expected:
                return
            if time.monotonic() > deadline:
                raise StoryError(f"{snapshot.difference(expected, found)}\n{await self.why()}")
            await asyncio.sleep(POLL_SECONDS)

    async def why(self) -> str:
        """What may explain a failure."""
        _, _, objects = await self.world()
        own = [item for item in objects if item["apiVersion"] == scene.API]
        said = "\n".join(f"{item['kind']}: {scene.conditions(item)}" for item in own)
        return f"{said}\n{self.operator.process.tail(30)}"

    async def silent(self, seconds: float) -> None:
        """A StoryError if anything is written meanwhile."""
        before = len(self.proxy.writes)
        await asyncio.sleep(seconds)
        if extra := self.proxy.writes[before:]:
            raise StoryError(
                f"{len(extra)} writes in {seconds:.0f} s at rest: {', '.join(map(str, extra[:10]))}"
            )

    def created(self) -> Counter[str]:
        """How often each object was created by the operator; Events tell of what happened, so not they."""
        made = (write for write in self.proxy.writes if write.created and write.kind != "events")
        return Counter(snapshot.undigested(f"{write.kind} {write.name}") for write in made)


@contextlib.asynccontextmanager
async def performance(stage: Stage, feature: str) -> AsyncIterator[Play]:
    """Namespace, proxy and operator, which is kept running; its log stays if the story fails."""
    async with stage.namespace(feature, *CLAIMS) as namespace:
        folder = stage.folder / namespace
        folder.mkdir(parents=True, exist_ok=True)
        kubeconfig = folder / "kubeconfig"
        async with standing_between(stage.kubeconfig, kubeconfig) as proxy:
            operator = Operator(
                kubeconfig, folder, namespace=namespace, source=stage.source, settings=HEALING
            )
            play = Play(stage, namespace, proxy, operator)
            await operator.start()
            keeper = asyncio.create_task(play.keep_running(), name=f"keeper of {namespace}")
            try:
                yield play
            finally:
                keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError, ProcessError):
                    await keeper
                await operator.process.stop()
        # What went well needs no log.
        shutil.rmtree(folder)


async def undisturbed(stage: Stage) -> Record:
    """The story as it should be."""
    record = Record()
    async with performance(stage, "undisturbed") as play:
        for chapter in CHAPTERS:
            before = len(play.proxy.writes)
            await play.begin(chapter)
            record.worlds[chapter] = await play.come_to_rest()
            record.writes[chapter] = len(play.proxy.writes) - before
        record.created = play.created()
    return record


async def again(
    play: Play, record: Record, *, seconds: float, plan: Plan | None = None, rest: float = 0.0
) -> None:
    """The story once more, under the faults of the plan; each chapter must end as in the record.

    With `rest`, the operator must then write nothing for so many seconds, the faults being over.
    """
    for chapter in CHAPTERS:
        play.proxy.disturb(plan or Plan())
        try:
            await play.begin(chapter)
            await play.reach(record.worlds[chapter], seconds=seconds)
            if rest and chapter == LAST_CHANGE:
                await _rests(play, record.worlds[chapter], rest)
        except (StoryError, KubeError) as error:
            raise StoryError(f"chapter {chapter!r}: {error}") from error
    twice = {what: times for what, times in play.created().items() if times > record.created[what]}
    if twice:
        raise StoryError(f"created more often than in the undisturbed story: {twice}")


async def _rests(play: Play, expected: Snapshot, seconds: float) -> None:
    play.proxy.undisturb()
    found = await play.come_to_rest()
    if found != expected:
        raise StoryError(f"at rest:\n{snapshot.difference(expected, found)}")
    await play.silent(seconds)
