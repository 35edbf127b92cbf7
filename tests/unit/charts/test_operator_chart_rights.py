"""What the operator's chart lets whom do, beside the operator's main role (unit/operator/test_rights.py)."""

import re
from typing import Any

import pytest
import yaml
from chart_rendering import ROOT
from operator_chart import CHART, NAMESPACE, RELEASE, only, render

KINDS = ["sdinstances", "modelbundles", "sdplugins"]
READ = {"get", "list", "watch"}
EDIT = READ | {"create", "update", "patch", "delete"}


def rules(kind: str, name: str, *sets: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = only(kind, *sets, name=name)["rules"]
    return found


def test_of_all_secrets_the_operator_reads_its_own_and_makes_it() -> None:
    read, make = rules("Role", f"{RELEASE}-key")
    assert read == {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": [f"{RELEASE}-key"],
        "verbs": ["get"],
    }
    assert make == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    assert only("Role", name=f"{RELEASE}-key")["metadata"]["namespace"] == NAMESPACE


def test_with_a_key_of_the_users_no_secret_is_made() -> None:
    (read,) = rules("Role", f"{RELEASE}-key", "key.existingSecret=mine")
    assert (read["resourceNames"], read["verbs"]) == (["mine"], ["get"])


@pytest.mark.parametrize("sets", [(), ("watchNamespace=art",), ("watchNamespace=art", "crds.install=false")])
def test_no_other_role_has_secrets(sets: tuple[str, ...]) -> None:
    named = {
        manifest["metadata"]["name"]
        for manifest in render(*sets)
        if manifest["kind"] in ("Role", "ClusterRole")
        for rule in manifest["rules"]
        if {"secrets", "*"} & {*rule["resources"]}
    }
    assert named == {f"{RELEASE}-key"}


@pytest.mark.parametrize(
    ("role", "verbs", "scale"),
    [
        ("view", READ, {"get"}),
        ("edit", EDIT, {"get", "update", "patch"}),
        ("admin", EDIT | {"deletecollection"}, {"get", "update", "patch"}),
    ],
)
def test_the_clusters_roles_cover_the_kinds(role: str, verbs: set[str], scale: set[str]) -> None:
    kinds, scaling = rules("ClusterRole", f"sdoperator-{role}")
    assert (kinds["apiGroups"], kinds["resources"], set(kinds["verbs"])) == (["sdoperator.dev"], KINDS, verbs)
    assert (scaling["resources"], set(scaling["verbs"])) == (["sdinstances/scale"], scale)
    labels = only("ClusterRole", name=f"sdoperator-{role}")["metadata"]["labels"]
    assert labels[f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"


@pytest.mark.parametrize("given", ["rbac.aggregateRoles=false", "crds.install=false"])
def test_without_the_kinds_or_the_wish_there_are_no_such_roles(given: str) -> None:
    assert not [m for m in render(given) if m["metadata"]["name"].startswith("sdoperator-")]


def test_the_test_may_only_try_an_sdinstance_in_its_own_namespace() -> None:
    (rule,) = rules("Role", f"{RELEASE}-test")
    assert (rule["resources"], rule["verbs"]) == (["sdinstances"], ["create"])


def test_every_account_is_bound_to_roles_of_its_own_only() -> None:
    for binding in (m for m in render("watchNamespace=art") if m["kind"] == "RoleBinding"):
        (subject,) = binding["subjects"]
        test = binding["metadata"]["name"] == f"{RELEASE}-test"
        assert subject["name"] == (f"{RELEASE}-test" if test else RELEASE)
        assert subject["namespace"] == NAMESPACE


def each_right(given: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Of the groups that no cluster has of itself: group, resource and verb."""
    return {
        (group, resource, verb)
        for rule in given
        for group in rule["apiGroups"]
        if group in ("sdoperator.dev", "monitoring.coreos.com")
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_what_an_admin_of_a_namespace_lacks_to_install_is_told() -> None:
    """Kubernetes refuses a Role to whoever has not all its rights himself."""
    sets = ("watchNamespace=art", "crds.install=false")
    given = [rule for m in render(*sets) if m["kind"] == "Role" for rule in m["rules"]]
    lacking = each_right(given) - each_right(rules("ClusterRole", "sdoperator-admin"))
    page = (ROOT / "docs/tenants.md").read_text()
    (block,) = re.findall(r"```yaml\n([^`]*kind: Role\n[^`]*)```", page)
    assert each_right(yaml.safe_load(block)["rules"]) == lacking
    readme = (CHART / "README.md").read_text()
    assert all(f"`{word}`" in readme for _, resource, verb in lacking for word in (resource, verb))


def test_what_the_test_needs_is_there_for_the_test_alone() -> None:
    found = [m for m in render() if m["metadata"]["name"] == f"{RELEASE}-test"]
    assert len(found) == 4
    assert all(m["metadata"]["annotations"]["helm.sh/hook"] == "test" for m in found)
