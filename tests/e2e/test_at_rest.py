"""What the operator writes: little to create, nothing at rest."""

import os
import time

from cluster import Cluster, Kube
from shapes import bundle, instance, secret, serve
from sidecars import catalog_image, plugin, rolled_out

REST_SECONDS = int(os.environ.get("E2E_REST_SECONDS", "30"))


KINDS = (
    "modelbundles",
    "sdinstances",
    "sdplugins",
    "deployments",
    "services",
    "jobs",
    "persistentvolumeclaims",
    "configmaps",
    "serviceaccounts",
    "networkpolicies",
)
#: Each child once, the instance's status twice (a pod exists; it serves), the bundle's once, because it names
#: its users, and one Event.
WRITES = {
    "apply-status SDInstance": 2,
    "apply ServiceAccount": 1,
    "apply ConfigMap": 1,
    "apply NetworkPolicy": 1,
    "apply Deployment": 1,
    "apply Service": 1,
    "apply-status ModelBundle": 1,
    "create Event": 1,
}


def versions(kube: Kube) -> dict[str, str]:
    """Resource versions of everything the operator may write here."""
    found = {}
    for kind in KINDS:
        for item in kube.items(kind):
            found[f"{kind}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
    return found


def test_one_instance_costs_no_more_writes_than_it_has_things_to_say(kube: Kube, cluster: Cluster) -> None:
    kube.apply(bundle(), secret())
    kube.wait_condition("modelbundle", "shapes", "Ready")
    cluster.settled_writes()
    before = cluster.writes_by_kind()
    kube.apply(instance("counted"))
    kube.wait_condition("sdinstance", "counted", "Ready", seconds=300)
    cluster.settled_writes()
    writes = cluster.writes_by_kind() - before
    print(f"API writes for one SDInstance from apply to Ready: {writes.total()}, {dict(writes)}")
    assert writes == WRITES


def serve_with_a_plugin(kube: Kube, cluster: Cluster) -> None:
    """What is at rest: one of each kind."""
    serve(kube)
    kube.apply(plugin("controlnet-basic", catalog_image(cluster, "controlnet-basic")))
    rolled_out(kube, "controlnet-basic")


def test_nothing_is_written_at_rest(kube: Kube, cluster: Cluster) -> None:
    serve_with_a_plugin(kube, cluster)
    before, seen = cluster.settled_writes(), versions(kube)
    time.sleep(REST_SECONDS)
    assert cluster.operator_writes() == before
    assert versions(kube) == seen


def test_a_restarted_operator_writes_nothing(kube: Kube, cluster: Cluster) -> None:
    serve_with_a_plugin(kube, cluster)
    cluster.settled_writes()
    seen = versions(kube)
    cluster.kill_operator()
    cluster.wait_operator()
    time.sleep(10)
    assert versions(kube) == seen
