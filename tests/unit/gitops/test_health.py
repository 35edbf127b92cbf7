"""What Argo CD (Lua), Flux (CEL) and kstatus say of our objects: of real ones, and of every status that the
operator's own builders can give.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sd_operator.api.conditions import Verdict, conditions, now, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.failing import failing_status

ROOT = Path(__file__).parents[3]
ARGOCD = ROOT / "examples/gitops/argocd/resource_customizations/sdoperator.dev"
FLUX = ROOT / "examples/gitops/flux/kustomizations.yaml"
KINDS = ("SDInstance", "ModelBundle", "SDPlugin")
#: The three in the words of each other.
SAME = {"Healthy": "Current", "Progressing": "InProgress", "Degraded": "Failed"}
UNDERWAY = (Reason.LOADING.value, "1 of 2 pods")

Manifest = dict[str, Any]


def written(kind: str) -> list[tuple[str, Manifest]]:
    """The objects of testdata, by file name."""
    folder = ARGOCD / kind / "testdata"
    return [(path.name, yaml.safe_load(path.read_text())) for path in sorted(folder.glob("*.yaml"))]


def an_object(kind: str, status: Manifest, *, generation: int = 2) -> Manifest:
    metadata = {"name": "landscapes", "namespace": "studio", "generation": generation}
    return {"apiVersion": "sdoperator.dev/v1alpha1", "kind": kind, "metadata": metadata, "status": status}


def told(verdict: Verdict, *, generation: int = 2) -> Manifest:
    listed = conditions(verdict, generation=generation, previous=(), time=now())
    return {"observedGeneration": generation, "conditions": [each.as_manifest() for each in listed]}


def verdicts() -> list[Verdict]:
    """Every reason in every form that a verdict has, and one of the cluster's words."""
    found = [form(reason, "a sentence") for reason in Reason for form in (ready, reconciling, stalled)]
    found += [ready(reason, "a sentence", underway=UNDERWAY) for reason in Reason]
    return [*found, reconciling("Unschedulable", "no node"), stalled("ImagePullBackOff", "no image")]


@pytest.fixture(scope="module")
def flux(judge: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Flux's evaluator with the expressions of the Kustomization for a kind."""
    files = {}
    for each in yaml.safe_load_all(FLUX.read_text()):
        for check in each["spec"].get("healthCheckExprs", []):
            path = tmp_path_factory.mktemp("flux") / "kustomization.yaml"
            path.write_text(yaml.safe_dump(each))
            files[check["kind"]] = path
    return lambda kind, objects: judge("flux", files[kind], objects=objects)


@pytest.mark.parametrize("kind", KINDS)
def test_real_objects_have_the_health_that_is_written_beside_them(judge: Any, kind: str) -> None:
    tests = yaml.safe_load((ARGOCD / kind / "health_test.yaml").read_text())["tests"]
    assert sorted(each["inputPath"] for each in tests) == [f"testdata/{name}" for name, _ in written(kind)]
    objects = [yaml.safe_load((ARGOCD / kind / each["inputPath"]).read_text()) for each in tests]
    found = judge("health", ARGOCD / kind / "health.lua", objects=objects)
    assert found == [each["healthStatus"] for each in tests]


@pytest.mark.parametrize("kind", KINDS)
def test_argo_cd_says_what_kstatus_says_of_every_status(judge: Any, kstatus: Any, kind: str) -> None:
    objects = [an_object(kind, told(each)) for each in verdicts()] + [each for _, each in written(kind)]
    lua = [each["status"] for each in judge("health", ARGOCD / kind / "health.lua", objects=objects)]
    library = [each["status"] for each in kstatus(objects=objects)]
    for each, ours, theirs in zip(objects, lua, library, strict=True):
        if ours == "Suspended":
            # kstatus has no word for it.
            reasons = {c["type"]: c["reason"] for c in each["status"]["conditions"]}
            assert kind == "SDInstance" and reasons["Ready"] == "Suspended"
        else:
            assert SAME[ours] == theirs, each["status"]
    assert set(lua) >= set(SAME)


@pytest.mark.parametrize("kind", ["SDInstance", "ModelBundle"])
def test_flux_says_what_kstatus_says_of_every_status(flux: Any, kstatus: Any, kind: str) -> None:
    objects = [an_object(kind, told(each)) for each in verdicts()] + [each for _, each in written(kind)]
    cel = [each["status"] for each in flux(kind, objects)]
    assert cel == [each["status"] for each in kstatus(objects=objects)]
    assert set(cel) == set(SAME.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("verdict", "health"),
    [
        (ready(Reason.CHECKPOINT_LOADED, "1 of 1 pod"), "Healthy"),
        (ready(Reason.CHECKPOINT_LOADED, "1 of 2 pods", underway=UNDERWAY), "Progressing"),
        (reconciling(Reason.LOADING, "0 of 1 pod"), "Progressing"),
        (stalled(Reason.LOAD_FAILED, "header is cut"), "Degraded"),
    ],
    ids=["ready", "ready, more to come", "on its way", "stalled"],
)
def test_what_a_verdict_comes_down_to(judge: Any, kind: str, verdict: Verdict, health: str) -> None:
    (found,) = judge("health", ARGOCD / kind / "health.lua", objects=[an_object(kind, told(verdict))])
    assert found["status"] == health
    assert (verdict.underway or (None, verdict.message))[1] in found["message"]


@pytest.mark.parametrize("verdict", [ready(Reason.SUSPENDED, "x"), stalled(Reason.SUSPENDED, "x")])
def test_a_suspended_instance_is_suspended_whatever_waits(judge: Any, verdict: Verdict) -> None:
    objects = [an_object("SDInstance", told(verdict))]
    (found,) = judge("health", ARGOCD / "SDInstance/health.lua", objects=objects)
    assert found == {"status": "Suspended", "message": "x"}


def test_flux_has_no_word_for_suspended(flux: Any) -> None:
    objects = [
        yaml.safe_load(path.read_text())
        for path in sorted((ARGOCD / "SDInstance/testdata").glob("suspended*"))
    ]
    assert [each["status"] for each in flux("SDInstance", objects)] == ["Failed", "Current"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_healthy_before_the_operator_looked_at_this_generation(judge: Any, kind: str) -> None:
    seen = an_object(kind, told(ready(Reason.CHECKPOINT_LOADED, "")))
    edited = an_object(kind, seen["status"], generation=3)
    fresh = an_object(kind, {"observedGeneration": -1})
    bare = copy.deepcopy(fresh)
    del bare["status"]
    bad = an_object(kind, failing_status(seen, RuntimeError("x")))
    found = judge("health", ARGOCD / kind / "health.lua", objects=[edited, fresh, bare, bad])
    assert [each["status"] for each in found] == ["Progressing"] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", ["message", "reason"])
@pytest.mark.parametrize(
    ("verdict", "health"),
    [
        (ready(Reason.CHECKPOINT_LOADED, "x"), "Healthy"),
        (reconciling(Reason.LOADING, "x"), "Progressing"),
        (stalled(Reason.LOAD_FAILED, "x"), "Degraded"),
    ],
    ids=["ready", "on its way", "stalled"],
)
def test_health_is_known_of_a_condition_that_lacks_words(
    judge: Any, kind: str, missing: str, verdict: Verdict, health: str
) -> None:
    status = told(verdict)
    for condition in status["conditions"]:
        del condition[missing]
    (found,) = judge("health", ARGOCD / kind / "health.lua", objects=[an_object(kind, status)])
    assert found["status"] == health


@pytest.mark.parametrize("kind", ["SDInstance", "ModelBundle"])
def test_flux_waits_for_the_operator_to_look(flux: Any, kind: str) -> None:
    seen = an_object(kind, told(ready(Reason.CHECKPOINT_LOADED, "")))
    edited = an_object(kind, seen["status"], generation=3)
    objects = [edited, an_object(kind, {"observedGeneration": -1}), an_object(kind, {})]
    assert [each["status"] for each in flux(kind, objects)] == ["InProgress"] * 3


@pytest.mark.parametrize("kind", ["SDInstance", "ModelBundle"])
@pytest.mark.parametrize("form", [ready, stalled])
def test_flux_takes_nothing_that_is_being_deleted_for_done(flux: Any, kind: str, form: Any) -> None:
    """kstatus calls it Terminating; Flux does not ask it where there are expressions."""
    going = an_object(kind, told(form(Reason.CHECKPOINT_LOADED, "")))
    going["metadata"]["deletionTimestamp"] = now()
    assert [each["status"] for each in flux(kind, [going])] == ["InProgress"]


@pytest.mark.parametrize("kind", ["SDInstance", "ModelBundle"])
def test_an_object_without_a_status_which_flux_cannot_judge_is_never_served(flux: Any, kind: str) -> None:
    bare = an_object(kind, {})
    del bare["status"]
    with pytest.raises(AssertionError, match="no such attribute"):
        flux(kind, [bare])
    (crd,) = (ROOT / "crds").glob(f"*_{kind.lower()}s.yaml")
    for version in yaml.safe_load(crd.read_text())["spec"]["versions"]:
        status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
        assert [each["status"] for each in flux(kind, [an_object(kind, status)])] == ["InProgress"]
