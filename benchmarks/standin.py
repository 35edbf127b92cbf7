"""Stands in for the runtime of every pod at once: one process on port 9091 of all addresses that pods have.

The address that a request comes in at says which pod is meant. A pod is Starting until it is told what to
serve (`PUT /v1/desired`), and says from then on (`GET /v1/state`) that it serves it. It forgets when a
request carries another token, which is another instance's; `--kubeconfig` makes it forget with the pod, too,
as addresses are used again.

Misbehaviour is ordered on a second port, of loopback only:

    PUT    /faults  {"address": "10.246.0.7" or "*", "fault": one of FAULTS, or null}
    GET    /stats   how many were told and asked, and how many pods are known
    DELETE /pods    all is forgotten

Knows nothing of pictures, and checks no token: it is not the runtime that is on trial here.
"""

import argparse
import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from aiohttp import web

from benchmarks.rig.kube import Kube

MANAGEMENT_PORT = 9091
CONTROL_PORT = 9092
VERSION = "0.1.0"
BUNDLES = "/bundles/"
#: Longer than anybody waits for an answer.
HANG_SECONDS = 60.0

#: refuse: the connection is cut. hang: no answer. wrong-sha: another digest than the desired. cuda: another
#: device. reject: the desired state is not taken (422). load-failed: it is taken and cannot be loaded.
Fault = Literal["refuse", "hang", "wrong-sha", "cuda", "reject", "load-failed"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

Json = dict[str, Any]


@dataclass
class Pod:
    """What one pod was told."""

    token: str
    desired: Json | None = None
    #: when what it was told last comes into effect, on the monotonic clock
    effective: float = 0.0

    def tell(self, desired: Json, *, load_seconds: float) -> None:
        """The pod shall serve this; a checkpoint that it holds already needs no time."""
        held = self.desired["checkpoint"] if self.desired is not None else None
        if desired["checkpoint"] != held:
            self.effective = time.monotonic() + load_seconds
        self.desired = desired

    def state(self, fault: Fault | None, *, credentials: str) -> Json:
        """The answer of /v1/state, but for what is the same for all pods."""
        told = self.desired or {}
        in_effect = self.desired is not None and time.monotonic() >= self.effective
        failed = in_effect and fault == "load-failed"
        checkpoint = None
        if in_effect and not failed:
            sha256 = "0" * 64 if fault == "wrong-sha" else told["checkpoint"]["sha256"]
            checkpoint = {"path": relative(told["checkpoint"]["path"]), "sha256": sha256}
        health = "Starting" if self.desired is None else "Loading"
        if in_effect:
            health = "LoadFailed" if failed else "Ready"
        error = "the checkpoint cannot be read" if failed else None
        return {
            "health": health,
            "checkpoint": checkpoint,
            "error": error,
            "device": {
                "type": "cuda" if fault == "cuda" else "cpu",
                "name": "stand-in",
                "dtype": "float32",
            },
            "version": VERSION,
            "credentials": credentials,
            "credentialsError": None,
            "desired": {
                "revision": told.get("revision"),
                "generation": told.get("generation"),
                "inEffect": in_effect and not failed,
                "error": error,
            },
            "optionErrors": [],
            "plugins": [],
            "startup": {"loadSeconds": 0.1, "warmUpSeconds": 0.1} if in_effect else None,
            "draining": False,
        }


def relative(path: str) -> str:
    """The path on its volume, which is mounted below /bundles."""
    return path.removeprefix(BUNDLES).partition("/")[2] if path.startswith(BUNDLES) else path


@dataclass
class StandIn:
    """All pods; `assumed` is a checkpoint that each of them holds before it is told of one."""

    load_seconds: float = 0.0
    credentials: str = "NotRequired"
    assumed: Json | None = None
    #: what every pod finds on its volumes
    files: list[Json] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def pod(self, request: web.Request) -> tuple[str, Pod]:
        """The pod that a request means."""
        assert request.transport is not None
        address: str = request.transport.get_extra_info("sockname")[0]
        token = request.headers.get("Authorization", "")
        pod = self.pods.get(address)
        if pod is None or pod.token != token:
            assumed = {"checkpoint": self.assumed} if self.assumed is not None else None
            pod = self.pods[address] = Pod(token, assumed)
        return address, pod

    def fault(self, address: str) -> Fault | None:
        """How that pod misbehaves."""
        return self.faults.get(address, self.faults.get("*"))

    def forget(self, address: str) -> None:
        """The pod of that address is gone."""
        self.pods.pop(address, None)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/state."""
        self.counts["asked"] += 1
        address, pod = self.pod(request)
        fault = self.fault(address)
        await _misbehave(request, fault)
        return web.json_response(self.state(pod, fault))

    def state(self, pod: Pod, fault: Fault | None) -> Json:
        """The whole answer of /v1/state."""
        return {**pod.state(fault, credentials=self.credentials), "files": self.files}

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/desired."""
        self.counts["told"] += 1
        address, pod = self.pod(request)
        fault = self.fault(address)
        await _misbehave(request, fault)
        desired: Json = await request.json()
        if fault == "reject" or not {"path", "sha256"} <= desired.get("checkpoint", {}).keys():
            return web.json_response({"error": "RequestRejected", "detail": "no such checkpoint"}, status=422)
        pod.tell(desired, load_seconds=self.load_seconds)
        return web.json_response(self.state(pod, fault), status=202)

    async def order(self, request: web.Request) -> web.Response:
        """PUT /faults."""
        wish = await request.json()
        if wish["fault"] is None:
            self.faults.pop(wish["address"], None)
        elif wish["fault"] in FAULTS:
            self.faults[wish["address"]] = wish["fault"]
        else:
            return web.json_response({"faults": FAULTS}, status=422)
        return web.json_response(self.faults)

    async def stats(self, _: web.Request) -> web.Response:
        """GET /stats."""
        return web.json_response({**self.counts, "pods": len(self.pods)})

    async def forget_all(self, _: web.Request) -> web.Response:
        """DELETE /pods."""
        self.pods.clear()
        return web.json_response({})


async def _misbehave(request: web.Request, fault: Fault | None) -> None:
    if fault == "hang":
        await asyncio.sleep(HANG_SECONDS)
    if fault == "refuse" and request.transport is not None:
        request.transport.abort()


async def forget_with_pods(standin: StandIn, kubeconfig: Path) -> None:
    """Watches the cluster's pods for ever."""
    async with Kube.connect(kubeconfig) as kube:
        async for event in kube.watch("v1", "pods", fields="spec.nodeName!="):
            if event["type"] == "DELETED":
                standin.forget(event["object"].get("status", {}).get("podIP", ""))


async def serve(standin: StandIn, *, kubeconfig: Path | None) -> None:
    """Until cancelled."""
    management, control = web.Application(), web.Application()
    management.add_routes([web.get("/v1/state", standin.show), web.put("/v1/desired", standin.tell)])
    control.add_routes(
        [
            web.put("/faults", standin.order),
            web.get("/stats", standin.stats),
            web.delete("/pods", standin.forget_all),
        ]
    )
    async with contextlib.AsyncExitStack() as stack:
        for app, host, port in (
            (management, "0.0.0.0", MANAGEMENT_PORT),
            (control, "127.0.0.1", CONTROL_PORT),
        ):
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host, port, backlog=4096).start()
        print("ready", flush=True)
        if kubeconfig is not None:
            await forget_with_pods(standin, kubeconfig)
        else:
            await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kubeconfig", type=Path, help="forget a pod's state when the pod goes")
    parser.add_argument("--load-seconds", type=float, default=0.0, help="how long a checkpoint takes to load")
    parser.add_argument("--credentials", choices=("Present", "NotRequired"), default="NotRequired")
    parser.add_argument("--assume", metavar="PATH:SHA256", help="what a pod holds before it is told")
    parser.add_argument(
        "--file",
        metavar="BUNDLE:PATH:SHA256",
        action="append",
        default=[],
        help="a file that every pod finds on the volume of that bundle",
    )
    arguments = parser.parse_args()
    assumed = None
    if arguments.assume:
        path, _, sha256 = arguments.assume.rpartition(":")
        assumed = {"path": path, "sha256": sha256}
    files = [
        {"root": BUNDLES + root, "path": path, "sha256": sha256, "type": "Checkpoint"}
        for root, path, sha256 in (file.split(":") for file in arguments.file)
    ]
    standin = StandIn(arguments.load_seconds, arguments.credentials, assumed, files)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(standin, kubeconfig=arguments.kubeconfig))


if __name__ == "__main__":
    main()
