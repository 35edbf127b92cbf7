"""The operator's rights are those that its children need, and no more."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sd_operator import names
from sd_operator.instance.children.wishes import PRUNABLE

CHART = Path(__file__).parents[3] / "charts" / "sd-operator" / "templates" / "rbac.yaml"

READ = {"get", "list", "watch"}
WRITE = READ | {"create", "patch"}


def rights(*, cluster: bool) -> dict[tuple[str, str], set[str]]:
    """(API group, plural) → verbs, in the form for the whole cluster or for one namespace."""
    text = CHART.read_text()
    (only,) = re.findall(r'\{\{- if eq \$kind "ClusterRole" \}\}\n(.*?)\{\{- end \}\}\n', text, re.DOTALL)
    role = next(part for part in text.split("\n---\n") if "\nrules:" in part)
    lines = [line for line in role[role.index("\nrules:") :].splitlines() if "{{" not in line]
    rules: list[dict[str, Any]] = yaml.safe_load("\n".join(lines))["rules"]
    if not cluster:
        without = yaml.safe_load(only)
        rules = [rule for rule in rules if rule not in without]
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for plural in rule["resources"]:
                assert (group, plural) not in found
                found[group, plural] = set(rule["verbs"])
    return found


def of(resource: names.Resource) -> tuple[str, str]:
    group, slash, _ = resource.api_version.rpartition("/")
    return group if slash else "", resource.plural


CHILDREN = tuple(
    resource for resource in (*names.CHILDREN, *names.OPTIONAL_CHILDREN) if resource is not names.POD
)


@pytest.mark.parametrize("resource", CHILDREN, ids=lambda resource: resource.kind)
def test_a_child_may_be_deleted_only_if_it_is_ever_no_longer_wished_for(resource: names.Resource) -> None:
    # A claim goes with a bundle that asks for it.
    goes = (resource.api_version, resource.kind) in PRUNABLE or resource in (names.JOB, names.CLAIM)
    assert rights(cluster=True)[of(resource)] == (WRITE | {"delete"} if goes else WRITE)


def test_what_else_may_be_done() -> None:
    other = {key: verbs for key, verbs in rights(cluster=True).items() if key not in map(of, CHILDREN)}
    assert other == {
        ("sdoperator.dev", "sdinstances"): READ,
        ("sdoperator.dev", "sdplugins"): READ,
        # Its finalizer.
        ("sdoperator.dev", "modelbundles"): READ | {"patch"},
        ("sdoperator.dev", "sdinstances/status"): {"patch"},
        ("sdoperator.dev", "modelbundles/status"): {"patch"},
        ("sdoperator.dev", "sdplugins/status"): {"patch"},
        ("apps", "deployments/scale"): {"patch"},
        ("", "pods"): {"get", "list", "watch"},
        ("", "events"): {"list", "create"},
        ("", "nodes"): {"list"},
        ("networking.k8s.io", "servicecidrs"): {"list"},
        ("resource.k8s.io", "deviceclasses"): {"list"},
        ("resource.k8s.io", "resourceslices"): {"list"},
    }


def test_the_role_of_one_namespace_has_no_rights_on_what_belongs_to_the_cluster() -> None:
    only = {of(names.NODE), of(names.DEVICECLASS), of(names.RESOURCESLICE), of(names.SERVICECIDR)}
    assert set(rights(cluster=True)) - set(rights(cluster=False)) == only


def test_of_the_catalog_outside_its_namespace_it_may_only_read_the_plugins() -> None:
    catalog = CHART.read_text().split("\n---\n")[-2]
    assert "kind: Role\n" in catalog and "namespace: {{ .Release.Namespace | quote }}" in catalog
    (rule,) = yaml.safe_load(catalog[catalog.index("\nrules:") :])["rules"]
    assert (rule["apiGroups"], rule["resources"], set(rule["verbs"])) == (
        ["sdoperator.dev"],
        ["sdplugins"],
        READ,
    )


@pytest.mark.parametrize("cluster", [True, False], ids=["cluster", "namespace"])
def test_no_secret_is_read_and_no_pod_entered(cluster: bool) -> None:
    assert not {plural for _, plural in rights(cluster=cluster)} & {
        "secrets",
        "pods/exec",
        "pods/portforward",
    }
    assert all("*" not in {*key, *verbs} for key, verbs in rights(cluster=cluster).items())


def test_each_rule_is_preceded_by_its_reason() -> None:
    lines = CHART.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("- apiGroups:")]
    assert starts
    assert all(lines[start - 1].startswith("# ") for start in starts)
