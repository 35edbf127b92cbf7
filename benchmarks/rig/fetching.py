"""Stands in for the fetchers: ends every fetch Job's pod with the verdict that its file is verified, and
every upkeep Job's with the verdict that all is as it was told.

The pods have no place to run on (see `scene.volume`), so what the kubelet would write at their end is
written into their status from here.
"""

import contextlib
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from benchmarks.rig.kube import Kube, KubeError, Object

FETCH_PODS = "app.kubernetes.io/name=sd-bundle"
SIZE = 2**30
#: How the names of the namespaces begin that are made here.
NAMESPACES = "rig-"


def sha256_of(file_name: str) -> str:
    """The digest that the file of this name has here."""
    return hashlib.sha256(file_name.encode()).hexdigest()


def path_of(file_name: str) -> str:
    """Where a checkpoint of this name lies on its volume."""
    return f"models/Stable-diffusion/{file_name}"


def verdict(pod: Mapping[str, Any]) -> Object:
    """What a pod that succeeded says at its end."""
    environment = {
        item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0].get("env", ())
    }
    if "SD_FETCH_UPKEEP" in environment:
        asked = json.loads(environment["SD_FETCH_UPKEEP"])
        removed = [each["path"] for each in asked["remove"]]
        return {"state": "Done", "intact": len(asked["expect"]), "removed": removed}
    file = json.loads(environment["SD_FETCH_FILE"])["file"]
    return {
        "state": "Verified",
        "path": path_of(file["fileName"]),
        "size": SIZE,
        "sha256": file.get("sha256") or sha256_of(file["fileName"]),
        "family": "SD15",
    }


def ended(pod: Mapping[str, Any]) -> Object:
    """The status of the pod once its program has ended well."""
    now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    container = pod["spec"]["containers"][0]
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": json.dumps(verdict(pod)),
        "startedAt": now,
        "finishedAt": now,
    }
    status = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    return {"phase": "Succeeded", "startTime": now, "containerStatuses": [status]}


def waits(pod: Mapping[str, Any]) -> bool:
    """Whether the pod is where the cluster can bring it: turned down by the scheduler, or running."""
    status = pod.get("status") or {}
    turned_down = any(
        condition["type"] == "PodScheduled" and condition["status"] == "False"
        for condition in status.get("conditions") or ()
    )
    return status.get("phase") == "Running" or (status.get("phase") == "Pending" and turned_down)


async def end_fetches(kube: Kube) -> None:
    """Watches for ever; pods of namespaces that were not made here have a fetcher of their own."""
    async for event in kube.watch("v1", "pods", labels=FETCH_PODS):
        pod = event["object"]
        metadata = pod["metadata"]
        if not metadata["namespace"].startswith(NAMESPACES) or event["type"] == "DELETED" or not waits(pod):
            continue
        with contextlib.suppress(KubeError):
            # It may be gone, and a status that arrived in between brings an event of its own.
            await kube.patch(
                "v1",
                "pods",
                metadata["namespace"],
                metadata["name"],
                {"status": ended(pod)},
                subresource="status",
            )
