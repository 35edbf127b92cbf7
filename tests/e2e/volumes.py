"""What is on a volume, as a reader of it sees it, and what a clumsy hand does to it."""

import json

from cluster import Kube

USER = 10001


def in_pod(kube: Kube, claim: str, command: str, *, read_only: bool = True) -> str:
    """What a shell says in a pod that mounts the claim at /volume."""
    operator = json.loads(
        kube.cluster.run("-n", "sd-operator", "get", "deployment", "sd-operator", "-o", "json")
    )
    name = "look"
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
    kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    ended = ("Succeeded", "Failed")
    kube.wait(lambda: kube.get("pod", name)["status"]["phase"] in ended, f"the pod that does {command}", 60)
    said = kube.run("logs", name)
    phase = kube.get("pod", name)["status"]["phase"]
    kube.run("delete", f"pod/{name}", "--grace-period=0", "--force")
    assert phase == "Succeeded", said
    return said
