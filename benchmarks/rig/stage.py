"""Puts everything in its place for a story, and everything away after it: `async with set_up(...) as stage`.

The operator that is installed in the cluster would work on the same objects: it is scaled to nothing
meanwhile.
"""

import asyncio
import contextlib
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import fetching, scene
from benchmarks.rig.kube import Kube, KubeError
from benchmarks.rig.processes import ROOT, Process, patience, running

INSTALLED = ("apps/v1", "deployments", "sd-operator", "sd-operator")
#: A namespace of thousands of objects goes slowly.
GONE_SECONDS = 900.0
OPERATOR_PODS = "app.kubernetes.io/name=sd-operator,app.kubernetes.io/component=operator"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where stories are played."""

    kube: Kube
    kubeconfig: Path
    folder: Path
    source: Path

    @contextlib.asynccontextmanager
    async def namespace(self, feature: str, *claims: str) -> AsyncIterator[str]:
        """A namespace of its own with volumes for these claims; it goes with all that is in it."""
        name = f"{fetching.NAMESPACES}{feature}-{uuid.uuid4().hex[:6]}"
        await self.kube.create("namespaces", scene.namespace(name))
        for claim in claims:
            await self.kube.create("persistentvolumes", scene.volume(name, claim))
        try:
            async with patience("the default service account", 30):
                while not await self._has_account(name):
                    await asyncio.sleep(0.1)
            yield name
        finally:
            await self.kube.delete("v1", "namespaces", "", name)
            await self.gone(name)
            for claim in claims:
                volume = scene.volume(name, claim)["metadata"]["name"]
                await self.kube.delete("v1", "persistentvolumes", "", volume)

    async def _has_account(self, namespace: str) -> bool:
        try:
            await self.kube.get("v1", "serviceaccounts", namespace, "default")
        except KubeError:
            return False
        return True

    async def gone(self, namespace: str = "") -> None:
        """Wait until the namespace, or each that was made here, is no more."""
        async with patience(f"namespace {namespace or 'of an earlier run'} to go", GONE_SECONDS):
            while any(
                namespace in ("", item["metadata"]["name"])
                for item in await self.kube.find("v1", "namespaces", labels=scene.MARK)
            ):
                await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def set_up(
    *, nodes: int, gpu_nodes: int = 0, source: Path = ROOT, standin: tuple[str, ...] = ()
) -> AsyncIterator[Stage]:
    """Fake nodes, stand-ins for what runs on them, and no other operator."""
    kubeconfig = scene.kubeconfig()
    subprocess.run([ROOT / "hack/kwok/build"], check=True, stdout=subprocess.DEVNULL)
    folder = scene.cache() / "rig"
    folder.mkdir(parents=True, exist_ok=True)
    kwok = Process(
        (str(ROOT / "hack/kwok/run"), f"--nodes={nodes}", f"--gpu-nodes={gpu_nodes}"),
        folder / "kwok-run.log",
        grace=60,
    )
    runtimes = Process(
        (
            sys.executable,
            "-m",
            "benchmarks.standin",
            f"--kubeconfig={kubeconfig}",
            *(f"--file={_listed(name)}" for name in (*scene.FILES, scene.LATER)),
            *standin,
        ),
        folder / "standin.log",
    )
    async with (
        Kube.connect(kubeconfig) as kube,
        alone(kube),
        running(kwok, ready="ready", seconds=120),
        running(runtimes, ready="ready"),
    ):
        await scene.install_kinds(kube, source)
        fetchers = asyncio.create_task(fetching.end_fetches(kube), name="fetchers")
        try:
            stage = Stage(kube, kubeconfig, folder, source)
            await stage.gone()
            yield stage
        finally:
            fetchers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetchers


@contextlib.asynccontextmanager
async def alone(kube: Kube) -> AsyncIterator[None]:
    """Without the operator that is installed in the cluster, if one is."""
    replicas = await _installed_replicas(kube)
    if replicas is None:
        yield
        return
    await kube.patch(*INSTALLED, {"spec": {"replicas": 0}})
    try:
        async with patience("the installed operator to stop", 60):
            while await kube.find("v1", "pods", INSTALLED[2], labels=OPERATOR_PODS):
                await asyncio.sleep(0.5)
        yield
    finally:
        await kube.patch(*INSTALLED, {"spec": {"replicas": replicas}})


def _listed(name: str) -> str:
    file_name = f"{name}.safetensors"
    return f"{scene.BUNDLE}:{fetching.path_of(file_name)}:{fetching.sha256_of(file_name)}"


async def _installed_replicas(kube: Kube) -> int | None:
    try:
        installed = await kube.get(*INSTALLED)
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    replicas: int = installed["spec"]["replicas"]
    return replicas
