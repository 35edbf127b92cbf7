"""When a wish differs from what lives, and when it only looks so."""

import copy
import re
from typing import Any

import pytest
from drifts import DRIFTS, EVERYWHERE
from instance_wishes import CASES, of_case, one

from sd_operator import manifests, names, quantity

Object = dict[str, Any]

CONTAINER = {"name": "a", "env": [{"name": "X", "value": "1"}], "resources": {"limits": {"cpu": "0.5"}}}


def requests(**amounts: Any) -> dict[str, Any]:
    return {"resources": {"requests": amounts}}


@pytest.mark.parametrize(
    ("wish", "live"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, id="others add a field"),
        pytest.param(
            {"env": [{"name": "x"}]}, {"env": [{"name": "y"}, {"name": "x", "v": 1}]}, id="others add an item"
        ),
        pytest.param(requests(cpu="0.5"), requests(cpu="500m"), id="the API server rewrites a quantity"),
        pytest.param(requests(memory="2048Mi"), requests(memory="2Gi"), id="in another unit"),
        pytest.param(requests(gpu=1), requests(gpu="1"), id="a number becomes a string"),
        pytest.param(requests(cpu="100u"), requests(cpu="1m"), id="nothing is finer than a thousandth"),
        pytest.param(requests(x="100Ei"), requests(x="9223372036854775807"), id="there is a largest amount"),
        pytest.param({"nodeSelector": {}}, {}, id="no selector at all"),
        pytest.param({"args": []}, {"args": None}, id="no arguments"),
        pytest.param({"labels": {}}, {}, id="an empty map is left out"),
        pytest.param({"a": []}, {}, id="an empty list is left out"),
        pytest.param({"a": ""}, {}, id="an empty string is left out"),
        pytest.param({"emptyDir": {}}, {"emptyDir": {}}, id="an empty map that means something"),
        pytest.param(
            {"containers": [CONTAINER]},
            {"containers": [{**CONTAINER, "terminationMessagePath": "/x"}]},
            id="defaults are filled in",
        ),
        pytest.param({"paused": False}, {}, id="a switch that is off is left out"),
        pytest.param({"drop": ["ALL"]}, {"drop": ["ALL"]}, id="plain lists"),
    ],
)
def test_what_lives_already_holds_the_wish(wish: Any, live: Any) -> None:
    assert not manifests.differs({"spec": wish}, {"spec": live})


@pytest.mark.parametrize(
    ("wish", "live"),
    [
        pytest.param({"a": 1}, {"a": 2}, id="another value"),
        pytest.param({"a": 1}, {}, id="a field is gone"),
        pytest.param({"a": {"b": 1}}, {"a": None}, id="a map is gone"),
        pytest.param(
            {"env": [{"name": "x", "v": 1}]}, {"env": [{"name": "x", "v": 2}]}, id="an item changed"
        ),
        pytest.param({"env": [{"name": "x"}]}, {"env": [{"name": "y"}]}, id="an item is gone"),
        pytest.param({"env": [{"name": "x"}]}, {"env": None}, id="all items are gone"),
        pytest.param({"a": [{"name": "x"}]}, {"a": [{"name": "x"}, {"name": "y"}]}, id="an item too many"),
        pytest.param({"a": [{"name": "x"}]}, {"a": [{"name": "x", "v": 1}]}, id="a rule was narrowed"),
        pytest.param({"a": ["x", "y"]}, {"a": ["y", "x"]}, id="another order"),
        pytest.param({"emptyDir": {}}, {}, id="an empty object that means something"),
        pytest.param({"labels": {"x": ""}}, {"labels": {}}, id="an empty label"),
        pytest.param({"privileged": False}, {}, id="a switch whose absence is no no"),
        pytest.param({"replicas": 0}, {}, id="a number whose absence is no zero"),
        pytest.param({"a": ["x"]}, {"a": "x"}, id="another type"),
        pytest.param(requests(cpu="1"), requests(cpu="100m"), id="another quantity"),
        pytest.param({"label": "1e3"}, {"label": "1000"}, id="a text that only looks like an amount"),
        pytest.param(
            {"env": [{"name": "x", "value": "1k"}]}, {"env": [{"name": "x", "value": "1000"}]}, id="so"
        ),
        pytest.param(
            {"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}, id="a selector was narrowed"
        ),
        pytest.param({"nodeSelector": {}}, {"nodeSelector": {"a": "b"}}, id="a node selector was added"),
        pytest.param({"args": []}, {"args": ["--x"]}, id="arguments were added"),
        pytest.param({"paused": False}, {"paused": True}, id="it was paused"),
        pytest.param({"a": True}, {}, id="a switch is gone"),
        pytest.param({"a": {"b": 1}}, {"a": 5}, id="a map became a number"),
    ],
)
def test_what_lives_lacks_something(wish: Any, live: Any) -> None:
    assert manifests.differs({"spec": wish}, {"spec": live})


# --- children as the API server stores them, and what others do to them


def defaults(child: Object) -> Object:
    """What the API server and controllers add to a kind, as far as it could be taken for drift."""
    if child["kind"] == "Deployment":
        return {"spec": {"revisionHistoryLimit": 10, "minReadySeconds": 0}}
    if child["kind"] == "Service":
        affinity = {"clientIP": {"timeoutSeconds": 10800}}
        return {
            "spec": {"sessionAffinityConfig": affinity, "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]}
        }
    if child["kind"] == "PersistentVolumeClaim":
        return {"spec": {"volumeMode": "Filesystem", "volumeName": "pvc-1"}, "status": {"phase": "Bound"}}
    return {"status": {}}


def stored(wish: Object) -> Object:
    """A wish as it comes back from the API server."""
    live: Object = bare(copy.deepcopy(manifests.stamped(wish)))
    # The items of a list do not tell their kind.
    kind = {"kind": live.pop("kind"), "apiVersion": live.pop("apiVersion")}
    for field, added in defaults({**live, **kind}).items():
        live[field] = {**live.get(field, {}), **added}
    live["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": [{"manager": "sd-operator"}]}
    if kind["kind"] == "Deployment":
        pod = live["spec"]["template"]["spec"]
        pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccount": "demo-runtime"}
        pod["containers"][0] |= {"terminationMessagePath": "/dev/termination-log"}
        pod["containers"][0]["resources"] = {
            "requests": {"cpu": "2", "memory": "8Gi"},
            "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
        }
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            pod["containers"][0][probe]["httpGet"] = {
                **pod["containers"][0][probe]["httpGet"],
                "scheme": "HTTP",
            }
    return live


def bare(value: Any, *, inside: str = "") -> Any:
    """Without what the API server leaves out."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        off = item is False and key in ("paused", "hostNetwork", "hostPID", "hostIPC")
        empty = item == [] or (item == {} and key in ("nodeSelector", "labels", "annotations"))
        if not off and not empty and not (item == "" and inside not in ("labels", "annotations")):
            kept[key] = bare(item, inside=key)
    return kept


def children() -> dict[tuple[str, str], Object]:
    found = {(wish["kind"], wish["metadata"]["name"]): wish for wish in of_case("everything")}
    # The names of these carry a digest.
    return {
        **found,
        ("ConfigMap", "demo-desired"): one(of_case("everything"), names.CONFIGMAP),
        ("ResourceClaimTemplate", "demo-gpu"): one(of_case("dra"), names.CLAIMTEMPLATE),
    }


CHILDREN = children()


@pytest.mark.parametrize("child", CHILDREN, ids=" ".join)
def test_a_child_that_nobody_touched_does_not_differ(child: tuple[str, str]) -> None:
    assert not manifests.differs(manifests.stamped(CHILDREN[child]), stored(CHILDREN[child]))


@pytest.mark.parametrize("case", CASES)
def test_no_option_makes_a_child_that_differs_for_ever(case: str) -> None:
    for wish in of_case(case):
        live = bare(copy.deepcopy(manifests.stamped(wish)))
        assert not manifests.differs(manifests.stamped(wish), live)


@pytest.mark.parametrize("child", CHILDREN, ids=" ".join)
@pytest.mark.parametrize("drift", EVERYWHERE)
def test_drift_that_befalls_every_child(child: tuple[str, str], drift: str) -> None:
    change, differs = EVERYWHERE[drift]
    live = stored(CHILDREN[child])
    change(live)
    assert manifests.differs(manifests.stamped(CHILDREN[child]), live) is differs


@pytest.mark.parametrize(("child", "drift"), [(child, drift) for child in DRIFTS for drift in DRIFTS[child]])
def test_drift_of_a_child(child: tuple[str, str], drift: str) -> None:
    change, differs = DRIFTS[child][drift]
    live = stored(CHILDREN[child])
    change(live)
    assert manifests.differs(manifests.stamped(CHILDREN[child]), live) is differs


def test_a_field_that_is_no_longer_wished_for_shows_in_the_stamp() -> None:
    old = manifests.stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    new = manifests.stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert manifests.differs(new, old)


def test_a_stamp_does_not_depend_on_the_order_of_fields_and_keeps_other_annotations() -> None:
    one = manifests.stamped({"metadata": {"name": "x", "annotations": {"k": "v"}}, "spec": {"a": 1, "b": 2}})
    two = manifests.stamped({"spec": {"b": 2, "a": 1}, "metadata": {"annotations": {"k": "v"}, "name": "x"}})
    assert one == two
    assert one["metadata"]["annotations"]["k"] == "v"
    assert len(one["metadata"]["annotations"][names.ANNOTATION_APPLIED]) == 64


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500m", 0.5),
        (".5", 0.5),
        ("1Ki", 1024),
        ("2Gi", 2**31),
        ("1e3", 1000),
        ("1k", 1000),
        (3, 3),
    ],
)
def test_quantities_are_read(text: str | int, value: float) -> None:
    assert quantity.parse(text) == value


@pytest.mark.parametrize(
    ("wish", "live", "same"),
    [
        ("100u", "1m", True),
        ("1.0001", "1001m", True),
        ("100Ei", "9223372036854775807", True),
        ("1", "1001m", False),
        ("1e999999", "9223372036854775807", True),
    ],
)
def test_quantities_are_compared_as_the_api_server_stores_them(wish: str, live: str, same: bool) -> None:
    assert quantity.same(wish, live) is same


@pytest.mark.parametrize("text", ["1", "500m", ".5", "2Gi", "1.5Gi", "1e3", "1E-2", "+1k", "100u"])
def test_the_schema_takes_what_is_a_quantity(text: str) -> None:
    assert re.search(quantity.PATTERN, text)
    assert quantity.parse(text) is not None


@pytest.mark.parametrize("text", ["1.2.3", "..", "1eiKM", "1Gi5", "-1", "1e", "1e999", "", "Gi", "1 "])
def test_the_schema_refuses_what_is_no_quantity(text: str) -> None:
    assert not re.search(quantity.PATTERN, text)


@pytest.mark.parametrize(
    "text", ["", "x", "1 Gi", "1GiB", "--1", "1.2.3", "Gi", "1\n", "1e" + "9" * 40, "1e99999999999999999999"]
)
def test_what_is_no_quantity_is_none(text: str) -> None:
    assert quantity.parse(text) is None


def test_a_long_name_is_cut_and_stays_apart() -> None:
    long, longer = "a" * 70, "a" * 71
    assert names.fit("short") == "short"
    assert len(names.fit(long)) == len(names.fit(longer)) == 63
    assert names.fit(long) != names.fit(longer)
    assert len(names.job_name("b" * 63, "f" * 63, {})) <= 63
    assert names.job_name("b" * 63, "f" * 63, {}) != names.job_name("b" * 63, "f" * 62, {})
    assert names.job_name("b", "f", {"x": 1}) != names.job_name("b", "f", {"x": 2})
