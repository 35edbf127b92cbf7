"""Manifests that are applied again write nothing, and what leaves Git leaves its volume.

install.yaml has the names of the operator that is installed here, so it is only tried (dry run); what is
applied is the overlay of one namespace, without a pod: two operators would work on one object.
"""

import json
import pathlib
import subprocess
import time
from typing import Any

import pytest
import shapes
import yaml
from cluster import Kube, Manifest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANAGER = "--field-manager=gitops"


def kustomize(folder: pathlib.Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        [ROOT / "hack/cluster", "kubectl", "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def apply(kube: Kube, manifests: list[Manifest], *arguments: str) -> str:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    return kube.run("apply", "--server-side", MANAGER, *arguments, "-f", "-", stdin=text)


def written(kube: Kube, manifests: list[Manifest]) -> dict[str, Any]:
    """What any write to the objects would change.

    The autoscaler's controller tells its measurements in a status whenever it likes; the rest is not its.
    """
    found = {}
    for each in manifests:
        name = f"{each['kind']}/{each['metadata']['name']}"
        metadata = json.loads(kube.run("get", name, "-o", "json", "--show-managed-fields"))["metadata"]
        if each["kind"] == "HorizontalPodAutoscaler":
            del metadata["resourceVersion"]
            metadata["managedFields"] = [
                m for m in metadata["managedFields"] if m.get("subresource") != "status"
            ]
        found[name] = {key: metadata.get(key) for key in ("resourceVersion", "generation", "managedFields")}
    return found


def settled(kube: Kube, manifests: list[Manifest]) -> dict[str, Any]:
    """The same, once nobody has written for a while."""
    deadline, seen = time.monotonic() + 120, written(kube, manifests)
    while time.monotonic() < deadline:
        time.sleep(5)
        last, seen = seen, written(kube, manifests)
        if last == seen:
            return seen
    raise AssertionError("somebody goes on writing to the objects")


def operator_here(kube: Kube, folder: pathlib.Path) -> list[Manifest]:
    """The overlay of one namespace, in this one, without a pod."""
    for path in (ROOT / "kustomize/overlays/namespaced").iterdir():
        text = path.read_text().replace("\nnamespace: sd-operator\n", f"\nnamespace: {kube.namespace}\n")
        (folder / path.name).write_text(text)
    found = kustomize(folder)
    for each in found:
        if each["kind"] == "Deployment":
            each["spec"]["replicas"] = 0
    return found


def studio_here(kube: Kube) -> list[Manifest]:
    """The example of a service, in this namespace, with a model that a processor can draw with."""
    found = kustomize(ROOT / "examples/gitops/studio")
    for each in found:
        each["metadata"]["namespace"] = kube.namespace
        if each["kind"] == "ModelBundle":
            each["spec"]["files"] = shapes.bundle()["spec"]["files"]
            each["spec"]["storage"]["size"] = "1Gi"
        if each["kind"] == "SDInstance":
            each["spec"]["gpu"] = {"backend": "None"}
            each["spec"]["resources"] = shapes.instance()["spec"]["resources"]
    return found


def test_the_operator_applied_again_causes_no_write(kube: Kube, tmp_path: pathlib.Path) -> None:
    manifests = operator_here(kube, tmp_path)
    apply(kube, manifests)
    before = settled(kube, manifests)
    apply(kube, manifests)
    assert written(kube, manifests) == before


def test_a_service_applied_again_causes_no_write(kube: Kube) -> None:
    manifests = studio_here(kube)
    kube.apply(shapes.secret("sd15-auth"))
    apply(kube, manifests)
    kube.wait_condition("modelbundle", "sd15", "Ready")
    kube.wait_condition("sdinstance", "sd15", "Ready", seconds=400)
    before = settled(kube, manifests)
    apply(kube, manifests)
    assert written(kube, manifests) == before
    managers = {
        each["manager"] for each in before["SDInstance/sd15"]["managedFields"] if "subresource" not in each
    }
    assert managers == {"gitops"}, "somebody else writes into the spec"


@pytest.mark.parametrize("folder", ["base", "overlays/private-registry"])
def test_the_api_server_takes_what_is_for_a_whole_cluster(kube: Kube, folder: str) -> None:
    manifests = kustomize(ROOT / "kustomize" / folder)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    # The cluster's own operator is Helm's: what would be taken over from it is not the question here.
    arguments = ("apply", "--server-side", MANAGER, "--force-conflicts", "--dry-run=server", "-f", "-")
    out = kube.cluster.run(*arguments, stdin=text)
    assert out.count("(server dry run)") == len(manifests)


def test_a_bundle_that_is_pruned_leaves_its_volume_and_finds_it_again(kube: Kube) -> None:
    bundle = shapes.bundle("kept")
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"a": "b"}}
    apply_set = (
        "env",
        "KUBECTL_APPLYSET=true",
        "kubectl",
        "-n",
        kube.namespace,
        "apply",
        "--server-side",
        MANAGER,
    )

    def sync(*manifests: Manifest) -> str:
        """As a tool that prunes does: what was in the set and is no more is deleted."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        done = subprocess.run(
            [*apply_set, "--prune", "--applyset=set-of-git", "-f", "-"],
            env=kube.cluster.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    sync(bundle, other)
    kube.wait_condition("modelbundle", "kept", "Ready")
    claim = kube.get("pvc", "kept-models")["metadata"]["uid"]
    assert "kept pruned" in sync(other)
    kube.wait(lambda: "kept" not in kube.run("get", "modelbundles", "-o", "name"), "the bundle to go", 60)
    assert kube.get("pvc", "kept-models")["metadata"]["uid"] == claim
    sync(bundle, other)
    kube.wait_condition("modelbundle", "kept", "Ready")
    status = kube.get("modelbundle", "kept")["status"]
    assert kube.get("pvc", "kept-models")["metadata"]["uid"] == status["volume"]["uid"] == claim
