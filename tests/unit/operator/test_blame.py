"""The cluster's words, and the field of the spec that a person can change."""

import pytest

from sd_operator import blame


@pytest.mark.parametrize(
    ("reason", "message", "field"),
    [
        ("ImagePullBackOff", "pod p, container runtime: manifest unknown", "spec.image"),
        (
            "FailedMount",
            'pod p: MountVolume.SetUp failed: secret "login" not found',
            "spec.access.authSecretRef",
        ),
        ("Unschedulable", "0/3 nodes are available: 3 Insufficient memory.", "spec.resources"),
        ("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "spec.gpu"),
        ("Unschedulable", "0/1 nodes are available: 1 node(s) had untolerated taint(s).", "spec.tolerations"),
        (
            "Unschedulable",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "spec.nodeSelector",
        ),
        (
            "FailedCreate",
            'pods "demo-x" is forbidden: pod rejected: RuntimeClass "nvidia" not found',
            "spec.runtimeClassName",
        ),
        (
            "ChildRejected",
            'Deployment.apps "demo" is invalid: spec.template.spec.containers[0].resources.limits: Invalid',
            "spec.resources",
        ),
    ],
)
def test_an_instance_names_its_field(reason: str, message: str, field: str) -> None:
    unset = frozenset({"spec.affinity"} | ({"spec.gpu"} if "spec.gpu" not in field else set()))
    assert blame.named(blame.INSTANCE, reason, message, unset=unset) == f"{field}: {message}"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (
            'PersistentVolumeClaim x: storageclass.storage.k8s.io "fast" not found',
            "spec.storage.storageClassName",
        ),
        (
            'PersistentVolumeClaim "x" is invalid: spec: Forbidden: spec is immutable after creation',
            "spec.storage",
        ),
    ],
)
def test_a_bundle_names_its_field(message: str, field: str) -> None:
    assert blame.named(blame.BUNDLE, "ProvisioningFailed", message) == f"{field}: {message}"


def test_of_two_fields_the_one_that_was_written_is_to_blame_and_without_a_clue_none() -> None:
    words = "1 node(s) didn't match Pod's node affinity/selector."
    assert blame.named(
        blame.INSTANCE, "Unschedulable", words, unset=frozenset({"spec.nodeSelector", "spec.gpu"})
    ) == (f"spec.affinity: {words}")
    assert blame.named(blame.INSTANCE, "Unschedulable", "not placed yet") == "not placed yet"
