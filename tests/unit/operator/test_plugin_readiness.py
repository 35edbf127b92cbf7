"""When an SDPlugin is ready, by what the SDInstances that use it say, and its status: as tables."""

from typing import Any

import pytest
from instance_wishes import with_uid
from operator_fakes import instance, plugin

from sd_operator.api.base import parse
from sd_operator.api.plugin import SDPlugin
from sd_operator.names import Key
from sd_operator.plugin.readiness import build_status, readiness, uses_of

CATALOG = Key("SDPlugin", "catalog", "aux")


def a_plugin(generation: int = 2) -> SDPlugin:
    manifest = with_uid(plugin())
    manifest["metadata"]["generation"] = generation
    return parse(SDPlugin, manifest)


def user(name: str, *, namespace: str = "ns", scope: str = "Catalog", **told: Any) -> dict[str, Any]:
    """An SDInstance that names the plugin, and what its status says of it."""
    manifest = instance(name, plugins=[{"name": "aux", "scope": scope}])
    manifest["metadata"]["namespace"] = namespace
    manifest["status"] = {"plugins": [{"name": "other", "ready": False}, {"name": "aux", **told}]}
    return manifest


def up(name: str, **more: Any) -> dict[str, Any]:
    return user(name, **{"ready": True, "observedGeneration": 2, "version": "0.1.0", **more})


def down(name: str) -> dict[str, Any]:
    return user(name, ready=False, observedGeneration=2, reason="NotAnswering", message="no answer for 2 s")


@pytest.mark.parametrize(
    ("instances", "state", "reason", "words", "count"),
    [
        pytest.param([], "Ready", "NotUsed", "no SDInstance with pods", "0/0", id="nobody uses it"),
        pytest.param([up("a")], "Ready", "PluginAnswers", "1 SDInstance", "1/1", id="it answers"),
        pytest.param([up("a"), up("b")], "Ready", "PluginAnswers", "2 SDInstances", "2/2", id="everywhere"),
        pytest.param(
            [up("a"), down("b")],
            "Reconciling",
            "PluginNotReady",
            "SDInstance ns/b: NotAnswering: no answer for 2 s",
            "1/2",
            id="not in one",
        ),
        pytest.param(
            [up("a", observedGeneration=1)],
            "Reconciling",
            "RollingOut",
            "pods of SDInstance ns/a are not made for this generation yet",
            "0/1",
            id="in the form of before",
        ),
        pytest.param(
            [instance("a", plugins=[{"name": "aux", "scope": "Catalog"}])],
            "Reconciling",
            "RollingOut",
            "ns/a",
            "0/1",
            id="a new user that says nothing yet",
        ),
        pytest.param(
            [user("a", ready=False, reason="NoPods", observedGeneration=2), up("b")],
            "Ready",
            "PluginAnswers",
            "1 SDInstance",
            "1/1",
            id="a user without pods does not count",
        ),
        pytest.param(
            [user("a", scope="Namespace"), user("b", scope="Namespace", namespace="catalog"), up("c")],
            "Reconciling",
            "PluginNotReady",
            "SDInstance catalog/b",
            "1/2",
            id="another one of its name is not it",
        ),
    ],
)
def test_a_plugin_is_ready_when_all_who_use_it_say_so(
    instances: list[dict[str, Any]], state: str, reason: str, words: str, count: str
) -> None:
    found = uses_of(CATALOG, instances, catalog="catalog")
    verdict = readiness(a_plugin(), found)
    assert (verdict.state.value, verdict.reason) == (state, reason)
    assert words in verdict.message
    assert build_status(a_plugin(), found, verdict, time="now")["instances"] == count


def test_its_status_names_who_uses_it_and_its_version_once() -> None:
    found = uses_of(CATALOG, [up("b"), up("a", namespace="x"), down("a")], catalog="catalog")
    status = build_status(a_plugin(), found, readiness(a_plugin(), found), time="now")
    assert status["usedBy"] == ["ns/a", "ns/b", "x/a"]
    assert (status["version"], status["observedGeneration"]) == ("0.1.0", 2)
    many = uses_of(CATALOG, [up(f"i{n}") for n in range(300)], catalog="catalog")
    listed = build_status(a_plugin(), many, readiness(a_plugin(), many), time="now")
    assert (len(listed["usedBy"]), listed["instances"]) == (256, "300/300")
    # Empty lists are left out, as the API server stores them.
    assert "usedBy" not in build_status(a_plugin(), [], readiness(a_plugin(), []), time="now")


@pytest.mark.parametrize("status", [None, "odd", {"plugins": "odd"}, {"plugins": [None, {"name": 5}]}])
def test_a_user_whose_status_cannot_be_read_is_one_that_says_nothing(status: Any) -> None:
    (found,) = uses_of(CATALOG, [{**user("a"), "status": status}], catalog="catalog")
    assert (found.told, found.answers(2)) == ({}, False)
