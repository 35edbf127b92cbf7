"""The chart: lints, renders for one namespace with a Role, refuses unknown values."""

import pathlib
import subprocess

import yaml
from cluster import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts" / "sd-operator")


def helm(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["helm", *arguments], env=cluster.environment, capture_output=True, text=True, check=False
    )


def test_lint_is_clean(cluster: Cluster) -> None:
    done = helm(cluster, "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout


def test_one_namespace_needs_no_cluster_role(cluster: Cluster) -> None:
    done = helm(cluster, "template", "sd", CHART, "--set", "watchNamespace=team-a", "--namespace", "ops")
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout) if document]
    assert "ClusterRole" not in kinds
    assert "Role" in kinds


def test_an_unknown_value_is_refused(cluster: Cluster) -> None:
    done = helm(cluster, "template", "sd", CHART, "--set", "watchNamspace=typo")
    assert done.returncode != 0
    assert "watchNamspace" in done.stderr


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
