"""Hand-written fakes: an API server that applies and counts, and pods that answer.

The API server knows server-side apply as far as the operator uses it: one field manager, fields that are no
longer named are dropped, a uid is a precondition. It counts writes and can kill its caller after any of them.
"""

import copy
import datetime
import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from sd_operator import errors, names
from sd_operator.cluster import is_alive
from sd_operator.fetch_client import Progress
from sd_operator.names import Resource
from sd_operator.runtime_client import RuntimeState

Object = dict[str, Any]

SHA = "a" * 64
OTHER_SHA = "b" * 64


class Killed(BaseException):
    """The operator's process ends here."""


class FakeCluster:
    def __init__(self, *, kill_after: int | None = None) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.kill_after = kill_after
        self.refuse: dict[str, errors.ClusterError] = {}
        #: what is said to a claim that asks for another size than it has
        self.refuse_growth: errors.ClusterError | None = None
        self.events: list[Object] = []
        #: what a cache still holds of objects that are gone or have changed, and kinds of which it knows none
        self.remembered: dict[tuple[str, str, str], Object] = {}
        self.forgotten: set[str] = set()
        self.served: frozenset[Resource] = frozenset()
        self._applied: dict[tuple[str, str, str, str], Object] = {}
        self._uids = itertools.count(1)

    # --- what the operator uses
    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        key = (resource.plural, namespace, name)
        return copy.deepcopy(self.remembered.get(key) or self.objects.get(key))

    async def find(
        self, resource: Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        if resource.plural in self.forgotten:
            return []
        return [
            copy.deepcopy(self.remembered.get((resource.plural, namespace, item["metadata"]["name"]), item))
            for item in self._find(resource, namespace, labels, fields)
        ]

    def _find(self, resource: Resource, namespace: str, labels: str, fields: str = "") -> list[Object]:
        found = []
        for (plural, ns, _), item in self.objects.items():
            if plural != resource.plural or namespace not in ("", ns):
                continue
            if labels:
                key, _, value = labels.partition("=")
                if (item["metadata"].get("labels") or {}).get(key) != value:
                    continue
            if fields:
                _, _, value = fields.partition("=")
                if item["involvedObject"]["uid"] != value:
                    continue
            found.append(copy.deepcopy(item))
        return found

    async def lives(self, resource: Resource, *, namespace: str, name: str, uid: str) -> bool:
        return is_alive(self.objects.get((resource.plural, namespace, name)), uid=uid)

    async def refind(self, resource: Resource, *, namespace: str, labels: str) -> list[Object]:
        return self._find(resource, namespace, labels)

    async def apply(self, manifest: Object) -> Object:
        return self._write("apply", manifest, "")

    async def apply_status(self, manifest: Object) -> Object:
        return self._write("apply-status", manifest, "status")

    async def delete(self, resource: Resource, *, namespace: str, name: str, uid: str) -> None:
        live = self.objects.get((resource.plural, namespace, name))
        if live is None:
            return
        if live["metadata"]["uid"] != uid:
            raise errors.ConflictError("uid precondition failed", status=409)
        self.remove(resource, namespace, name)
        self._count("delete", resource.kind, name)

    async def finalize(self, manifest: Object, finalizers: list[str]) -> Object:
        resource = names.BY_KIND[manifest["apiVersion"], manifest["kind"]]
        metadata = manifest["metadata"]
        live = self.objects.get((resource.plural, metadata["namespace"], metadata["name"]))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            raise errors.ConflictError("no such object", status=404)
        live["metadata"]["finalizers"] = list(finalizers)
        if live["metadata"].get("deletionTimestamp") and not finalizers:
            self.remove(resource, metadata["namespace"], metadata["name"])
        self._count("finalize", resource.kind, metadata["name"])
        return copy.deepcopy(live)

    async def scale(self, resource: Resource, *, namespace: str, name: str, replicas: int) -> None:
        live = self.objects[resource.plural, namespace, name]
        live["spec"]["replicas"] = replicas
        live["metadata"]["generation"] += 1
        self._count("scale", resource.kind, name)

    async def create_event(self, manifest: Object) -> None:
        self.events.append(copy.deepcopy(manifest))

    def serves(self) -> frozenset[Resource]:
        return self.served

    def _write(self, verb: str, manifest: Object, subresource: str) -> Object:
        manifest = json.loads(json.dumps(manifest))
        resource = names.BY_KIND[manifest["apiVersion"], manifest["kind"]]
        metadata = manifest["metadata"]
        if resource.kind in self.refuse and not subresource:
            raise self.refuse[resource.kind]
        key = (resource.plural, metadata["namespace"], metadata["name"])
        live = self.objects.get(key)
        grows = resource.kind == names.CLAIM.kind and live is not None
        if grows and live["spec"]["resources"] != manifest["spec"]["resources"] and self.refuse_growth:
            raise self.refuse_growth
        uid = metadata.pop("uid", None)
        if uid is not None and (live is None or live["metadata"]["uid"] != uid):
            raise errors.ConflictError("uid precondition failed", status=409)
        if live is None:
            live = self.add(manifest)
        else:
            before = copy.deepcopy(live.get("spec"))
            old = self._applied.get((*key, subresource), {})
            _drop(live, old, manifest)
            _merge(live, manifest)
            if live.get("spec") != before:
                live["metadata"]["generation"] += 1
        self._applied[(*key, subresource)] = manifest
        self._count(verb, resource.kind, metadata["name"])
        return copy.deepcopy(live)

    def _count(self, verb: str, kind: str, name: str) -> None:
        self.writes.append((verb, kind, name))
        if self.kill_after is not None and len(self.writes) == self.kill_after:
            raise Killed

    # --- what the test and the controllers use
    def add(self, manifest: Object) -> Object:
        live = copy.deepcopy(manifest)
        resource = names.BY_KIND[live["apiVersion"], live["kind"]]
        metadata = live["metadata"]
        metadata.setdefault("namespace", "ns")
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", timestamp())
        if resource.api_version == names.API_VERSION:
            live.setdefault("status", {"observedGeneration": -1})
        self.objects[resource.plural, metadata["namespace"], metadata["name"]] = live
        return live

    def ask_to_go(self, resource: Resource, name: str) -> None:
        """A user's delete of an object that may have a finalizer."""
        live = self.objects[resource.plural, "ns", name]
        if live["metadata"].get("finalizers"):
            live["metadata"]["deletionTimestamp"] = timestamp()
        else:
            self.remove(resource, "ns", name)

    def edit(self, resource: Resource, name: str, **spec: Any) -> None:
        """A user's edit."""
        live = self.objects[resource.plural, "ns", name]
        live["spec"].update(copy.deepcopy(spec))
        live["metadata"]["generation"] += 1

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        self.objects.pop((resource.plural, namespace, name))
        for key in [key for key in self._applied if key[:3] == (resource.plural, namespace, name)]:
            del self._applied[key]
        self.collect_garbage()

    def one(self, resource: Resource, name: str) -> Object:
        return self.objects[resource.plural, "ns", name]

    def all(self, resource: Resource) -> list[Object]:
        return [item for (plural, _, _), item in self.objects.items() if plural == resource.plural]

    def collect_garbage(self) -> None:
        uids = {item["metadata"]["uid"] for item in self.objects.values()}
        for (plural, namespace, name), item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences") or ()
            if owners and all(owner["uid"] not in uids for owner in owners):
                del self.objects[plural, namespace, name]
                self._applied.pop((plural, namespace, name, ""), None)
                self.collect_garbage()
                return


def _drop(live: Object, old: Object, new: Object) -> None:
    for key, value in old.items():
        if key not in new:
            live.pop(key, None)
        elif isinstance(value, dict) and isinstance(new[key], dict) and isinstance(live.get(key), dict):
            _drop(live[key], value, new[key])


def _merge(live: Object, new: Object) -> None:
    for key, value in new.items():
        # Selectors are atomic to server-side apply.
        atomic = key in ("selector", "nodeSelector")
        if isinstance(value, dict) and isinstance(live.get(key), dict) and not atomic:
            _merge(live[key], value)
        else:
            live[key] = copy.deepcopy(value)


def timestamp(*, ago: float = 0.0) -> str:
    moment = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(seconds=ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def verified(file_name: str, *, sha256: str = SHA) -> str:
    return json.dumps(
        {
            "state": "Verified",
            "path": f"models/Stable-diffusion/{file_name}",
            "size": 1000,
            "sha256": sha256,
            "family": "SD15",
        }
    )


def finish(pod: Object, message: str, *, exit_code: int = 0, reason: str = "Completed") -> Object:
    ended = {"exitCode": exit_code, "message": message, "reason": reason}
    pod["status"] = {
        "phase": "Failed" if exit_code else "Succeeded",
        "containerStatuses": [{"name": "fetch", "state": {"terminated": ended}}],
    }
    return pod


def run(pod: Object, *, ip: str = "10.0.0.1", ready: bool = True) -> Object:
    pod["status"] = {
        "phase": "Running",
        "podIP": ip,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"name": "runtime", "state": {"running": {}}}],
    }
    return pod


def wait(pod: Object, reason: str, message: str, *, crashes: int = 0) -> Object:
    ended = {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}} if crashes else {}
    pod["status"] = {
        "phase": "Pending",
        "containerStatuses": [
            {
                "name": "runtime",
                "restartCount": crashes,
                "state": {"waiting": {"reason": reason, "message": message}},
                **ended,
            }
        ],
    }
    return pod


class FakeFetchPods:
    """Every fetch pod says what `answers` has for its address, or nothing."""

    def __init__(self) -> None:
        self.answers: dict[str, Progress] = {}
        self.asked: list[str] = []

    def token_sha256(self, uid: str) -> str:
        return hashlib.sha256(f"fetch:{uid}".encode()).hexdigest()

    async def progress(self, *, pod_ip: str, uid: str) -> Progress | None:
        self.asked.append(pod_ip)
        return self.answers.get(pod_ip)


class FakeRuntimes:
    """Every pod serves what it was told, or what `answer` says; one that was told nothing serves nothing."""

    def __init__(self, answer: RuntimeState | errors.RuntimeUnreachableError | None = None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        #: pod IP → what it was told last
        self.told: dict[str, dict[str, Any]] = {}
        self.refuse: errors.RuntimeUnreachableError | None = None
        #: what every runtime says of its plugins
        self.plugins: list[Object] = []

    def token_sha256(self, uid: str) -> str:
        return hashlib.sha256(uid.encode()).hexdigest()

    async def state(self, *, pod_ip: str, uid: str) -> RuntimeState:
        self.asked.append(pod_ip)
        return self._state(pod_ip)

    async def desire(self, *, pod_ip: str, uid: str, wish: Mapping[str, Any]) -> RuntimeState:
        if self.refuse is not None:
            raise self.refuse
        self.told[pod_ip] = dict(wish)
        return self._state(pod_ip)

    def _state(self, pod_ip: str) -> RuntimeState:
        if isinstance(self.answer, errors.RuntimeUnreachableError):
            raise self.answer
        wish = self.told.get(pod_ip)
        if wish is None:
            return self.answer or RuntimeState(health="Starting")
        sha256, revision = wish["checkpoint"]["sha256"], wish["revision"]
        if self.answer is None:
            return holding(sha256, revision=revision, plugins=self.plugins)
        desired = self.answer.desired.model_copy(update={"revision": revision})
        return self.answer.model_copy(update={"desired": desired})


def holding(sha256: str, *, revision: str | None = None, device: str = "cpu", **more: Any) -> RuntimeState:
    return RuntimeState.model_validate(
        {
            "health": "Ready",
            "checkpoint": {"path": "models/Stable-diffusion/base.safetensors", "sha256": sha256},
            "error": None,
            "device": {"type": device, "name": "a device", "dtype": "float32"},
            "version": "0.1.0",
            "desired": {"revision": revision, "inEffect": True, "error": None},
            "startup": {"loadSeconds": 1.2, "warmUpSeconds": 0.4},
            **more,
        }
    )


def bundle(name: str = "sd15", *, files: list[Object] | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelBundle",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "family": "Auto",
            "files": files if files is not None else [file()],
            "storage": {"size": "20Gi", "accessModes": ["ReadWriteOnce"]},
            **spec,
        },
    }


def file(name: str = "base", **fields: Any) -> Object:
    return {
        "name": name,
        "type": "Checkpoint",
        "source": {"http": {"url": f"https://models.example.org/{name}.safetensors"}},
        **fields,
    }


def plugin(name: str = "aux", **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SDPlugin",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"image": f"plugin-{name}:1", "kind": "Preprocessor", **spec},
    }


def answering(name: str = "aux", *modules: Object, **fields: Any) -> Object:
    """An entry of "plugins" in what a runtime says."""
    told = {"kind": "Preprocessor", "version": "0.1.0", "ready": True, "reason": "", "message": ""}
    return {"name": name, **told, "modules": list(modules), **fields}


def instance(name: str = "demo", **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SDInstance",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "replicas": 1,
            "models": [{"name": "sd15"}],
            "checkpoint": {"bundle": "sd15", "file": "base"},
            "gpu": {"backend": "None"},
            "access": {
                "auth": "Required",
                "authSecretRef": {"name": "login"},
                "service": {"type": "ClusterIP"},
            },
            **spec,
        },
    }
