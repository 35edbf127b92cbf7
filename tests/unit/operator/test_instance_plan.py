"""What an instance is refused for, waits for and serves: as tables."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from operator_fakes import OTHER_SHA, SHA, bundle, file, instance

from sd_modelfiles.family import Family
from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.fetching import job_name
from sd_operator.api.instance import SDInstance
from sd_operator.errors import ManifestError
from sd_operator.gpu_profiles import GpuSettings
from sd_operator.instance.decide import exclusive, expected_files, plan, served, taken
from sd_operator.instance.desired import Checkpoint, Desired, written_on
from sd_operator.instance.gpu import Offers
from sd_operator.instance.observe import Observed

CONFIG = "demo-desired-0123abcd"
PATH = "models/Stable-diffusion/base.safetensors"
CHECKPOINT = Checkpoint(bundle="sd15", file="base", path=PATH, sha256=SHA, size=1000, family="SD15")
VERIFIED = {
    "name": "base",
    "state": "Verified",
    "sha256": SHA,
    "path": PATH,
    "size": 1000,
    "family": "SD15",
}
GPU = GpuSettings()
OWNER = [
    {
        "apiVersion": "sdoperator.dev/v1alpha1",
        "kind": "SDInstance",
        "name": "demo",
        "uid": "instance-uid",
        "controller": True,
    }
]


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
    jobs = {each.name: job_name(of, each) for each in of.spec.files}
    told = [{"job": jobs[each["name"]], **each} for each in status]
    manifest["status"] = {"observedGeneration": seen, "files": told}
    return parse(ModelBundle, manifest)


def a_claim(*modes: str, leaving: bool = False) -> dict[str, Any]:
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {}
    return {
        "metadata": {"name": "a-claim", **going},
        "spec": {"accessModes": list(modes or ["ReadWriteOnce"])},
    }


def a_config(checkpoint: Checkpoint | None = CHECKPOINT) -> dict[str, Any]:
    annotations = {names.ANNOTATION_CHECKPOINT: checkpoint.annotation()} if checkpoint else {}
    return {"metadata": {"name": CONFIG, "annotations": annotations, "ownerReferences": OWNER}}


def a_deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "demo", "generation": 2, "ownerReferences": OWNER},
        "spec": {
            "template": {
                "metadata": {},
                "spec": {
                    "containers": [{"volumeMounts": [{"mountPath": "/bundles/sd15"}, {"mountPath": "/tmp"}]}],
                    "volumes": [{"name": "desired", "configMap": {"name": CONFIG}}],
                },
            }
        },
    }


def observed(**changes: Any) -> Observed:
    world: dict[str, Any] = {
        "instance": an_instance(),
        "now": datetime.datetime.now(tz=datetime.UTC),
        "bundles": {"sd15": a_bundle()},
        "claims": {"sd15": a_claim()},
    }
    return Observed(**{**world, **changes})


DEPLOYED = {
    ("Deployment", "demo"): a_deployment(),
    ("ConfigMap", CONFIG): a_config(),
}
TWO = {"models": [{"name": "sd15"}, {"name": "more"}]}


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
            {"instance": an_instance(outputs={"size": "1Gi"}, replicas=2)},
            "Stalled",
            "InvalidSpec",
            "spec.replicas: 2 pods need spec.outputs.accessModes ReadWriteMany",
            id="several pods on a volume of one node",
        ),
        pytest.param(
            {"instance": an_instance(outputs={"size": "1Gi"}, rollout={"strategy": "Surge"})},
            "Stalled",
            "InvalidSpec",
            "spec.rollout.strategy",
            id="two pods at a time on a volume of one node",
        ),
        pytest.param(
            {"instance": an_instance(env=[{"name": "SD_DEVICE", "value": "cpu"}])},
            "Stalled",
            "InvalidSpec",
            "spec.env[SD_DEVICE]: the operator sets it",
            id="a variable of the operator",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "Whole", "memory": "4Ti"})},
            "Stalled",
            "NoGPUFits",
            "spec.gpu.memory",
            id="more memory than any GPU has",
        ),
        pytest.param(
            {"instance": an_instance(gpu={"backend": "DRA"}), "serves_claims": False},
            "Stalled",
            "InvalidSpec",
            "spec.gpu.backend",
            id="claims where the cluster has none",
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
        pytest.param({"claims": {}}, "Reconciling", "BundleNotReady", "sd15-models", id="no volume yet"),
        pytest.param(
            {"claims": {"sd15": a_claim(leaving=True)}},
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
            "spec.resources.requests[nvidia.com/gpu]: it is set by spec.gpu.backend",
            id="a GPU asked for past the backend",
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
    planned = plan(observed(**changes), GPU)
    assert planned.desired is None
    assert planned.verdict is not None
    assert (planned.verdict.state.value, planned.verdict.reason) == (state, reason)
    assert words in planned.verdict.message


@pytest.mark.parametrize("family", [each.value for each in Family])
def test_a_verified_checkpoint_of_any_family_is_served(family: str) -> None:
    verified = a_bundle(status=[{**VERIFIED, "family": family}])
    planned = plan(observed(bundles={"sd15": verified}), GPU)
    assert (planned.desired, planned.verdict) == (
        Desired(checkpoint=replace(CHECKPOINT, family=family)),
        None,
    )


def test_two_bundles_with_different_files_go_together() -> None:
    more = a_bundle("more", files=[file("other")], status=())
    world = observed(
        instance=an_instance(**TWO),
        bundles={"sd15": a_bundle(), "more": more},
        claims={"sd15": a_claim(), "more": a_claim()},
    )
    planned = plan(world, GPU)
    assert planned.desired is not None and planned.desired.checkpoint == CHECKPOINT


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
    children = {**DEPLOYED, ("ConfigMap", CONFIG): a_config(live)}
    planned = plan(observed(bundles={"sd15": a_bundle(status=())}, children=children), GPU)
    assert (planned.desired.checkpoint if planned.desired else None) == (live if kept else None)
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
        pytest.param({"claims": {"sd15": a_claim(leaving=True)}}, id="the volume is being deleted"),
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
    planned = plan(observed(**changes, children=DEPLOYED), GPU)
    assert planned.desired is not None and planned.desired.checkpoint == CHECKPOINT
    assert planned.verdict is not None
    assert "until then the pods keep serving sd15/base" in planned.verdict.message
    assert [model.name for model in planned.instance.spec.models] == ["sd15"]


def test_nothing_is_said_of_pods_that_shall_not_be() -> None:
    world = observed(instance=an_instance(replicas=0), bundles={"sd15": None}, children=DEPLOYED)
    planned = plan(world, GPU)
    assert planned.desired is not None
    assert planned.verdict is not None and "keep serving" not in planned.verdict.message


WISHES = [
    {"kind": "Deployment", "metadata": {"name": "demo"}},
    {"kind": "Service", "metadata": {"name": "demo"}},
]
STRANGER = {"metadata": {"name": "demo"}}
EARLIER = {"metadata": {"name": "demo", "ownerReferences": [{**OWNER[0], "uid": "of-an-earlier-one"}]}}
ORPHAN: dict[str, Any] = {
    "metadata": {
        "name": "demo",
        "labels": {names.LABEL_MANAGED_BY: "sd-operator", names.LABEL_SD_INSTANCE: "demo"},
        "annotations": {names.ANNOTATION_APPLIED: "x"},
    },
}


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
@pytest.mark.parametrize(
    ("live", "reason"),
    [
        pytest.param(STRANGER, "NameTaken", id="a stranger's"),
        pytest.param(EARLIER, "WaitingForDeletion", id="of an earlier instance of the name"),
        pytest.param(ORPHAN, None, id="ours that lost its owner reference"),
        pytest.param(
            {"metadata": {**ORPHAN["metadata"], "labels": {}}}, "NameTaken", id="without owner and labels"
        ),
        pytest.param(
            {"metadata": {**ORPHAN["metadata"], "annotations": {}}}, "NameTaken", id="never applied by us"
        ),
        pytest.param({"metadata": {"name": "demo", "ownerReferences": OWNER}}, None, id="ours"),
    ],
)
def test_whose_an_object_under_a_child_s_name_is(kind: str, live: dict[str, Any], reason: str | None) -> None:
    verdict = taken(observed(children={(kind, "demo"): live}), WISHES)
    assert (verdict.reason if verdict else None) == reason
    assert verdict is None or f"{kind} demo" in verdict.message


def test_an_annotation_edited_by_hand_is_no_checkpoint() -> None:
    config = a_config()
    for text in ('{"bundle": 1', '{"surprise": 1}'):
        config["metadata"]["annotations"][names.ANNOTATION_CHECKPOINT] = text
        assert written_on(config) is None


def test_what_a_stranger_s_config_map_says_is_not_served() -> None:
    config = a_config()
    deployed = {("Deployment", "demo"): a_deployment()}
    assert served(observed(children={**deployed, ("ConfigMap", CONFIG): config})) == CHECKPOINT
    config["metadata"]["ownerReferences"] = []
    assert served(observed(children={**deployed, ("ConfigMap", CONFIG): config})) is None


def test_a_volume_is_exclusive_unless_many_nodes_can_write_it() -> None:
    claims = {
        "one": a_claim(),
        "many": a_claim("ReadWriteMany"),
        "both": a_claim("ReadWriteOnce", "ReadWriteMany"),
    }
    assert exclusive(observed(claims=claims)) == {"one"}


def test_pods_must_find_every_verified_file_but_the_checkpoint() -> None:
    other = {
        **VERIFIED,
        "name": "other",
        "path": "models/Stable-diffusion/other.safetensors",
        "sha256": OTHER_SHA,
    }
    late = {"name": "late", "state": "Fetching"}
    many = a_bundle(files=[file(), file("other"), file("late")], status=[VERIFIED, other, late])
    files = expected_files(observed(bundles={"sd15": many}), Desired(checkpoint=CHECKPOINT))
    assert files == {("/bundles/sd15", other["path"]): OTHER_SHA}


def test_the_revision_is_of_the_content_and_there_and_back_is_the_same() -> None:
    plain = Desired(checkpoint=CHECKPOINT)
    other = Desired(checkpoint=CHECKPOINT, options={"CLIP_stop_at_last_layers": 2})
    assert plain.revision == Desired(checkpoint=CHECKPOINT, options={}).revision != other.revision
    renamed = Checkpoint(bundle="sd15", file="alias", path=PATH, sha256=SHA, size=1)
    assert Desired(checkpoint=renamed).revision == plain.revision


def test_the_gpu_of_an_auto_instance_is_chosen_by_what_there_is() -> None:
    auto = an_instance(gpu={"backend": "Auto"})
    whole = plan(observed(instance=auto, offers=Offers()), GPU)
    assert whole.allocation is not None and whole.allocation.backend == "Whole"
    dra = frozenset({"gpu.nvidia.com"})
    claims = plan(observed(instance=auto, offers=Offers(device_classes=dra, drivers=dra)), GPU)
    assert claims.allocation is not None and claims.allocation.backend == "DRA"
    assert plan(observed(), GPU).allocation is None
