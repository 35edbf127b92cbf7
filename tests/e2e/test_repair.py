"""What others do to an instance's children is undone: killed, deleted, relabelled, orphaned."""

import json

import pytest
from cluster import Kube, Manifest
from shapes import bundle, instance, secret

#: Every kind of child that a default instance with two replicas and an ingress has, but its pods.
CHILDREN = [
    ("deployment", "whole"),
    ("service", "whole"),
    ("service", "whole-pods"),
    ("serviceaccount", "whole-runtime"),
    ("networkpolicy", "whole"),
    ("ingress", "whole"),
    ("poddisruptionbudget", "whole"),
]


@pytest.fixture(scope="module", autouse=True)
def served(kube: Kube) -> None:
    access = {
        "authSecretRef": {"name": "shapes-auth"},
        "service": {"type": "ClusterIP"},
        "ingress": {"host": "shapes.example.org"},
    }
    kube.apply(bundle(), secret(), instance("whole", access=access, replicas=2))
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "whole", "Ready", seconds=300)
    kube.wait(lambda: kube.get("sdinstance", "whole")["status"]["models"]["loaded"] == 2, "two pods", 120)


def spec_of(manifest: Manifest) -> Manifest:
    kept: Manifest = manifest.get("spec", {}) | {"data": manifest.get("data")}
    return {key: value for key, value in kept.items() if not key.startswith("clusterIP")}


def config(kube: Kube) -> str:
    """The ConfigMap that the pods read; its name carries a digest."""
    volumes = kube.get("deployment", "whole")["spec"]["template"]["spec"]["volumes"]
    return next(str(volume["configMap"]["name"]) for volume in volumes if volume["name"] == "desired")


def test_a_deleted_desired_state_is_back_as_it_was(kube: Kube) -> None:
    name = config(kube)
    before = kube.get("configmap", name)
    kube.run("delete", "configmap", name)
    after = kube.wait(lambda: kube.get("configmap", name), f"ConfigMap {name} to be back", 30)
    assert after["data"] == before["data"]


@pytest.mark.parametrize(("kind", "name"), CHILDREN[1:])
def test_a_deleted_child_is_back_as_it_was(kube: Kube, kind: str, name: str) -> None:
    before = kube.get(kind, name)
    kube.run("delete", kind, name)
    after = kube.wait(lambda: kube.get(kind, name), f"{kind} {name} to be back", 30)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert spec_of(after) == spec_of(before)


@pytest.mark.parametrize(("kind", "name"), CHILDREN)
def test_labels_that_were_torn_off_and_owners_that_were_removed_are_back(
    kube: Kube, kind: str, name: str
) -> None:
    before = kube.get(kind, name)["metadata"]
    torn = [f"{label}-" for label in before["labels"]]
    kube.run("label", kind, name, *torn)
    restored = lambda: kube.get(kind, name)["metadata"].get("labels") == before["labels"]  # noqa: E731
    kube.wait(restored, f"the labels of {kind} {name}", 30)
    kube.run("label", kind, name, "--overwrite", "sdoperator.dev/instance=another")
    kube.wait(restored, f"the label of {kind} {name}", 30)
    kube.run("patch", kind, name, "--type=merge", "-p", json.dumps({"metadata": {"ownerReferences": None}}))
    kube.wait(
        lambda: kube.get(kind, name)["metadata"].get("ownerReferences") == before["ownerReferences"],
        f"the owner of {kind} {name}",
        30,
    )
    assert kube.get(kind, name)["metadata"]["uid"] == before["uid"]


def test_what_others_add_stays_theirs(kube: Kube) -> None:
    for kind, name in CHILDREN:
        kube.run("annotate", kind, name, "example.org/team=art")
    kube.run("delete", "service", "whole-pods")
    kube.wait(lambda: kube.get("service", "whole-pods"), "the headless Service", 30)
    for kind, name in CHILDREN:
        if name != "whole-pods":
            assert kube.get(kind, name)["metadata"]["annotations"]["example.org/team"] == "art", kind


def test_a_killed_pod_is_replaced_and_the_status_tells_meanwhile(kube: Kube) -> None:
    victim = kube.pods("whole")[0]["metadata"]["name"]
    kube.run("delete", "pod", victim, "--grace-period=0", "--force")
    told = kube.wait(
        lambda: kube.condition("sdinstance", "whole", "Reconciling").get("status") == "True" or None,
        "Reconciling",
        30,
    )
    assert told
    assert kube.condition("sdinstance", "whole", "Ready")["status"] == "True", "the other one serves"
    kube.wait(lambda: kube.get("sdinstance", "whole")["status"]["models"]["loaded"] == 2, "two pods", 120)
    assert victim not in [pod["metadata"]["name"] for pod in kube.pods("whole")]


def test_scaled_down_to_one_it_has_no_use_for_some_children(kube: Kube) -> None:
    kube.run("scale", "sdinstance/whole", "--replicas=1")
    gone = "poddisruptionbudget/whole", "service/whole-pods"
    kube.wait(
        lambda: not kube.run("get", *gone, "--ignore-not-found", "-o", "name").strip(), "them to go", 60
    )


@pytest.mark.long
def test_other_peoples_objects_are_not_taken_over(kube: Kube) -> None:
    metadata = {"name": "mine-runtime", "labels": {"team": "art"}}
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    kube.apply(instance("mine"))
    stalled = kube.wait_condition("sdinstance", "mine", "Stalled")
    assert stalled["reason"] == "NameTaken"
    assert "ServiceAccount mine-runtime" in stalled["message"]
    assert kube.get("serviceaccount", "mine-runtime")["metadata"]["labels"] == {"team": "art"}
    kube.run("delete", "serviceaccount/mine-runtime")
    kube.wait_condition("sdinstance", "mine", "Ready", seconds=240)
    kube.run("delete", "sdinstance/mine")
