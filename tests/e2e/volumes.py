"""What is on a volume, as a reader of it sees it, and what a clumsy hand does to it."""

import base64
import json

from cluster import Kube, Manifest

USER = 10001


def in_pod(kube: Kube, claim: str, command: str, *, read_only: bool = True) -> str:
    """What a shell says in a pod that mounts the claim at /volume."""
    name = "look"
    kube.apply(_pod(kube, name, claim, command, read_only=read_only))
    ended = ("Succeeded", "Failed")
    kube.wait(lambda: kube.get("pod", name)["status"]["phase"] in ended, f"the pod that does {command}", 60)
    said = kube.run("logs", name)
    phase = kube.get("pod", name)["status"]["phase"]
    kube.run("delete", f"pod/{name}", "--grace-period=0", "--force")
    assert phase == "Succeeded", said
    return said


def put(kube: Kube, claim: str, path: str, content: bytes) -> None:
    """Writes a file of this machine to the claim, at this path from its root."""
    name = "put"
    kube.apply(_pod(kube, name, claim, "sleep 600", read_only=False))
    kube.wait(lambda: kube.get("pod", name)["status"]["phase"] == "Running", "the pod that takes a file", 60)
    text = base64.b64encode(content).decode()
    kube.run("exec", "-i", name, "--", "sh", "-c", f"base64 -d >'/volume/{path}'", stdin=text)
    kube.run("delete", f"pod/{name}", "--grace-period=0", "--force")


def _pod(kube: Kube, name: str, claim: str, command: str, *, read_only: bool) -> Manifest:
    """One with the operator's image that runs a shell command beside the claim."""
    operator = json.loads(
        kube.cluster.run("-n", "sd-operator", "get", "deployment", "sd-operator", "-o", "json")
    )
    container = {
        "name": name,
        "image": operator["spec"]["template"]["spec"]["containers"][0]["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", command],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "volume", "mountPath": "/volume", "readOnly": read_only}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
