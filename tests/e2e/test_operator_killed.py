"""The operator killed in the middle converges to what it would have made undisturbed."""

import copy
import json
from typing import Any

from cluster import Cluster, Kube, Manifest
from shapes import bundle, instance, secret

SLOW_SERVER = """
import asyncio, itertools, sys
from aiohttp import ClientSession, web
HUB = "http://hub.sd-demo.svc/sd-operator/demo-sd15/resolve/main/demo-sd15.safetensors"
served = 0
async def file(request):
    global served
    async with ClientSession() as session:
        async with session.get(HUB) as answer:
            content = await answer.read()
    asked = request.headers.get("Range")
    first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(content)), len(content) - 1)
    body = content[start:end + 1]
    headers = {"Content-Length": str(len(body)), "Accept-Ranges": "bytes", "ETag": '"shapes"'}
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    response = web.StreamResponse(status=206 if asked else 200, headers=headers)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    for offset in range(0, len(body), 262144):
        await response.write(body[offset:offset + 262144])
        served += len(body[offset:offset + 262144])
        await asyncio.sleep(0.25)
    return response
async def count(request):
    return web.json_response({"served": served})
app = web.Application()
app.add_routes([web.get("/slow.safetensors", file), web.get("/count", count)])
web.run_app(app, port=8080)
"""


def slow_server(image: str) -> list[Manifest]:
    labels = {"app": "slow"}
    container = {
        "name": "slow",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SLOW_SERVER],
        "readinessProbe": {"httpGet": {"path": "/count", "port": 8080}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "slow", "labels": labels},
            "spec": pod,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "slow"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]


def operator_image(cluster: Cluster) -> str:
    text = cluster.run("-n", "sd-operator", "get", "deployment", "sd-operator", "-o", "json")
    return str(json.loads(text)["spec"]["template"]["spec"]["containers"][0]["image"])


def test_killed_in_the_middle_of_a_fetch(kube: Kube, cluster: Cluster) -> None:
    kube.apply(*slow_server(operator_image(cluster)))
    kube.run("wait", "--for=condition=Ready", "pod/slow", "--timeout=60s")
    url = f"http://slow.{kube.namespace}.svc/slow.safetensors"
    kube.apply(bundle("slow", file={"source": {"http": {"url": url}}}))

    def fetching() -> bool:
        files = kube.get("modelbundle", "slow").get("status", {}).get("files", [])
        return bool(files) and files[0]["state"] == "Fetching"

    kube.wait(fetching, "the file to be fetching", 60)
    cluster.kill_operator()
    kube.wait_condition("modelbundle", "slow", "Ready", seconds=180)
    assert len(kube.items("jobs", "sdoperator.dev/bundle=slow")) == 1
    size = kube.get("modelbundle", "slow")["status"]["files"][0]["size"]
    count = json.loads(
        cluster.run("get", "--raw", f"/api/v1/namespaces/{kube.namespace}/services/slow:80/proxy/count")
    )
    assert count["served"] == size, "the file was downloaded once"


def test_a_killed_fetch_pod_resumes(kube: Kube, cluster: Cluster) -> None:
    url = f"http://slow.{kube.namespace}.svc/slow.safetensors"
    path = f"/api/v1/namespaces/{kube.namespace}/services/slow:80/proxy/count"
    before = json.loads(cluster.run("get", "--raw", path))["served"]
    kube.apply(bundle("resume", file={"source": {"http": {"url": url}}}))

    def progressed() -> bool:
        return bool(json.loads(cluster.run("get", "--raw", path))["served"] - before > 2_000_000)

    kube.wait(progressed, "two megabytes to be fetched", 60)
    for pod in kube.items("pods", "sdoperator.dev/bundle=resume"):
        kube.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    kube.wait_condition("modelbundle", "resume", "Ready", seconds=180)
    size = kube.get("modelbundle", "resume")["status"]["files"][0]["size"]
    served = json.loads(cluster.run("get", "--raw", path))["served"] - before
    print(f"served {served} bytes for a file of {size}")
    assert served <= size + 4 * 1024 * 1024, "what was on the volume is not downloaded again"


def normal(manifest: Manifest, name: str) -> Any:
    """The part of a child that says what it is, with the instance's name taken out."""
    found = copy.deepcopy(manifest)
    kept = {key: found[key] for key in ("spec", "kind")} | {"labels": found["metadata"].get("labels")}
    for volatile in ("clusterIP", "clusterIPs", "ports"):
        kept["spec"].pop(volatile, None)
    text = json.dumps(kept, sort_keys=True)
    return json.loads(text.replace(name, "NAME"))


def without_tokens(deployment: Any) -> Any:
    """Every instance has a management token of its own."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        container["env"] = [entry for entry in container["env"] if "TOKEN" not in entry["name"]]
    deployment["spec"]["template"]["metadata"].pop("annotations", None)
    for volume in deployment["spec"]["template"]["spec"]["volumes"]:
        # The name of the desired state carries a digest of the pod, and so of the instance's name.
        volume.get("configMap", {}).pop("name", None)
    return deployment


def test_killed_in_the_middle_of_a_create(kube: Kube, cluster: Cluster) -> None:
    kube.apply(bundle(), secret())
    kube.wait_condition("modelbundle", "shapes", "Ready")
    cluster.wait_operator()
    kube.apply(instance("undisturbed", replicas=0))
    kube.wait_condition("sdinstance", "undisturbed", "Ready")
    kube.apply(instance("disturbed", replicas=0))
    cluster.kill_operator()
    cluster.wait_operator()
    kube.wait_condition("sdinstance", "disturbed", "Ready")
    for kind in ("deployment", "service"):
        whole, broken = (normal(kube.get(kind, name), name) for name in ("undisturbed", "disturbed"))
        if kind == "deployment":
            whole, broken = without_tokens(whole), without_tokens(broken)
        assert broken == whole
    statuses = []
    for name in ("undisturbed", "disturbed"):
        status = json.loads(json.dumps(kube.get("sdinstance", name)["status"]).replace(name, "NAME"))
        for condition in status["conditions"]:
            condition.pop("lastTransitionTime")
        statuses.append(status)
    assert statuses[0] == statuses[1]
