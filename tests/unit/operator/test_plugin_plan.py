"""Which plugins pods run, and what is said where one of them, or what it needs, is missing: as tables."""

import datetime
import json
from typing import Any

import pytest
from instance_wishes import UID, with_uid
from operator_fakes import SHA, bundle, file, instance, plugin

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.fetching import job_name
from sd_operator.api.instance import SDInstance
from sd_operator.api.plugin import SDPlugin
from sd_operator.errors import ManifestError
from sd_operator.gpu_profiles import GpuSettings
from sd_operator.instance.decide import expected_files, has_pickles, plan
from sd_operator.instance.desired import Checkpoint, Desired
from sd_operator.instance.observe import Observed, mounted_claims
from sd_operator.instance.plugins import annotation, resolved, words_for_runtime

PATH = "models/Stable-diffusion/base.safetensors"
CHECKPOINT = Checkpoint(bundle="sd15", file="base", path=PATH, sha256=SHA, size=1000, family="SD15")
OWNER = [{"kind": "SDInstance", "name": "demo", "uid": UID, "controller": True}]
AUX = [{"name": "aux"}]


def an_instance(**spec: Any) -> SDInstance:
    return parse(SDInstance, with_uid(instance(**{"plugins": AUX, **spec})))


def a_plugin(name: str = "aux", **spec: Any) -> SDPlugin:
    return parse(SDPlugin, with_uid(plugin(name, **spec)))


def a_bundle(name: str = "sd15", *, type: str = "Checkpoint", policy: str = "SafetensorsOnly") -> ModelBundle:
    """With one verified file."""
    manifest = with_uid(bundle(name, files=[file(type=type)], formatPolicy=policy))
    manifest["metadata"]["generation"] = 1
    of = parse(ModelBundle, manifest)
    (spec,) = of.spec.files
    told = {"name": "base", "job": job_name(of, spec), "state": "Verified", "sha256": SHA, "size": 1000}
    told |= {"path": of.place_of(spec), "family": "SD15"}
    manifest["status"] = {"observedGeneration": 1, "files": [told]}
    return parse(ModelBundle, manifest)


def a_claim(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a-claim", **metadata}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def a_deployment(*running: Any) -> dict[str, Any]:
    """As it lives, with the ConfigMap that tells its pods the checkpoint."""
    annotations = {names.ANNOTATION_PLUGINS: annotation(running)} if running else {}
    pod = {
        "containers": [{"volumeMounts": [{"mountPath": "/bundles/sd15"}]}],
        "initContainers": [{"volumeMounts": [{"mountPath": "/bundles/weights"}]}],
        "volumes": [
            {"name": "desired", "configMap": {"name": "a-config"}},
            {"name": "bundle-weights", "persistentVolumeClaim": {"claimName": "of-weights"}},
        ],
    }
    metadata = {"name": "demo", "ownerReferences": OWNER, "annotations": annotations}
    return {"metadata": metadata, "spec": {"template": {"metadata": {}, "spec": pod}}}


CONFIG = {
    "metadata": {
        "name": "a-config",
        "ownerReferences": OWNER,
        "annotations": {names.ANNOTATION_CHECKPOINT: CHECKPOINT.annotation()},
    }
}
NEEDS = a_plugin(models=[{"name": "weights"}])
WEIGHTS = {"sd15": a_bundle(), "weights": a_bundle("weights", type="Annotator")}
CLAIMS = {"sd15": a_claim(), "weights": a_claim()}


def observed(**changes: Any) -> Observed:
    world: dict[str, Any] = {
        "instance": an_instance(),
        "now": datetime.datetime.now(tz=datetime.UTC),
        "bundles": WEIGHTS,
        "claims": CLAIMS,
        "plugins": {"aux": NEEDS},
        "catalog": "catalog",
    }
    return Observed(**{**world, **changes})


def deployed(*running: Any) -> dict[str, Any]:
    return {
        "children": {
            ("Deployment", "demo"): a_deployment(*running),
            ("ConfigMap", "a-config"): CONFIG,
        }
    }


def test_pods_run_the_plugins_of_the_spec_in_its_order() -> None:
    both = an_instance(plugins=[{"name": "edges"}, {"name": "aux"}])
    planned = plan(observed(instance=both, plugins={"aux": NEEDS, "edges": a_plugin("edges")}), GpuSettings())
    assert planned.verdict is None
    assert [each.name for each in planned.plugins] == ["edges", "aux"]
    assert planned.plugins[1].bundles == ("weights",)


MANY = [{"name": f"{'m' * 58}{n:03}", "matches": [f"{'x' * 60}{n:02}" for n in range(16)]} for n in range(64)]
HUGE = a_plugin(modules=MANY)


@pytest.mark.parametrize(
    ("changes", "state", "reason", "words"),
    [
        pytest.param(
            {"plugins": {"aux": None}},
            "Reconciling",
            "PluginNotFound",
            "spec.plugins[aux].name: SDPlugin 'aux': there is none in namespace ns; waiting for it",
            id="none in the namespace",
        ),
        pytest.param(
            {
                "instance": an_instance(plugins=[{"name": "aux", "scope": "Catalog"}]),
                "plugins": {"aux": None},
            },
            "Reconciling",
            "PluginNotFound",
            "there is none in the catalog, namespace catalog",
            id="none in the catalog",
        ),
        pytest.param(
            {
                "instance": an_instance(plugins=[{"name": "aux", "scope": "Catalog"}]),
                "plugins": {"aux": None},
                "catalog": "",
            },
            "Reconciling",
            "PluginNotFound",
            "scope is Catalog, and this operator was started without one (SDO_CATALOG_NAMESPACE)",
            id="no catalog",
        ),
        pytest.param(
            {"plugins": {"aux": ManifestError("spec.kind: Input should be …")}},
            "Reconciling",
            "PluginNotFound",
            "spec.kind: Input should be",
            id="a plugin that cannot be read",
        ),
        pytest.param(
            {"plugins": {"aux": a_plugin("Aux")}},
            "Stalled",
            "InvalidSpec",
            "its name cannot be that of a container",
            id="a name that no container can have",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(), "weights": None}},
            "Reconciling",
            "BundleNotFound",
            "spec.plugins[aux].name: SDPlugin 'aux' needs ModelBundle 'weights', and there is none in "
            "namespace ns",
            id="its bundle is missing",
        ),
        pytest.param(
            {"bundles": {"sd15": a_bundle(), "weights": ManifestError("spec.files: missing")}},
            "Reconciling",
            "BundleNotReady",
            "needs ModelBundle 'weights': spec.files: missing",
            id="its bundle cannot be read",
        ),
        pytest.param(
            {"claims": {"sd15": a_claim()}},
            "Reconciling",
            "BundleNotReady",
            "SDPlugin 'aux': the volume of ModelBundle 'weights' (PersistentVolumeClaim weights-models) does "
            "not exist yet",
            id="its volume is missing",
        ),
        pytest.param(
            {"claims": {"sd15": a_claim(), "weights": a_claim(deletionTimestamp="now")}},
            "Reconciling",
            "BundleNotReady",
            "is being deleted",
            id="its volume goes",
        ),
        pytest.param(
            {
                "plugins": {"aux": a_plugin(models=[{"name": "weights"}, {"name": "more"}])},
                "bundles": {**WEIGHTS, "more": a_bundle("more", type="Annotator")},
            },
            "Stalled",
            "PathConflict",
            "SDPlugin 'aux': its bundles 'weights' and 'more' both offer models/Annotators/base.safetensors",
            id="two of its bundles, one path",
        ),
        pytest.param(
            {
                "instance": an_instance(plugins=[{"name": "aux"}, {"name": "other"}]),
                "plugins": {"aux": HUGE, "other": HUGE},
            },
            "Stalled",
            "InvalidSpec",
            "spec.plugins: what their modules say takes",
            id="more words than an environment takes",
        ),
    ],
)
def test_why_a_plugin_cannot_be_had(changes: dict[str, Any], state: str, reason: str, words: str) -> None:
    planned = plan(observed(**changes), GpuSettings())
    assert planned.verdict is not None and planned.desired is None
    assert (planned.verdict.state.value, planned.verdict.reason) == (state, reason)
    assert words in planned.verdict.message


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"plugins": {"aux": None}}, id="its object is gone"),
        pytest.param({"bundles": {"sd15": a_bundle(), "weights": None}}, id="its bundle is gone"),
        pytest.param({"claims": {"sd15": a_claim()}}, id="its volume is gone"),
        pytest.param({"bundles": {"sd15": None, "weights": None}}, id="the checkpoint's bundle is gone"),
    ],
)
def test_pods_go_on_with_the_plugins_they_have(changes: dict[str, Any]) -> None:
    running = resolved(observed())
    planned = plan(observed(**deployed(*running), **changes), GpuSettings())
    assert planned.plugins == running
    assert planned.desired is not None and planned.verdict is not None
    assert "until then the pods keep serving sd15/base" in planned.verdict.message
    assert [model.name for model in planned.instance.spec.models] == ["sd15"]


def test_a_plugin_that_is_added_before_it_exists_changes_no_pod() -> None:
    assert plan(observed(**deployed(), plugins={"aux": None}), GpuSettings()).plugins == ()


def test_the_claims_of_plugins_are_known_from_the_pods_too() -> None:
    assert mounted_claims(a_deployment()) == {"weights": "of-weights"}


def test_a_bundle_of_a_plugin_is_no_concern_of_the_runtime() -> None:
    world = observed(
        bundles={"sd15": a_bundle(), "weights": a_bundle("weights", type="Annotator", policy="Unsafe")}
    )
    assert not has_pickles(world)
    assert expected_files(world, Desired(checkpoint=CHECKPOINT)) == {}


def test_two_plugins_and_the_runtime_may_each_have_a_file_of_one_path() -> None:
    same = {"sd15": a_bundle(), "weights": a_bundle("weights")}
    assert plan(observed(bundles=same), GpuSettings()).verdict is None


def test_what_the_runtime_is_told_has_no_more_than_the_spec_says() -> None:
    (told,) = json.loads(words_for_runtime(resolved(observed())))
    assert told == {"name": "aux", "kind": "Preprocessor"}
