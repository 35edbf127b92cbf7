"""What an instance is refused for, waits for and serves, and when it is ready: as tables."""

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
from sd_operator.errors import ManifestError, RuntimeUnreachableError
from sd_operator.instance.checkpoint import Checkpoint, written_on
from sd_operator.instance.decide import plan
from sd_operator.instance.observe import Observed
from sd_operator.instance.readiness import readiness
from sd_operator.pods import Trouble
from sd_operator.runtime_client import RuntimeState

PATH = "models/Stable-diffusion/base.safetensors"
CHECKPOINT = Checkpoint(bundle="sd15", file="base", path=PATH, sha256=SHA, size=1000)
VERIFIED = {"name": "base", "state": "Verified", "sha256": SHA, "path": PATH, "size": 1000}


def an_instance(name: str = "demo", **spec: Any) -> SDInstance:
    manifest = instance(name, **spec)
    manifest["metadata"]["uid"] = "instance-uid"
    return parse(SDInstance, manifest)


def a_bundle(
    name: str = "sd15", *, files: list[Any] | None = None, status: Any = (VERIFIED,), seen: int = 1
) -> ModelBundle:
    manifest = bundle(name, files=files)
    manifest["metadata"].update(uid=f"{name}-uid", generation=1)
    of = parse(ModelBundle, manifest)
    told = [{"job": job_name(of, of.spec.files[0]), **each} for each in status]
    manifest["status"] = {"observedGeneration": seen, "files": told}
    return parse(ModelBundle, manifest)


def a_deployment(
    *, owner: str = "instance-uid", checkpoint: Checkpoint | None = CHECKPOINT, **status: Any
) -> Any:
    annotations = {names.ANNOTATION_CHECKPOINT: checkpoint.annotation()} if checkpoint else {}
    numbers = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    return {
        "metadata": {
            "name": "demo",
            "generation": 2,
            "ownerReferences": [
                {
                    "apiVersion": "sdoperator.dev/v1alpha1",
                    "kind": "SDInstance",
                    "name": "demo",
                    "uid": owner,
                    "controller": True,
                }
            ],
        },
        "spec": {"template": {"metadata": {"annotations": annotations}}},
        "status": {"observedGeneration": 2, **numbers, **status},
    }


def observed(**changes: Any) -> Observed:
    world: dict[str, Any] = {
        "instance": an_instance(),
        "now": datetime.datetime.now(tz=datetime.UTC),
        "bundles": {"sd15": a_bundle()},
        "claims": frozenset({"sd15"}),
    }
    return Observed(**{**world, **changes})


TWO = {"models": [{"name": "sd15"}, {"name": "more"}]}
STRANGER = {"metadata": {"name": "demo"}, "spec": {}}


@pytest.mark.parametrize(
    ("changes", "state", "reason", "words"),
    [
        pytest.param(
            {"instance": an_instance("1demo")},
            "Stalled",
            "InvalidSpec",
            "metadata.name: '1demo'",
            id="a name no Service can have",
        ),
        pytest.param(
            {"instance": an_instance(access={"auth": "Required"})},
            "Stalled",
            "InvalidSpec",
            "spec.access.authSecretRef",
            id="auth without a secret",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "Whole"}, resources={"limits": {"nvidia.com/gpu": 2}})},
            "Stalled",
            "InvalidSpec",
            "spec.resources.limits[nvidia.com/gpu]",
            id="a GPU asked for twice",
        ),
        pytest.param(
            {"instance": an_instance(checkpoint={"bundle": "x", "file": "base"})},
            "Stalled",
            "InvalidSpec",
            "spec.checkpoint.bundle: 'x' is not in spec.models (sd15)",
            id="a checkpoint outside models",
        ),
        pytest.param(
            {"deployment": STRANGER}, "Stalled", "NameTaken", "Deployment demo", id="a stranger's Deployment"
        ),
        pytest.param(
            {"service": STRANGER}, "Stalled", "NameTaken", "Service demo", id="a stranger's Service"
        ),
        pytest.param(
            {"deployment": a_deployment(owner="earlier")},
            "Reconciling",
            "WaitingForDeletion",
            "earlier",
            id="the Deployment of an earlier instance",
        ),
        pytest.param(
            {"bundles": {"sd15": None}},
            "Reconciling",
            "BundleNotFound",
            "spec.models[0].name",
            id="no such bundle",
        ),
        pytest.param(
            {"bundles": {"sd15": ManifestError("spec.files: missing")}},
            "Reconciling",
            "BundleNotReady",
            "spec.files: missing",
            id="a bundle that cannot be read",
        ),
        pytest.param(
            {"instance": an_instance(**TWO), "bundles": {"sd15": a_bundle(), "more": a_bundle("more")}},
            "Stalled",
            "PathConflict",
            "'sd15' and 'more' both offer " + PATH,
            id="two bundles, one path",
        ),
        pytest.param(
            {"instance": an_instance(checkpoint={"bundle": "sd15", "file": "x"})},
            "Stalled",
            "FileNotFound",
            "'x' is not a file of ModelBundle 'sd15' (it has base)",
            id="no such file",
        ),
        pytest.param(
            {"claims": frozenset()}, "Reconciling", "BundleNotReady", "sd15-models", id="no volume yet"
        ),
        pytest.param(
            {"claims": frozenset(), "leaving_claims": frozenset({"sd15"})},
            "Reconciling",
            "BundleNotReady",
            "(PersistentVolumeClaim sd15-models) is being deleted",
            id="a volume that goes",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(status=[{**VERIFIED, "job": "of-an-earlier-spec"}])}},
            "Reconciling",
            "BundleNotReady",
            "not verified yet",
            id="a file that was verified for an earlier spec",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(files=[file(sha256=OTHER_SHA)])}},
            "Reconciling",
            "BundleNotReady",
            "not verified yet",
            id="a file that is not the one asked for",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "None"}, resources={"requests": {"nvidia.com/gpu": 1}})},
            "Stalled",
            "InvalidSpec",
            "spec.resources.requests[nvidia.com/gpu]: spec.gpu.backend is None",
            id="a GPU asked for past the backend",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(seen=0)}},
            "Reconciling",
            "BundleNotReady",
            "not verified yet",
            id="a bundle that changed just now",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(status=())}},
            "Reconciling",
            "BundleNotReady",
            "not verified yet",
            id="a file without a state",
        ),
        pytest.param(
            {
                "bundles": {
                    "sd15": a_bundle(
                        status=[
                            {"name": "base", "state": "Failed", "reason": "NotFound", "message": "HTTP 404"}
                        ]
                    )
                }
            },
            "Reconciling",
            "BundleNotReady",
            "is Failed: NotFound: HTTP 404",
            id="a file that failed",
        ),
    ],
)
def test_why_there_is_nothing_to_serve(changes: dict[str, Any], state: str, reason: str, words: str) -> None:
    planned = plan(observed(**changes))
    assert planned.checkpoint is None
    assert planned.verdict is not None
    assert (planned.verdict.state.value, planned.verdict.reason) == (state, reason)
    assert words in planned.verdict.message


def test_a_verified_checkpoint_is_served() -> None:
    planned = plan(observed())
    assert (planned.checkpoint, planned.verdict) == (CHECKPOINT, None)


def test_two_bundles_with_different_files_go_together() -> None:
    more = a_bundle("more", files=[file("other")])
    assert (
        plan(
            observed(
                instance=an_instance(**TWO),
                bundles={"sd15": a_bundle(), "more": more},
                claims=frozenset({"sd15", "more"}),
            )
        ).checkpoint
        == CHECKPOINT
    )


@pytest.mark.parametrize(
    ("live", "kept"),
    [
        (CHECKPOINT, True),
        (None, False),
        (Checkpoint(bundle="sd15", file="another", path=PATH, sha256=SHA, size=1), True),
    ],
    ids=["the same file", "nothing", "another file"],
)
def test_while_the_file_is_fetched_anew_what_is_served_stays(live: Checkpoint | None, kept: bool) -> None:
    world = observed(bundles={"sd15": a_bundle(seen=0)}, deployment=a_deployment(checkpoint=live))
    planned = plan(world)
    assert planned.checkpoint == (live if kept else None)
    assert planned.verdict is not None and planned.verdict.reason == "BundleNotReady"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"bundles": {"sd15": None}}, id="the bundle is gone"),
        pytest.param(
            {"instance": an_instance(checkpoint={"bundle": "sd15", "file": "x"})}, id="no such file"
        ),
        pytest.param(
            {
                "instance": an_instance(models=[{"name": "sd15"}, {"name": "more"}]),
                "bundles": {"sd15": a_bundle(), "more": a_bundle("more")},
            },
            id="two bundles, one path",
        ),
        pytest.param(
            {"claims": frozenset(), "leaving_claims": frozenset({"sd15"})}, id="the volume is being deleted"
        ),
        pytest.param(
            {
                "instance": an_instance(
                    models=[{"name": "new"}], checkpoint={"bundle": "new", "file": "base"}
                ),
                "bundles": {"new": None},
            },
            id="another bundle that does not exist",
        ),
    ],
)
def test_what_serves_is_looked_after_whatever_the_bundles_lack(changes: dict[str, Any]) -> None:
    deployment = a_deployment()
    deployment["spec"]["template"]["spec"] = {
        "containers": [{"volumeMounts": [{"mountPath": "/bundles/sd15"}, {"mountPath": "/tmp"}]}]
    }
    planned = plan(observed(**changes, deployment=deployment))
    assert planned.checkpoint == CHECKPOINT
    assert planned.verdict is not None
    assert "until then the pods keep serving sd15/base" in planned.verdict.message
    assert [model.name for model in planned.instance.spec.models] == ["sd15"]


def test_nothing_is_said_of_pods_that_shall_not_be() -> None:
    world = observed(
        instance=an_instance(replicas=0), bundles={"sd15": None}, deployment=a_deployment(replicas=0)
    )
    planned = plan(world)
    assert planned.checkpoint == CHECKPOINT
    assert planned.verdict is not None and "keep serving" not in planned.verdict.message


def test_children_that_lost_their_owner_are_ours_and_those_of_strangers_are_not() -> None:
    orphan = {
        "metadata": {
            "name": "demo",
            "labels": {names.LABEL_MANAGED_BY: "sd-operator", names.LABEL_SD_INSTANCE: "demo"},
            "annotations": {names.ANNOTATION_APPLIED: "x"},
        },
        "spec": {"template": {}},
    }
    assert plan(observed(deployment=orphan, service=orphan)).verdict is None
    for part in ("labels", "annotations"):
        stranger = {**orphan, "metadata": {**orphan["metadata"], part: {}}}  # type: ignore[dict-item]
        verdict = plan(observed(deployment=stranger)).verdict
        assert verdict is not None and verdict.reason == "NameTaken"


def test_an_annotation_edited_by_hand_is_no_checkpoint() -> None:
    template = {"metadata": {"annotations": {names.ANNOTATION_CHECKPOINT: '{"bundle": 1'}}}
    assert written_on(template) is None
    template["metadata"]["annotations"][names.ANNOTATION_CHECKPOINT] = '{"surprise": 1}'
    assert written_on(template) is None


def a_pod(name: str = "p", *, checkpoint: Checkpoint = CHECKPOINT) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": f"{name}-uid",
            "annotations": {names.ANNOTATION_CHECKPOINT: checkpoint.annotation()},
            "creationTimestamp": timestamp(),
        }
    }


LOADING = RuntimeState(health="Loading")
BROKEN = RuntimeState(health="LoadFailed", error="base.safetensors: header is cut")


def without_credentials(words: str) -> RuntimeState:
    told = {"health": "Ready", "credentials": "Missing", "credentialsError": words}
    return RuntimeState.model_validate({**holding(SHA).as_manifest(), **told})


OLD = Checkpoint(bundle="sd15", file="base", path=PATH, sha256=OTHER_SHA, size=1000)
QUOTA = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}


@pytest.mark.parametrize(
    ("changes", "state", "reason", "words"),
    [
        pytest.param({}, "Ready", "CheckpointLoaded", "1 of 1 pod", id="loaded"),
        pytest.param(
            {"states": {"p-uid": without_credentials("it has no key 'password'")}},
            "Stalled",
            "CredentialsMissing",
            "spec.access.authSecretRef: Secret login: it has no key 'password'",
            id="nobody can be let in",
        ),
        pytest.param(
            {"states": {"p-uid": holding(SHA).model_copy(update={"credentials": "Present"})}},
            "Ready",
            "CheckpointLoaded",
            "",
            id="users can be let in",
        ),
        pytest.param({"states": {"p-uid": LOADING}}, "Reconciling", "Loading", "0 of 1 pod", id="loading"),
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
            {"states": {"p-uid": holding(OTHER_SHA)}},
            "Reconciling",
            "WrongCheckpoint",
            OTHER_SHA[:12],
            id="holds something else",
        ),
        pytest.param(
            {"pods": (), "deployment": a_deployment(replicas=0, updatedReplicas=0, readyReplicas=0)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="no pod yet",
        ),
        pytest.param(
            {"pods": (run(a_pod(checkpoint=OLD)),)},
            "Reconciling",
            "Loading",
            "0 of 1 pod",
            id="a pod of an earlier rollout",
        ),
        pytest.param(
            {"pods": (wait(a_pod(), "ImagePullBackOff", "not found"),), "states": {}},
            "Stalled",
            "ImagePullBackOff",
            "spec.image: pod p",
            id="the image cannot be pulled",
        ),
        pytest.param(
            {"pods": (wait(a_pod(), "CrashLoopBackOff", "back-off 40s"),), "states": {}},
            "Stalled",
            "CrashLoopBackOff",
            "back-off 40s",
            id="it crashes",
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
            {
                "instance": an_instance(gpu={"backend": "Whole"}),
                "states": {"p-uid": holding(SHA, device="cuda")},
            },
            "Ready",
            "CheckpointLoaded",
            "",
            id="a GPU is used",
        ),
        pytest.param(
            {"deployment": a_deployment(observedGeneration=1)},
            "Reconciling",
            "RollingOut",
            "just been",
            id="the Deployment changed just now",
        ),
        pytest.param(
            {"deployment": a_deployment(replicas=2)},
            "Reconciling",
            "RollingOut",
            "2 exist",
            id="an old pod is left",
        ),
        pytest.param(
            {"instance": an_instance(replicas=2), "deployment": a_deployment(replicas=2, updatedReplicas=2)},
            "Reconciling",
            "Loading",
            "1 of 2 pods",
            id="one of two",
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
    world: dict[str, Any] = {
        "deployment": a_deployment(),
        "pods": (run(a_pod()),),
        "states": {"p-uid": holding(SHA)},
    }
    verdict = readiness(observed(**{**world, **copy.deepcopy(changes)}), CHECKPOINT)
    assert (verdict.state.value, verdict.reason) == (state, reason)
    assert words in verdict.message


def test_an_unplaced_pod_tells_in_the_scheduler_s_words() -> None:
    pod = a_pod()
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
        ],
    }
    verdict = readiness(observed(deployment=a_deployment(readyReplicas=0), pods=(pod,)), CHECKPOINT)
    assert (verdict.state.value, verdict.reason) == ("Reconciling", "Unschedulable")
    assert words in verdict.message
