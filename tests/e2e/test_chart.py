"""The chart: lints, renders for one namespace with a Role, refuses unknown values."""

import json
import subprocess

import pytest
import yaml
from cluster import Cluster
from releases import ROOT, HelmError, helm

CHART = str(ROOT / "charts" / "sd-operator")


def test_lint_is_clean(cluster: Cluster) -> None:
    helm(cluster, "lint", "--strict", CHART)


def test_one_namespace_needs_no_cluster_role(cluster: Cluster) -> None:
    done = helm(cluster, "template", "sd", CHART, "--set", "watchNamespace=team-a", "--namespace", "ops")
    documents = [document for document in yaml.safe_load_all(done) if document]
    kinds = {document["kind"] for document in documents}
    assert "Role" in kinds
    assert "ClusterRoleBinding" not in kinds
    # What belongs to the kinds, for users: bound to nobody here.
    roles = {each["metadata"]["name"] for each in documents if each["kind"] == "ClusterRole"}
    assert roles == {"sdoperator-view", "sdoperator-edit", "sdoperator-admin"}


def test_an_unknown_value_is_refused(cluster: Cluster) -> None:
    with pytest.raises(HelmError, match="watchNamspace"):
        helm(cluster, "template", "sd", CHART, "--set", "watchNamspace=typo")


def test_no_secret_is_readable_by_the_operator(cluster: Cluster) -> None:
    who = "system:serviceaccount:sd-operator:sd-operator"
    for verb in ("get", "list", "watch"):
        done = subprocess.run(
            ["kubectl", "auth", "can-i", verb, "secrets", "--as", who, "-A"],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "no"


def test_every_namespace_of_ours_enforces_the_strictest_pod_security(cluster: Cluster) -> None:
    found = json.loads(cluster.run("get", "namespaces", "-o", "json"))["items"]
    # The cluster's own, and one that nothing of ours runs in.
    ours = [
        each["metadata"] for each in found if not each["metadata"]["name"].startswith(("kube-", "default"))
    ]
    assert {each["name"] for each in ours} >= {"sd-operator", "sd-demo"}
    levels = {each["name"]: each["labels"].get("pod-security.kubernetes.io/enforce") for each in ours}
    assert set(levels.values()) == {"restricted"}, levels
