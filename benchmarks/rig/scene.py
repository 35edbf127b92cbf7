"""The objects that a story needs: a namespace, volumes without a place, a bundle, instances.

Volumes have no node, so that pods of fake nodes may mount them; nothing is ever read from one.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rig.kube import Kube, Object
from benchmarks.rig.processes import ROOT

API = "sdoperator.dev/v1alpha1"
INSTANCES = "sdinstances"
BUNDLES = "modelbundles"
STORAGE_CLASS = "rig"
NODE_SELECTOR = {"type": "kwok"}
TOLERATIONS = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
BUNDLE = "base"
#: All files that any bundle here has.
FILES = (BUNDLE, "other")
#: A file that comes later; the stand-in lists it from the start.
LATER = "third"
#: Label of every namespace that is made here.
MARK = "sdoperator.dev/rig=true"


def kubeconfig() -> Path:
    """Of the local cluster; other people's clusters are refused, since the nodes there are real."""
    which = subprocess.run([ROOT / "hack/cluster", "which"], capture_output=True, text=True, check=True)
    if which.stdout.strip() == "existing":
        raise SystemExit("KUBE_CONTEXT is set: this runs on the local cluster only")
    script = 'exports=$(hack/cluster env) && eval "$exports" && echo "$KUBECONFIG"'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not Path(done.stdout.strip()).exists():
        raise SystemExit(f"no cluster (make cluster-up starts one): {done.stderr.strip()}")
    return Path(done.stdout.strip())


def cache() -> Path:
    """Where logs go."""
    return Path(os.environ.get("SDO_CACHE") or Path.home() / ".cache/sd-operator")


async def install_kinds(kube: Kube, source: Path = ROOT) -> None:
    """The CustomResourceDefinitions of a checkout."""
    for file in sorted((source / "crds").glob("*.yaml")):
        for manifest in yaml.safe_load_all(file.read_text()):
            await kube.apply("customresourcedefinitions", manifest)


def namespace(name: str) -> Object:
    """A namespace in which Pod Security `restricted` is enforced, as the chart recommends."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", **dict([MARK.split("=")])}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def volume(namespace: str, claim: str) -> Object:
    """A volume that waits for this claim.

    Pods that use it must run on a fake node, and fetch pods do not tolerate those: so they stay unplaced.
    """
    term = {
        "matchExpressions": [
            {"key": key, "operator": "In", "values": [value]} for key, value in NODE_SELECTOR.items()
        ]
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"rig-{namespace}-{claim}", "labels": {"sdoperator.dev/rig": namespace}},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim,
            },
            # Only a local volume may have a node; nobody looks whether the folder is there.
            "local": {"path": "/nowhere"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


def file(name: str) -> Object:
    """A checkpoint of a bundle."""
    source = {"http": {"url": f"https://models.example.org/{name}.safetensors"}}
    return {"name": name, "type": "Checkpoint", "source": source}


def bundle(namespace: str, *, files: Iterable[str] = (BUNDLE,)) -> Object:
    """The bundle `base`, which every fake node can mount."""
    storage = {"size": "20Gi", "storageClassName": STORAGE_CLASS, "accessModes": ["ReadWriteMany"]}
    return {
        "apiVersion": API,
        "kind": "ModelBundle",
        "metadata": {"name": BUNDLE, "namespace": namespace},
        "spec": {
            "files": [file(name) for name in files],
            "storage": storage,
            # Said, as they would otherwise depend on whether the instance was there first.
            "fetch": {"nodeSelector": {}, "tolerations": []},
        },
    }


def instance(namespace: str, name: str, **spec: Any) -> Object:
    """An instance on the fake nodes, without a GPU and without a password."""
    return {
        "apiVersion": API,
        "kind": "SDInstance",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "models": [{"name": BUNDLE}],
            "checkpoint": {"bundle": BUNDLE, "file": BUNDLE},
            "gpu": {"backend": "None"},
            "access": {"auth": "Disabled"},
            "nodeSelector": NODE_SELECTOR,
            "tolerations": TOLERATIONS,
            **spec,
        },
    }


def is_current(manifest: Object) -> bool:
    """Whether the object is Ready, and its status speaks of the spec that it has."""
    generation, status = manifest["metadata"]["generation"], manifest.get("status") or {}
    return status.get("observedGeneration") == generation and any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and condition.get("observedGeneration", generation) == generation
        for condition in status.get("conditions") or ()
    )


def conditions(manifest: Object) -> str:
    """What the object says about itself, for an error message."""
    return json.dumps((manifest.get("status") or {}).get("conditions") or [], indent=1)
