"""A bundle's volume grows with its spec, where the class allows it; it never shrinks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Kube, Manifest
from shapes import bundle, instance, secret

#: The local cluster's own provisioner, which is its own resizer; that of kind cannot grow a volume.
PROVISIONER = "localkube.dev/local"
FIELD = "spec.storage.size"


@pytest.fixture(scope="module")
def growing(kube: Kube) -> Iterator[str]:
    """A class whose volumes grow. The cluster's default one does not allow it, and binds at once."""
    classes = kube.items("storageclasses")
    if PROVISIONER not in {each["provisioner"] for each in classes}:
        pytest.skip(f"no StorageClass of {PROVISIONER} here")
    # Not of a namespace; that of the tests has a name which is nobody else's.
    manifest = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": kube.namespace},
        "provisioner": PROVISIONER,
        "allowVolumeExpansion": True,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    kube.cluster.run("create", "-f", "-", stdin=json.dumps(manifest))
    yield kube.namespace
    kube.cluster.run("delete", "storageclass", kube.namespace)


def sized(name: str, size: str, storage_class: str) -> Manifest:
    manifest = bundle(name)
    manifest["spec"]["storage"] = {"size": size, "storageClassName": storage_class}
    return manifest


def capacity(kube: Kube, name: str) -> str | None:
    size: str | None = kube.get("modelbundle", name)["status"]["volume"].get("capacity")
    return size


def sizes(kube: Kube, name: str) -> dict[str, Any]:
    """What the claim asks for, what it says it has, and what its volume has."""
    claim = kube.get("persistentvolumeclaim", f"{name}-models")
    volume = kube.get("persistentvolume", claim["spec"]["volumeName"])
    return {
        "asked": claim["spec"]["resources"]["requests"]["storage"],
        "claim": claim["status"]["capacity"]["storage"],
        "volume": volume["spec"]["capacity"]["storage"],
    }


def said_of_size(kube: Kube, name: str) -> list[str]:
    conditions = kube.get("modelbundle", name)["status"]["conditions"]
    return [each["message"] for each in conditions if FIELD in each["message"]]


def grow(kube: Kube, name: str, storage_class: str) -> None:
    """A bundle on 1Gi that is Ready, then on 2Gi."""
    kube.apply(sized(name, "1Gi", storage_class))
    kube.wait_condition("modelbundle", name, "Ready")
    assert capacity(kube, name) == "1Gi"
    kube.apply(sized(name, "2Gi", storage_class))
    kube.wait(lambda: capacity(kube, name) == "2Gi", "the volume to have 2Gi", 60)
    kube.wait_condition("modelbundle", name, "Ready")


def test_a_volume_grows_with_the_spec_and_nothing_remains_to_be_said(kube: Kube, growing: str) -> None:
    grow(kube, "more", growing)
    assert sizes(kube, "more") == {"asked": "2Gi", "claim": "2Gi", "volume": "2Gi"}
    assert said_of_size(kube, "more") == []


def test_a_smaller_size_is_ignored_and_told_until_it_is_taken_back(kube: Kube, growing: str) -> None:
    grow(kube, "less", growing)
    kube.apply(sized("less", "1Gi", growing))
    kube.wait_condition("modelbundle", "less", "Ready")
    (said, *_) = said_of_size(kube, "less")
    assert f"{FIELD}: 1Gi is ignored" in said
    assert capacity(kube, "less") == "2Gi"
    assert sizes(kube, "less") == {"asked": "2Gi", "claim": "2Gi", "volume": "2Gi"}
    kube.apply(sized("less", "2Gi", growing))
    kube.wait_condition("modelbundle", "less", "Ready")
    assert said_of_size(kube, "less") == []


def test_a_volume_grows_under_an_instance_that_goes_on_serving(kube: Kube, growing: str) -> None:
    kube.apply(sized("busy", "1Gi", growing), secret())
    kube.apply(instance("busy", models=[{"name": "busy"}], checkpoint={"bundle": "busy", "file": "base"}))
    kube.wait_condition("sdinstance", "busy", "Ready", seconds=300)
    before = [pod["metadata"]["uid"] for pod in kube.pods("busy")]
    grow(kube, "busy", growing)
    assert kube.condition("sdinstance", "busy", "Ready")["status"] == "True"
    (pod,) = kube.pods("busy")
    assert [pod["metadata"]["uid"]] == before
    assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0]
