"""Helm as the end-to-end tests use it, and the release before this one: its chart and its operator's image.

Only this module starts helm. Knows nothing of what the charts install.
"""

import os
import pathlib
import subprocess
from dataclasses import dataclass

import yaml
from cluster import Cluster, ClusterError, Manifest

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: The release that hack/install makes, which serves all namespaces.
MAIN = "sd-operator"
#: Until what was changed is as it shall be.
WAIT = ("--wait", "--timeout", "3m")


class HelmError(AssertionError):
    """Helm refused; the message is its own."""


@dataclass(frozen=True)
class Release:
    """A release of a chart, by name, in a namespace."""

    cluster: Cluster
    name: str
    namespace: str

    def run(self, verb: str, *arguments: str, stdin: str | None = None) -> str:
        return helm(self.cluster, verb, self.name, *arguments, "-n", self.namespace, stdin=stdin)

    def install(self, chart: pathlib.Path, values: Manifest | None = None, *, wait: bool = True) -> str:
        return self._put("install", chart, values, wait)

    def upgrade(self, chart: pathlib.Path, values: Manifest | None = None, *, wait: bool = True) -> str:
        return self._put("upgrade", chart, values, wait)

    def rollback(self, *, wait: bool = True) -> str:
        """To what it was before its last change."""
        return self.run("rollback", *(WAIT if wait else ()))

    def uninstall(self) -> str:
        return self.run("uninstall", *WAIT)

    def values(self) -> Manifest:
        """What was set for it."""
        found: Manifest = yaml.safe_load(
            helm(self.cluster, "get", "values", self.name, "-n", self.namespace, "-o", "yaml")
        )
        return found or {}

    def exists(self) -> bool:
        listed = helm(self.cluster, "list", "-n", self.namespace, "-q").split()
        return self.name in listed

    def _put(self, verb: str, chart: pathlib.Path, values: Manifest | None, wait: bool) -> str:
        given = yaml.safe_dump(values or {})
        return self.run(verb, str(chart), *(WAIT if wait else ()), "-f", "-", stdin=given)


def helm(cluster: Cluster, *arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["helm", *arguments],
        cwd=ROOT,
        env=cluster.environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise HelmError(f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Previous:
    """The release before this one."""

    version: str
    #: Its tree, with its charts.
    tree: pathlib.Path
    #: Its operator, as the cluster knows it.
    image: str


def previous(cluster: Cluster) -> Previous:
    """Its tree out of Git's history, and its operator, built by its own Containerfile, in the cluster."""
    done = subprocess.run(
        ["hack/previous"],
        cwd=ROOT,
        env={**os.environ, "PATH": cluster.environment["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"hack/previous: {done.stderr.strip()}")
    version, tree, image = done.stdout.split()
    return Previous(version, pathlib.Path(tree), image)


def image_values(reference: str) -> Manifest:
    """A chart's `image` of a reference such as registry/path/name:tag."""
    name, _, tag = reference.rpartition(":")
    registry, _, repository = name.partition("/")
    return {"registry": registry, "repository": repository, "tag": tag}
