"""GPUs by memory, on nodes that are made up (hack/kwok): scheduler, API server and claims are real.

A node of 6 GiB and one of 12 GiB, one GPU each, as NVIDIA's device plugin, feature discovery and DRA driver
show them. Their pods run nothing, so nothing here is ever Ready: what is looked at is where pods are put, and
what is said of those that cannot be.
"""

import json
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster, Kube, Manifest
from shapes import bundle, instance, secret

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKE = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
}
SMALL, LARGE = "e2e-gpu-6", "e2e-gpu-12"
DRIVER = "gpu.nvidia.com"


@pytest.fixture(scope="module", autouse=True)
def kwok() -> Iterator[None]:
    command = [str(ROOT / "hack/kwok/run"), "--nodes=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield
        process.terminate()


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster, kwok: None) -> Iterator[None]:
    for index, (name, mib) in enumerate(((SMALL, 6144), (LARGE, 12288)), start=200):
        cluster.run("create", "-f", "-", stdin=json.dumps(a_node(name, mib, index)))
    yield
    cluster.run("delete", "node", SMALL, LARGE, "--ignore-not-found")


@pytest.fixture(scope="module", autouse=True)
def models(kube: Kube, nodes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A bundle on a volume that every node can mount: the fetch runs on the real one."""
    folder = tmp_path_factory.mktemp("models")
    for each in (folder, *folder.parents[:3]):
        each.chmod(0o777)
    name = f"e2e-{kube.namespace}"
    kube.cluster.run("create", "-f", "-", stdin=json.dumps(a_volume(name, kube.namespace, str(folder))))
    files = bundle()
    files["spec"]["storage"] = {
        "size": "1Gi",
        "storageClassName": "anywhere",
        "accessModes": ["ReadWriteMany"],
    }
    kube.apply(secret(), files)
    kube.wait_condition("modelbundle", "shapes", "Ready")
    yield
    kube.cluster.run("delete", "pv", name, "--wait=false")
    shutil.rmtree(folder, ignore_errors=True)


def a_node(name: str, mib: int, index: int) -> Manifest:
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "100", "nvidia.com/gpu": "1"}
    labels = {"type": "kwok", "kubernetes.io/hostname": name, "nvidia.com/gpu.memory": str(mib)}
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [taint], "podCIDR": f"10.246.{index}.0/24"},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def a_volume(name: str, namespace: str, folder: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "anywhere",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": "shapes-models"},
            "hostPath": {"path": folder},
        },
    }


def ask_for(kube: Kube, name: str, **gpu: Any) -> None:
    kube.apply(instance(name, gpu=gpu, **FAKE))


def place(kube: Kube, name: str) -> str:
    def node_name() -> str | None:
        pods = kube.pods(name)
        return pods[0]["spec"].get("nodeName") if pods else None

    found: str = kube.wait(node_name, f"a node for {name}", 60)
    return found


def test_pods_go_where_the_memory_is_and_wait_with_the_scheduler_s_words(kube: Kube) -> None:
    ask_for(kube, "eight", backend="Whole", memory="8Gi")
    assert place(kube, "eight") == LARGE
    ask_for(kube, "four", backend="Whole", memory="4Gi")
    assert place(kube, "four") == SMALL
    ask_for(kube, "more", backend="Whole", memory="8Gi")

    def waits() -> str | None:
        ready = kube.condition("sdinstance", "more", "Reconciling")
        return ready["message"] if ready.get("reason") == "Unschedulable" else None

    message = kube.wait(waits, "what the scheduler says", 60)
    assert "spec.gpu" in message.partition(": ")[0]
    assert "nodes are available" in message
    kube.run("delete", "sdinstance/eight")
    assert place(kube, "more") == LARGE
    kube.run("delete", "sdinstance", "four", "more")


def test_the_need_is_computed_and_shown_with_its_parts(kube: Kube) -> None:
    ask_for(kube, "computed", backend="Whole")
    place(kube, "computed")
    vram = kube.get("sdinstance", "computed")["status"]["vram"]
    assert vram["requested"] == "4608Mi"
    assert {part["name"]: part["memory"] for part in vram["breakdown"]} == {
        "SD15 base": "4Gi",
        "headroom": "512Mi",
    }
    assert vram["backend"] == "Whole"
    kube.run("delete", "sdinstance/computed")


def test_what_no_gpu_has_is_refused_with_the_numbers(kube: Kube) -> None:
    ask_for(kube, "huge", backend="Whole", memory="4Ti")
    stalled = kube.wait_condition("sdinstance", "huge", "Stalled")
    assert stalled["reason"] == "NoGPUFits"
    assert "spec.gpu.memory" in stalled["message"] and "4096Gi" in stalled["message"]
    assert not kube.pods("huge")
    kube.run("delete", "sdinstance/huge")


@pytest.fixture
def devices(cluster: Cluster) -> Iterator[None]:
    """What NVIDIA's DRA driver publishes: a class, and each node's device with its memory.

    What a cluster offers is asked for every few minutes; an operator that starts asks at once.
    """
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    api = {"apiVersion": "resource.k8s.io/v1"}
    items: list[Manifest] = [
        {**api, "kind": "DeviceClass", "metadata": {"name": DRIVER}, "spec": {"selectors": [selector]}}
    ]
    for node, memory in ((SMALL, "6Gi"), (LARGE, "12Gi")):
        device = {"name": "gpu-0", "capacity": {"memory": {"value": memory}}}
        spec = {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [device],
        }
        items.append({**api, "kind": "ResourceSlice", "metadata": {"name": node}, "spec": spec})
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.run("apply", "-f", "-", stdin=document)
    cluster.kill_operator()
    cluster.wait_operator()
    yield
    cluster.run("delete", "-f", "-", stdin=document)


def test_a_claim_is_allocated_a_device_that_is_large_enough(kube: Kube, devices: None) -> None:
    ask_for(kube, "claims", backend="DRA", memory="8Gi")
    assert place(kube, "claims") == LARGE
    pod = kube.pods("claims")[0]["metadata"]["name"]
    claims = [
        claim
        for claim in json.loads(kube.run("get", "resourceclaims", "-o", "json"))["items"]
        if any(owner["name"] == pod for owner in claim["metadata"]["ownerReferences"])
    ]
    assert len(claims) == 1
    allocated = claims[0]["status"]["allocation"]["devices"]["results"]
    assert [(each["driver"], each["pool"], each["device"]) for each in allocated] == [
        (DRIVER, LARGE, "gpu-0")
    ]
    ask_for(kube, "auto", backend="Auto", memory="4Gi")
    assert place(kube, "auto") == SMALL
    kube.wait(lambda: kube.get("sdinstance", "auto")["status"].get("vram"), "the choice of Auto", 30)
    assert kube.get("sdinstance", "auto")["status"]["vram"]["backend"] == "DRA"
    kube.run("delete", "sdinstance", "claims", "auto")
    kube.wait(
        lambda: not json.loads(kube.run("get", "resourceclaimtemplates", "-o", "json"))["items"],
        "the templates to go with their instances",
        60,
    )
