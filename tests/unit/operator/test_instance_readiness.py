"""When an instance is ready, what is under way besides, and what only a person can mend: as tables."""

import copy
import datetime
from typing import Any

import pytest
from operator_fakes import OTHER_SHA, SHA, bundle, file, holding, instance, run, timestamp, wait

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.fetching import job_name
from sd_operator.api.instance import SDInstance
from sd_operator.errors import RuntimeUnreachableError
from sd_operator.instance.desired import Checkpoint, Desired
from sd_operator.instance.observe import Observed
from sd_operator.instance.readiness import readiness
from sd_operator.pods import Trouble
from sd_operator.runtime_client import RuntimeState

PATH = "models/Stable-diffusion/base.safetensors"
DESIRED = Desired(checkpoint=Checkpoint(bundle="sd15", file="base", path=PATH, sha256=SHA, size=1000))
NOW, BEFORE = "template-of-now", "template-of-before"


def an_instance(**spec: Any) -> SDInstance:
    manifest = instance(**spec)
    manifest["metadata"]["uid"] = "instance-uid"
    return parse(SDInstance, manifest)


def a_bundle() -> ModelBundle:
    """With the checkpoint and another verified file."""
    manifest = bundle(files=[file(), file("other")])
    manifest["metadata"].update(uid="sd15-uid", generation=1)
    of = parse(ModelBundle, manifest)
    told = [
        {
            "name": each.name,
            "job": job_name(of, each),
            "state": "Verified",
            "sha256": SHA,
            "path": f"models/Stable-diffusion/{each.name}.safetensors",
        }
        for each in of.spec.files
    ]
    manifest["status"] = {"observedGeneration": 1, "files": told}
    return parse(ModelBundle, manifest)


def a_deployment(**status: Any) -> dict[str, Any]:
    numbers = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    return {
        "metadata": {"name": "demo", "generation": 2},
        "spec": {"template": {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE: NOW}}}},
        "status": {"observedGeneration": 2, **numbers, **status},
    }


def a_pod(name: str = "p", *, template: str = NOW) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": f"{name}-uid",
            "annotations": {names.ANNOTATION_TEMPLATE: template},
            "creationTimestamp": timestamp(),
        }
    }


def serving(**more: Any) -> RuntimeState:
    return holding(SHA, revision=DESIRED.revision, **more)


def observed(**changes: Any) -> Observed:
    world: dict[str, Any] = {
        "instance": an_instance(),
        "now": datetime.datetime.now(tz=datetime.UTC),
        "deployment": a_deployment(),
        "pods": (run(a_pod()),),
        "states": {"p-uid": serving()},
    }
    world.update(copy.deepcopy(changes))
    deployment = world.pop("deployment")
    return Observed(**world, children={("Deployment", "demo"): deployment})


LOADING = RuntimeState(health="Loading")
BROKEN = RuntimeState(health="LoadFailed", error="base.safetensors: header is cut")
QUOTA = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
EFFECT = {"revision": DESIRED.revision, "inEffect": False}
PULL = wait(a_pod(), "ImagePullBackOff", "not found")
CRASHED = run(a_pod(), ready=False)
CRASHED["status"]["containerStatuses"][0].update(
    restartCount=5, lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
)
UNPLACED = a_pod() | {
    "status": {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            }
        ],
    }
}


@pytest.mark.parametrize(
    ("changes", "state", "reason", "words"),
    [
        pytest.param({}, "Ready", "CheckpointLoaded", "1 of 1 pod", id="loaded"),
        pytest.param(
            {"states": {"p-uid": serving(credentials="Missing", credentialsError="no key 'password'")}},
            "Stalled",
            "CredentialsMissing",
            "spec.access.authSecretRef: Secret login: no key 'password'",
            id="nobody can be let in",
        ),
        pytest.param(
            {"states": {"p-uid": serving(credentials="Present")}},
            "Ready",
            "CheckpointLoaded",
            "",
            id="users can be let in",
        ),
        pytest.param({"states": {"p-uid": LOADING}}, "Reconciling", "Loading", "0 of 1 pod", id="loading"),
        pytest.param(
            {"states": {"p-uid": holding(SHA)}}, "Reconciling", "Loading", "0 of 1", id="not told yet"
        ),
        pytest.param(
            {"states": {"p-uid": holding(OTHER_SHA, desired=EFFECT)}},
            "Reconciling",
            "WrongCheckpoint",
            OTHER_SHA[:12],
            id="told, and still on the earlier checkpoint",
        ),
        pytest.param(
            {"states": {"p-uid": holding(OTHER_SHA, desired={**EFFECT, "error": "base: header is cut"})}},
            "Stalled",
            "LoadFailed",
            "spec.checkpoint: pod p: base: header is cut; it keeps serving what it had",
            id="told, and the new checkpoint cannot be loaded",
        ),
        pytest.param(
            {"states": {"p-uid": holding(OTHER_SHA, revision=DESIRED.revision)}},
            "Reconciling",
            "WrongCheckpoint",
            OTHER_SHA[:12],
            id="in effect by its own word, but with other bytes",
        ),
        pytest.param(
            {"states": {"p-uid": serving(optionErrors=[{"name": "eta", "message": "not served"}])}},
            "Stalled",
            "OptionRefused",
            "spec.options[eta]: not served",
            id="an option that is not served",
        ),
        pytest.param(
            {"states": {"p-uid": RuntimeUnreachableError("refused")}, "pods": (run(a_pod(), ready=False),)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="not listening yet",
        ),
        pytest.param(
            {"pods": (run(a_pod(), ready=False),)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="loaded, but not yet in the Service",
        ),
        pytest.param(
            {"states": {"p-uid": RuntimeUnreachableError("timed out")}},
            "Reconciling",
            "RuntimeUnreachable",
            "timed out",
            id="ready, but out of our reach",
        ),
        pytest.param(
            {"states": {"p-uid": BROKEN}}, "Stalled", "LoadFailed", "header is cut", id="cannot load"
        ),
        pytest.param(
            {"pods": (), "deployment": a_deployment(replicas=0, updatedReplicas=0, readyReplicas=0)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="no pod yet",
        ),
        pytest.param(
            {"pods": (run(a_pod(template=BEFORE)),)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="a pod of an earlier rollout",
        ),
        pytest.param(
            {"pods": (PULL,), "states": {}},
            "Stalled",
            "ImagePullBackOff",
            "spec.image: pod p",
            id="the image cannot be pulled",
        ),
        pytest.param(
            {"pods": (run(a_pod("old", template=BEFORE)), PULL), "states": {}},
            "Stalled",
            "ImagePullBackOff",
            "1 pod of before still serve",
            id="the image cannot be pulled, and the old pod serves",
        ),
        pytest.param(
            {"pods": (run(a_pod("old", template=BEFORE)), run(a_pod())), "states": {"p-uid": BROKEN}},
            "Stalled",
            "LoadFailed",
            "1 pod of before still serve",
            id="the new pod cannot load, and the old one serves",
        ),
        pytest.param(
            {"pods": (wait(a_pod(), "CrashLoopBackOff", "back-off 40s", crashes=2),), "states": {}},
            "Stalled",
            "CrashLoopBackOff",
            "back-off 40s",
            id="it crashes and crashes",
        ),
        pytest.param(
            {"pods": (wait(a_pod(), "CrashLoopBackOff", "back-off 10s", crashes=1),), "states": {}},
            "Reconciling",
            "CrashLoopBackOff",
            "back-off 10s",
            id="it crashed once",
        ),
        pytest.param(
            {"pods": (CRASHED,), "states": {"p-uid": LOADING}},
            "Stalled",
            "CrashLoopBackOff",
            "spec.resources: pod p, container runtime: it runs again, and is not ready; it last ended with "
            "exit code 137 (OOMKilled)",
            id="it runs between two crashes",
        ),
        pytest.param(
            {
                "pods": (wait(a_pod(), "ContainerCreating", ""),),
                "states": {},
                "warnings": {"p-uid": Trouble("FailedMount", 'pod p: secret "login" not found', False)},
            },
            "Reconciling",
            "FailedMount",
            'spec.access.authSecretRef: pod p: secret "login" not found',
            id="a volume is missing",
        ),
        pytest.param(
            {"deployment": a_deployment(conditions=[QUOTA]), "pods": (), "states": {}},
            "Stalled",
            "FailedCreate",
            "spec.resources: exceeded quota",
            id="pods may not be made",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "Whole"})},
            "Stalled",
            "GPUNotUsed",
            "spec.gpu.backend is Whole",
            id="a GPU was asked for",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "Auto"})},
            "Stalled",
            "GPUNotUsed",
            "spec.gpu.backend is Auto",
            id="a GPU was asked for, whichever",
        ),
        pytest.param(
            {
                "instance": an_instance(gpu={"backend": "Whole"}),
                "states": {"p-uid": serving(device="cuda")},
            },
            "Ready",
            "CheckpointLoaded",
            "",
            id="a GPU is used",
        ),
        pytest.param(
            {"pods": (UNPLACED,), "states": {}, "instance": an_instance(gpu={"backend": "Whole"})},
            "Reconciling",
            "Unschedulable",
            "spec.gpu: pod p: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            id="no node has what it needs now",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle()}, "claims": {"sd15": {}}},
            "Reconciling",
            "FilesMissing",
            "/bundles/sd15/models/Stable-diffusion/other.safetensors",
            id="another file of the bundle is not there",
        ),
        pytest.param(
            {
                "bundles": {"sd15": a_bundle()},
                "claims": {"sd15": {}},
                "states": {
                    "p-uid": serving(
                        files=[
                            {
                                "root": "/bundles/sd15",
                                "path": "models/Stable-diffusion/other.safetensors",
                                "sha256": SHA,
                            }
                        ]
                    )
                },
            },
            "Ready",
            "CheckpointLoaded",
            "",
            id="every other file is there",
        ),
        pytest.param(
            {"instance": an_instance(replicas=0)},
            "Reconciling",
            "RollingOut",
            "1 pod still to end",
            id="scaled to zero, a pod is left",
        ),
        pytest.param(
            {"instance": an_instance(replicas=0), "pods": (), "leaving": 2},
            "Reconciling",
            "RollingOut",
            "2 pods still to end",
            id="scaled to zero, pods are leaving",
        ),
        pytest.param(
            {"instance": an_instance(replicas=0), "pods": ()},
            "Ready",
            "ScaledToZero",
            "",
            id="scaled to zero",
        ),
    ],
)
def test_readiness(changes: dict[str, Any], state: str, reason: str, words: str) -> None:
    verdict = readiness(observed(**changes), DESIRED)
    assert (verdict.state.value, verdict.reason) == (state, reason)
    assert words in verdict.message
    assert verdict.underway is None


SECOND = wait(a_pod("q"), "ImagePullBackOff", "not found")


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        pytest.param(
            {"deployment": a_deployment(observedGeneration=1)},
            "RollingOut",
            "just been",
            id="the Deployment changed just now",
        ),
        pytest.param(
            {"deployment": a_deployment(replicas=2)}, "RollingOut", "2 exist", id="an old pod is left"
        ),
        pytest.param({"instance": an_instance(replicas=2)}, "Loading", "1 of 2 pods", id="one of two"),
        pytest.param(
            {"instance": an_instance(replicas=2), "pods": (run(a_pod()), SECOND)},
            "ImagePullBackOff",
            "pod q",
            id="one of two cannot start",
        ),
        pytest.param(
            {
                "instance": an_instance(replicas=2),
                "pods": (run(a_pod()), run(a_pod("q"), ready=False)),
                "states": {"p-uid": serving(), "q-uid": BROKEN},
            },
            "LoadFailed",
            "header is cut",
            id="one of two cannot load",
        ),
        pytest.param(
            {
                "instance": an_instance(replicas=2),
                "pods": (run(a_pod()),),
                "deployment": a_deployment(conditions=[QUOTA]),
            },
            "Loading",
            "1 of 2 pods",
            id="one of two may not be made",
        ),
    ],
)
def test_one_replica_that_serves_is_ready_and_the_rest_is_under_way(
    changes: dict[str, Any], reason: str, words: str
) -> None:
    verdict = readiness(observed(**changes), DESIRED)
    assert (verdict.state.value, verdict.reason) == ("Ready", "CheckpointLoaded")
    assert verdict.underway is not None
    assert verdict.underway[0] == reason
    assert words in verdict.underway[1]
