"""Two operators of one namespace each, beside each other: each serves its own and touches nothing of the
other's.

The cluster's own operator, which serves all namespaces, is at rest meanwhile.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cluster import OPERATOR_NAMESPACE, Cluster, Kube, Manifest
from conftest import make_namespace
from releases import MAIN, ROOT, Release
from shapes import ask, bundle, call, instance, secret

CHART = ROOT / "charts" / "sd-operator"
#: Both releases are called alike: nothing of them may collide.
NAME = "operator"
SELECTOR = "app.kubernetes.io/name=sd-operator,app.kubernetes.io/component=operator"
SMALL = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}}


@dataclass
class Side:
    kube: Kube
    release: Release


@pytest.fixture(scope="module")
def main_at_rest(cluster: Cluster) -> Iterator[Manifest]:
    """Yields the values of the cluster's own release."""
    deployment = f"deployment/{MAIN}"
    cluster.run("-n", OPERATOR_NAMESPACE, "scale", deployment, "--replicas=0")
    operator = Kube(cluster, OPERATOR_NAMESPACE)
    operator.wait(lambda: not operator.items("pods", SELECTOR), "the operator to end", 60)
    yield Release(cluster, MAIN, OPERATOR_NAMESPACE).values()
    cluster.run("-n", OPERATOR_NAMESPACE, "scale", deployment, "--replicas=1")
    cluster.wait_operator()


@pytest.fixture(scope="module")
def sides(cluster: Cluster, main_at_rest: Manifest) -> Iterator[tuple[Side, Side]]:
    first, second = make_namespace(cluster, "side-a"), make_namespace(cluster, "side-b")
    found = []
    for kube in (next(first), next(second)):
        release = Release(cluster, NAME, kube.namespace)
        one = {"watchNamespace": kube.namespace, "crds": {"install": False}}
        release.install(CHART, main_at_rest | one)
        kube.apply(bundle(), secret(), instance(resources=SMALL))
        found.append(Side(kube, release))
    for side in found:
        side.kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)
    yield found[0], found[1]
    # Before the cluster's own operator is back, so that nothing has two.
    for side in found:
        if side.release.exists():
            side.release.uninstall()
        side.kube.run("delete", "sdinstances,modelbundles", "--all", "--wait=false")
    for namespace in (first, second):
        next(namespace, None)


def test_each_brings_its_own_instance_to_a_picture(sides: tuple[Side, Side]) -> None:
    for side in sides:
        with side.kube.service_url("shapes") as url:
            assert call(url, "/sdapi/v1/txt2img", ask("a large red circle on a white background"))["images"]


def test_neither_may_read_the_others(cluster: Cluster, sides: tuple[Side, Side]) -> None:
    for own, other in (sides, sides[::-1]):
        who = f"system:serviceaccount:{own.kube.namespace}:{NAME}"
        asked = ["auth", "can-i", "list", "sdinstances.sdoperator.dev", "--as", who, "-n"]
        assert cluster.run(*asked, own.kube.namespace).strip() == "yes"
        with pytest.raises(AssertionError):
            cluster.run(*asked, other.kube.namespace)


def test_each_has_a_key_of_its_own(sides: tuple[Side, Side]) -> None:
    keys = [side.kube.get("secret", f"{NAME}-key")["data"]["key"] for side in sides]
    assert len(set(keys)) == 2


def test_a_change_in_one_namespace_writes_nothing_in_the_other(sides: tuple[Side, Side]) -> None:
    changed, still = sides
    before = still.kube.run("get", "sdinstance,deployment,service,pod", "-o", "json")
    changed.kube.run("scale", "sdinstance/shapes", "--replicas=0")
    changed.kube.wait(lambda: not changed.kube.pods("shapes"), "no pod", 120)
    after = still.kube.run("get", "sdinstance,deployment,service,pod", "-o", "json")
    assert versions(after) == versions(before)


def versions(listed: str) -> dict[str, str]:
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for each in json.loads(listed)["items"]
        # The operator's own Deployment is not what is asked about.
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "sd-operator"
    }


def test_one_uninstalled_leaves_both_instances_serving(sides: tuple[Side, Side]) -> None:
    gone, stays = sides
    gone.kube.run("scale", "sdinstance/shapes", "--replicas=1")
    gone.kube.wait_condition("sdinstance", "shapes", "Ready", seconds=240)
    gone.release.uninstall()
    for side in (gone, stays):
        with side.kube.service_url("shapes") as url:
            assert call(url, "/sdapi/v1/txt2img", ask("a large red circle on a white background"))["images"]
    stays.kube.run("annotate", "sdinstance/shapes", "e2e/look=again")
    assert stays.kube.condition("sdinstance", "shapes", "Ready")["status"] == "True"
