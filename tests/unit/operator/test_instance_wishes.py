"""Which children an instance should have, in which order, and which should go."""

from dataclasses import replace
from typing import Any

import pytest
from instance_wishes import (
    CASES,
    SETTINGS,
    UID,
    Object,
    an_instance,
    kinds,
    of_case,
    one,
    wishes,
)

from sd_operator import names
from sd_operator.instance.children import outputs
from sd_operator.instance.children.wishes import PRUNABLE, obsolete

# --- all children


@pytest.mark.parametrize("case", CASES)
def test_children_are_found_by_the_instances_label_and_go_with_it_but_for_pictures(case: str) -> None:
    for wish in of_case(case):
        metadata = wish["metadata"]
        assert metadata["namespace"] == "ns"
        assert metadata["labels"][names.LABEL_SD_INSTANCE] == "demo"
        assert metadata["labels"][names.LABEL_MANAGED_BY] == names.FIELD_MANAGER
        retained = wish["kind"] == "PersistentVolumeClaim" and case == "outputs-rwo"
        owners = [(each["uid"], each["controller"]) for each in metadata.get("ownerReferences", ())]
        assert owners == ([] if retained else [(UID, True)])


@pytest.mark.parametrize("case", CASES)
def test_what_pods_need_is_applied_before_the_pods(case: str) -> None:
    order = [
        "ServiceAccount",
        "ConfigMap",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "ResourceClaimTemplate",
        "Deployment",
        "Service",
        "Ingress",
        "PodDisruptionBudget",
        "ServiceMonitor",
    ]
    found = kinds(of_case(case))
    assert found == sorted(found, key=order.index)


@pytest.mark.parametrize(
    ("given", "more"),
    [
        pytest.param({}, [], id="the least"),
        pytest.param({"replicas": 0}, [], id="no pod"),
        pytest.param({"replicas": 2}, ["Service", "PodDisruptionBudget"], id="several pods"),
        pytest.param({"serves": [names.SERVICEMONITOR]}, ["Service", "ServiceMonitor"], id="Prometheus"),
        pytest.param({"outputs": {"size": "1Gi"}}, ["PersistentVolumeClaim"], id="pictures are kept"),
        pytest.param({"gpu": {"backend": "DRA"}}, ["ResourceClaimTemplate"], id="a claimed GPU"),
        pytest.param({"gpu": {"backend": "Whole"}}, [], id="a counted GPU"),
    ],
)
def test_a_child_is_there_when_it_is_of_use(given: Object, more: list[str]) -> None:
    least = ["ServiceAccount", "ConfigMap", "NetworkPolicy", "Deployment", "Service"]
    assert sorted(kinds(wishes(**given))) == sorted([*least, *more])


def test_no_network_policy_where_it_is_disabled() -> None:
    assert "NetworkPolicy" not in kinds(wishes(access={"auth": "Disabled", "networkPolicy": "Disabled"}))


# --- the ServiceMonitor


def monitor_labels(given: Object) -> Object:
    settings = replace(SETTINGS, service_monitor_labels=given)
    found: Object = one(wishes(serves=[names.SERVICEMONITOR], settings=settings), names.SERVICEMONITOR)
    labels: Object = found["metadata"]["labels"]
    return labels


def test_a_service_monitor_has_the_labels_by_which_a_prometheus_selects_it() -> None:
    assert monitor_labels({"release": "prometheus"}) == {**monitor_labels({}), "release": "prometheus"}


def test_they_replace_none_by_which_the_operator_knows_its_children() -> None:
    own = monitor_labels({})
    assert monitor_labels(dict.fromkeys(own, "another")) == own


# --- the claim for pictures


@pytest.mark.parametrize(
    ("live", "size", "noted"),
    [(None, "10Gi", False), ("5Gi", "10Gi", False), ("20Gi", "20Gi", True)],
    ids=["none yet", "it grows", "it never shrinks"],
)
def test_the_claim_for_pictures_grows_and_never_shrinks(live: str | None, size: str, noted: bool) -> None:
    claim = {"spec": {"resources": {"requests": {"storage": live}}}} if live else None
    found = one(wishes(outputs={"size": "10Gi"}, live_outputs_claim=claim), names.CLAIM)
    assert found["spec"]["resources"]["requests"]["storage"] == size
    wanted = an_instance(outputs={"size": "10Gi"}).spec.outputs
    assert wanted is not None
    note = outputs.size_note(wanted, size)
    assert (note is not None and "spec.outputs.size: 10Gi" in note) is noted


# --- what is no longer wished for


def living(wish: Object, **metadata: Any) -> Object:
    return {**wish, "metadata": {**wish["metadata"], "generation": 1, **metadata}}


def rolled_out(found: list[Object]) -> list[Object]:
    status = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}
    return [living(wish) | ({"status": status} if wish["kind"] == "Deployment" else {}) for wish in found]


def test_what_an_instance_no_longer_asks_for_goes_and_volumes_and_pods_never() -> None:
    least = wishes()
    gone = obsolete(rolled_out(of_case("everything")), least, UID)
    assert sorted(kinds(gone)) == ["Ingress", "PodDisruptionBudget", "Service", "ServiceMonitor"]
    everything = obsolete(rolled_out(of_case("everything")), [], UID)
    assert {(wish["apiVersion"], wish["kind"]) for wish in everything} <= PRUNABLE
    assert not {"PersistentVolumeClaim", "Deployment", "Pod"} & set(kinds(everything))
    assert not {"PersistentVolumeClaim", "Deployment", "Pod"} & {kind for _, kind in PRUNABLE}


def test_what_is_wished_for_stays() -> None:
    found = of_case("everything")
    assert obsolete([living(wish) for wish in found], found, UID) == []


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"ownerReferences": []}, id="it has no owner"),
        pytest.param({"ownerReferences": [{"uid": UID, "kind": "SDInstance"}]}, id="no controller"),
        pytest.param({"ownerReferences": [{"uid": "other", "controller": True}]}, id="it is another's"),
        pytest.param({"labels": {}}, id="it is not managed by us"),
        pytest.param({"deletionTimestamp": "2026-01-01T00:00:00Z"}, id="it goes already"),
    ],
)
def test_what_is_not_the_instances_own_stays(metadata: Object) -> None:
    budget = one(of_case("everything"), names.DISRUPTIONBUDGET)
    assert obsolete([living(budget)], wishes(), UID)
    assert obsolete([living(budget, **metadata)], wishes(), UID) == []


@pytest.mark.parametrize(
    ("wish", "status", "goes"),
    [
        pytest.param(
            "8Gi", {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, False, id="begun"
        ),
        pytest.param(
            "9Gi", {"observedGeneration": 0, "replicas": 1, "updatedReplicas": 1}, False, id="unseen"
        ),
        pytest.param(
            "9Gi", {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1}, False, id="midway"
        ),
        pytest.param("9Gi", {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, True, id="done"),
        pytest.param("9Gi", {"observedGeneration": 1}, True, id="scaled to zero"),
    ],
)
def test_a_claim_template_stays_until_no_pod_is_made_from_it(wish: str, status: Object, goes: bool) -> None:
    old = wishes(gpu={"backend": "DRA", "memory": "8Gi"})
    new = wishes(gpu={"backend": "DRA", "memory": "9Gi"})
    deployed = one(old if wish == "8Gi" else new, names.DEPLOYMENT)
    template_of_old = one(old, names.CLAIMTEMPLATE)
    found = obsolete([living(template_of_old), living(deployed) | {"status": status}], new, UID)
    assert kinds(found) == (["ResourceClaimTemplate"] if goes else [])
