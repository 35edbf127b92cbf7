"""Every field of an SDInstance's spec, edited on a real API server: a child shows it, or a condition names
it, and taking it back leaves no trace. No pod runs meanwhile: what pods make of it is in other files.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import ClusterError, Kube, Manifest
from shapes import API, HUB_FILE, bundle, secret

from tests.unit.operator.instance_fields import CHANGES, ONLY_NEW, ONLY_UP

pytestmark = pytest.mark.long

#: The operator's own namespace.
CATALOG = "sd-operator"
KINDS = (
    "deployments,services,configmaps,serviceaccounts,networkpolicies,ingresses,poddisruptionbudgets,"
    "persistentvolumeclaims"
)
#: What the API server, its controllers and we ourselves write anew at every change.
VOLATILE = {
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "status",
    "clusterIP",
}
VOLATILE |= {"clusterIPs", "nodePort", "deployment.kubernetes.io/revision", "volumeName"}
VOLATILE |= {"sdoperator.dev/applied", "sdoperator.dev/template", "SD_MANAGEMENT_TOKEN_SHA256"}


@pytest.fixture(scope="module", autouse=True)
def plugins(kube: Kube) -> Iterator[None]:
    """One of this name in the namespace, and another one in the catalog."""
    catalog = Kube(kube.cluster, CATALOG)
    for space, image in ((kube, "localhost/own:1"), (catalog, "localhost/of-the-catalog:1")):
        spec = {"image": image, "kind": "Preprocessor"}
        space.apply({"apiVersion": API, "kind": "SDPlugin", "metadata": {"name": "aux"}, "spec": spec})
    yield
    catalog.run("delete", "sdplugin/aux", "--ignore-not-found")


@pytest.fixture(scope="module", autouse=True)
def bundles(kube: Kube) -> None:
    source = {"huggingFace": HUB_FILE}
    for name, files in (("sd15", ("base", "second")), ("more", ("other",))):
        manifest = bundle(name)
        manifest["spec"]["files"] = [
            {"name": file, "type": "Checkpoint", "fileName": f"{name}-{file}.safetensors", "source": source}
            for file in files
        ]
        kube.apply(manifest)
    kube.apply(secret("login"))
    for name in ("sd15", "more"):
        kube.wait_condition("modelbundle", name, "Ready")


def manifest(spec: dict[str, Any]) -> Manifest:
    base: dict[str, Any] = {
        "models": [{"name": "sd15"}],
        "checkpoint": {"bundle": "sd15", "file": "base"},
        "gpu": {"backend": "None"},
        "access": {"auth": "Required", "authSecretRef": {"name": "login"}},
    }
    # A whole replacement: what is left out is as the schema's defaults say.
    whole = {**base, **copy.deepcopy(spec), "replicas": 0}
    return {"apiVersion": API, "kind": "SDInstance", "metadata": {"name": "fields"}, "spec": whole}


def put(kube: Kube, spec: dict[str, Any]) -> None:
    """The stored object becomes exactly this."""
    found = kube.get("sdinstance", "fields")
    whole = manifest(spec)
    whole["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    kube.run("replace", "-f", "-", stdin=json.dumps(whole))


def settled(kube: Kube) -> Manifest:
    """The object once the operator has looked at this generation and says nothing of being under way."""

    def seen() -> Manifest | None:
        found = kube.get("sdinstance", "fields")
        status = found.get("status", {})
        held = {each["type"]: each["status"] for each in status.get("conditions", [])}
        looked = status.get("observedGeneration") == found["metadata"]["generation"]
        return found if looked and held.get("Reconciling") == "False" else None

    found: Manifest = kube.wait(seen, "the operator to have looked", 60)
    return found


def content(kube: Kube) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("name") in VOLATILE:
                return {}
            return {key: plain(item) for key, item in value.items() if key not in VOLATILE}
        return [plain(item) for item in value] if isinstance(value, list) else value

    items = kube.items(KINDS, "sdoperator.dev/instance=fields")
    return {f"{item['kind']}/{item['metadata']['name']}": plain(item) for item in items}


#: The number of pods is the one field that this test holds still.
PATHS = sorted(set(CHANGES) - {"replicas"})


@pytest.mark.parametrize("path", PATHS)
def test_a_change_is_seen_and_leaves_no_trace_when_it_is_taken_back(kube: Kube, path: str) -> None:
    before, after = CHANGES[path]
    kube.run("delete", "sdinstance/fields", "--ignore-not-found")
    kube.run("delete", "pvc/fields-outputs", "--ignore-not-found")
    kube.wait(lambda: not content(kube), "the children of the last one to be gone", 60)
    kube.apply(manifest(before))
    settled(kube)
    first = content(kube)
    if path in ONLY_NEW:
        with pytest.raises(ClusterError, match="cannot be changed"):
            put(kube, after)
        return
    put(kube, after)
    found = settled(kube)
    named = f"spec.{path.partition('[')[0].partition('{')[0]}"
    conditions = " ".join(each["message"] for each in found["status"]["conditions"])
    assert content(kube) != first or named in conditions, conditions
    put(kube, before)
    settled(kube)
    if path in ONLY_UP:
        return
    # What pods of before needed goes once the Deployment tells that there are none.
    with contextlib.suppress(ClusterError):
        kube.wait(lambda: content(kube) == first, "everything to be as it was", 20)
    assert content(kube) == first
