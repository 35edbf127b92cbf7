"""When a wish differs from what lives, and when it only looks so."""

import re
from typing import Any

import pytest

from sd_operator import manifests, names
from sd_operator.api import quantity

CONTAINER = {"name": "a", "env": [{"name": "X", "value": "1"}], "resources": {"limits": {"cpu": "0.5"}}}


def requests(**amounts: Any) -> dict[str, Any]:
    return {"resources": {"requests": amounts}}


@pytest.mark.parametrize(
    ("wish", "live"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, id="others add a field"),
        pytest.param(
            {"a": [{"name": "x"}]}, {"a": [{"name": "y"}, {"name": "x", "v": 1}]}, id="others add an item"
        ),
        pytest.param(requests(cpu="0.5"), requests(cpu="500m"), id="the API server rewrites a quantity"),
        pytest.param(requests(memory="2048Mi"), requests(memory="2Gi"), id="in another unit"),
        pytest.param(requests(gpu=1), requests(gpu="1"), id="a number becomes a string"),
        pytest.param(requests(cpu="100u"), requests(cpu="1m"), id="nothing is finer than a thousandth"),
        pytest.param(requests(x="100Ei"), requests(x="9223372036854775807"), id="there is a largest amount"),
        pytest.param({"nodeSelector": {}}, {}, id="no selector at all"),
        pytest.param({"args": []}, {"args": None}, id="no arguments"),
        pytest.param({"a": {}}, {}, id="an empty map is left out"),
        pytest.param({"a": []}, {}, id="an empty list is left out"),
        pytest.param({"a": ""}, {}, id="an empty string is left out"),
        pytest.param({"emptyDir": {}}, {"emptyDir": {}}, id="an empty map that means something"),
        pytest.param(
            [CONTAINER], [{**CONTAINER, "terminationMessagePath": "/x"}], id="defaults are filled in"
        ),
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
        pytest.param({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "v": 2}]}, id="an item changed"),
        pytest.param({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, id="an item is gone"),
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
