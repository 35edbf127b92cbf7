"""What keeps an instance from serving is told in the cluster's own words, behind the field to change."""

import json

import pytest
from cluster import Cluster, Kube
from shapes import bundle, instance, secret


@pytest.fixture(scope="module", autouse=True)
def models(kube: Kube) -> None:
    kube.apply(bundle(), secret())
    kube.wait_condition("modelbundle", "shapes", "Ready")


@pytest.mark.parametrize(
    ("spec", "reasons", "words"),
    [
        pytest.param({"image": "localhost/no/such-image:1"}, {"ImagePullBackOff"}, "spec.image", id="image"),
        pytest.param({"image": "Not An Image"}, {"InvalidImageName"}, "spec.image", id="image name"),
        pytest.param(
            {"nodeSelector": {"no": "such-node"}}, {"Unschedulable"}, "spec.nodeSelector", id="node"
        ),
        pytest.param(
            {"resources": {"requests": {"memory": "900Ti"}}}, {"Unschedulable"}, "spec.resources", id="memory"
        ),
        pytest.param(
            {"runtimeClassName": "no-such-class"},
            {"ChildRejected", "FailedCreate"},
            "spec.runtimeClassName",
            id="runtime class",
        ),
        pytest.param(
            {"access": {"authSecretRef": {"name": "no-such-secret"}}},
            {"FailedMount"},
            "spec.access.authSecretRef",
            id="secret",
        ),
        pytest.param(
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "k"}}}]},
            {"CreateContainerConfigError"},
            "spec.env",
            id="variable",
        ),
        pytest.param(
            {"outputs": {"size": "1Gi", "storageClassName": "no-such-class"}},
            {"Unschedulable"},
            "spec.outputs",
            id="storage class",
        ),
        pytest.param(
            {"env": [{"name": "SD_LOG_LEVEL", "value": "DEBUG"}]}, None, "", id="it starts all the same"
        ),
    ],
)
def test_a_trouble_is_named(
    kube: Kube, request: pytest.FixtureRequest, spec: dict[str, object], reasons: set[str] | None, words: str
) -> None:
    name = "t-" + request.node.callspec.id.replace(" ", "-")[:20]
    kube.apply(instance(name, **spec))

    def told() -> str | None:
        ready = kube.condition("sdinstance", name, "Ready")
        if reasons is None:
            return ready.get("status") == "True" and "ready"
        return ready["message"] if ready.get("reason") in reasons else None

    message = kube.wait(told, f"{reasons} of {name}", 90)
    assert words in message
    assert kube.condition("sdinstance", name, "Ready")["status"] == ("True" if reasons is None else "False")
    kube.run("delete", "sdinstance", name, "--wait=false")


def test_a_quota_is_named(kube: Kube) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    kube.apply(quota)
    kube.apply(instance("quota"))
    stalled = kube.wait_condition("sdinstance", "quota", "Stalled")
    assert "exceeded quota" in stalled["message"] and "spec.resources" in stalled["message"]
    kube.run("delete", "resourcequota/none")
    kube.wait_condition("sdinstance", "quota", "Ready", seconds=240)
    status = kube.get("sdinstance", "quota")["status"]
    assert set(status["startup"]) == {"scheduleSeconds", "imageSeconds", "loadSeconds", "warmUpSeconds"}
    kube.run("delete", "sdinstance/quota")


@pytest.mark.long
def test_events_tell_of_transitions_only(kube: Kube) -> None:
    kube.apply(instance("told"))
    kube.wait_condition("sdinstance", "told", "Ready", seconds=240)
    kube.run("annotate", "sdinstance/told", "a=b")
    kube.run("scale", "sdinstance/told", "--replicas=0")
    kube.wait(
        lambda: kube.condition("sdinstance", "told", "Ready").get("reason") == "ScaledToZero",
        "ScaledToZero",
        120,
    )
    kube.run("scale", "sdinstance/told", "--replicas=1")
    kube.wait(
        lambda: kube.condition("sdinstance", "told", "Ready").get("reason") == "CheckpointLoaded",
        "Ready again",
        180,
    )
    uid = kube.get("sdinstance", "told")["metadata"]["uid"]
    events = json.loads(kube.run("get", "events", f"--field-selector=involvedObject.uid={uid}", "-o", "json"))
    told = [
        (event["type"], event["reason"])
        for event in sorted(events["items"], key=lambda event: event["firstTimestamp"])
    ]
    assert told[0] == ("Normal", "CheckpointLoaded")
    assert len(told) <= 5, told
    assert {kind for kind, _ in told} == {"Normal"}
    kube.run("delete", "sdinstance/told")


def test_a_suspended_instance_is_left_alone(kube: Kube) -> None:
    kube.apply(instance("still", suspend=False))
    kube.wait_condition("sdinstance", "still", "Ready", seconds=240)
    pod = kube.pods("still")[0]["metadata"]["uid"]
    changes = {"suspend": True, "podLabels": {"team": "art"}}
    kube.run("patch", "sdinstance/still", "--type=merge", "-p", json.dumps({"spec": changes}))
    stalled = kube.wait_condition("sdinstance", "still", "Stalled")
    assert stalled["reason"] == "Suspended" and "Deployment still" in stalled["message"]
    assert kube.pods("still")[0]["metadata"]["uid"] == pod
    kube.run("patch", "sdinstance/still", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    kube.wait_condition("sdinstance", "still", "Ready", seconds=240)
    assert kube.pods("still")[0]["metadata"]["labels"]["team"] == "art"
    kube.run("delete", "sdinstance/still")


def test_what_cannot_work_is_refused_by_the_api_server(kube: Kube, cluster: Cluster) -> None:
    for spec, words in (
        (
            {"outputs": {"size": "1Gi"}, "replicas": 2},
            "replicas above 1 need outputs.accessModes ReadWriteMany",
        ),
        (
            {"outputs": {"size": "1Gi"}, "rollout": {"strategy": "Surge"}},
            "rollout.strategy Surge needs outputs.accessModes ReadWriteMany",
        ),
        ({"gpu": {"backend": "None", "memory": "4Gi"}}, "gpu.memory has no meaning"),
        (
            {"env": [{"name": "SD_DEVICE", "value": "cpu"}]},
            "env must not set a variable that the operator sets",
        ),
        ({"podLabels": {"sdoperator.dev/instance": "x"}}, "podLabels must not set labels of the operator"),
        ({"gpu": {"backend": "Half"}}, 'supported values: "Auto", "Whole", "MIG", "DRA", "None"'),
        ({"rollout": {"drainTimeoutSeconds": 0}}, "greater than or equal to 1"),
    ):
        with pytest.raises(AssertionError, match=words.replace("(", r"\(")):
            kube.apply(instance("never", **spec))
