"""The operator's chart through its life, with an instance that serves all along: the release before this one
is installed, upgraded, rolled back, upgraded again, uninstalled, and installed once more.

The cluster's own release is the one that goes through it, because the kinds are the cluster's; it is put back
as it was at the end. The life is lived once, and each test asks for one thing that was seen of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cluster import OPERATOR_NAMESPACE, Cluster, ClusterError, Kube, Manifest
from load import Load, Outcome
from releases import MAIN, ROOT, Release, image_values, previous
from shapes import ask, serve

CHART = ROOT / "charts" / "sd-operator"
PROMPT = "a small blue star on a black background"
KINDS = ("sdinstances", "modelbundles", "sdplugins")


@dataclass
class Seen:
    """What there was after a step."""

    pods: set[str]
    volume: str
    bundle: str
    instance: Manifest
    key: str
    operator_image: str
    kinds: set[str]


@dataclass
class Life:
    steps: dict[str, Seen] = field(default_factory=dict)
    load: Outcome = field(default_factory=Outcome)


def uid(kube: Kube, kind: str, name: str) -> str:
    return str(kube.get(kind, name)["metadata"]["uid"])


def look(kube: Kube) -> Seen:
    cluster = kube.cluster
    operator = Kube(cluster, OPERATOR_NAMESPACE)
    try:
        deployment = operator.get("deployment", MAIN)
        image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    except ClusterError:
        image = ""
    bundle = kube.get("modelbundle", "shapes")
    found = json.loads(cluster.run("get", "crds", "-o", "json"))["items"]
    return Seen(
        pods=pods(kube),
        volume=uid(kube, "persistentvolumeclaim", bundle["status"]["volume"]["claimName"]),
        bundle=str(bundle["metadata"]["uid"]),
        instance=kube.get("sdinstance", "shapes"),
        key=str(operator.get("secret", f"{MAIN}-key")["data"]["key"]),
        operator_image=image,
        kinds={
            each["spec"]["names"]["plural"] for each in found if each["spec"]["group"] == "sdoperator.dev"
        },
    )


def settle(kube: Kube) -> None:
    """Until the operator that has just come has looked at everything: a change is followed."""
    kube.cluster.wait_operator()
    kube.run("annotate", "sdinstance/shapes", "--overwrite", "e2e/look=again")
    kube.cluster.settled_writes()
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait(lambda: at_rest(kube), "the instance to serve with the pods it shall have", 300)


def at_rest(kube: Kube) -> bool:
    held = {
        type_: kube.condition("sdinstance", "shapes", type_).get("status")
        for type_ in ("Ready", "Reconciling")
    }
    return held == {"Ready": "True", "Reconciling": "False"} and len(pods(kube)) == 1


def pods(kube: Kube) -> set[str]:
    """Those that are on their way out, too."""
    return {pod["metadata"]["uid"] for pod in kube.items("pods", "sdoperator.dev/instance=shapes")}


@pytest.fixture(scope="module")
def life(cluster: Cluster, kube: Kube) -> Iterator[Life]:
    release = Release(cluster, MAIN, OPERATOR_NAMESPACE)
    values = release.values()
    before = previous(cluster)
    old_values = {key: values[key] for key in ("runtimeImage", "huggingFaceEndpoint", "fetch")}
    old_values["image"] = image_values(before.image)
    found = Life()
    try:
        release.uninstall()
        cluster.run("-n", OPERATOR_NAMESPACE, "delete", "secret", f"{MAIN}-key", "--ignore-not-found")
        release.install(before.tree / "charts" / "sd-operator", old_values)
        cluster.wait_operator()
        serve(kube)
        found.steps["installed"] = look(kube)
        with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=4), clients=1) as load:
            load.wait_answered(2)
            for step, change in (
                ("upgraded", lambda: release.upgrade(CHART, values)),
                ("rolled back", lambda: release.rollback()),
                ("upgraded again", lambda: release.upgrade(CHART, values)),
            ):
                change()
                settle(kube)
                found.steps[step] = look(kube)
            release.uninstall()
            load.wait_answered(load.outcome.answered + 3)
            found.steps["uninstalled"] = look(kube)
            release.install(CHART, values)
            settle(kube)
            found.steps["installed again"] = look(kube)
            load.wait_answered(load.outcome.answered + 3)
        found.load = load.outcome
        yield found
    finally:
        put_back(release, values)


def put_back(release: Release, values: Manifest) -> None:
    (release.upgrade if release.exists() else release.install)(CHART, values)
    release.cluster.wait_operator()


def test_each_step_ran_another_operator(life: Life) -> None:
    images = {step: seen.operator_image for step, seen in life.steps.items()}
    assert images["installed"] == images["rolled back"] != images["upgraded"]
    assert images["upgraded"] == images["upgraded again"] == images["installed again"]
    assert images["uninstalled"] == ""


def test_no_request_failed_all_along(life: Life) -> None:
    print(f"{life.load.answered} answered, {life.load.failed} failed")
    assert life.load.failed == 0, life.load


def test_the_objects_and_the_volume_are_the_same_throughout(life: Life) -> None:
    kept = {(seen.volume, seen.bundle, str(seen.instance["metadata"]["uid"])) for seen in life.steps.values()}
    assert len(kept) == 1


def test_no_spec_was_written(life: Life) -> None:
    """Each operator's definitions show defaults of their own; what is stored has one generation."""
    assert {seen.instance["metadata"]["generation"] for seen in life.steps.values()} == {1}


def test_the_kinds_are_kept(life: Life) -> None:
    assert all(seen.kinds == set(KINDS) for seen in life.steps.values())


def test_the_key_survives_so_that_no_pod_is_replaced_for_it(life: Life) -> None:
    assert len({seen.key for seen in life.steps.values()}) == 1


def test_the_release_before_had_pods_of_its_own(life: Life) -> None:
    """What its operator made serves until the pods of the next one do."""
    assert not life.steps["installed"].pods & life.steps["upgraded"].pods


def test_no_pod_is_replaced_for_an_operator_that_goes_and_comes(life: Life) -> None:
    last = [life.steps[step].pods for step in ("upgraded again", "uninstalled", "installed again")]
    assert last[0] == last[1] == last[2]
