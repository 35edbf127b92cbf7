"""End-to-end tests: a real API server, kubelet and images, with the operator installed by hack/install.

Nothing is mocked. Each feature has a file and a namespace of its own, in which Pod Security
`restricted` is enforced. A kube-context that is not the project's is refused unless KUBE_CONTEXT
names it.
"""

import os
import pathlib
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from cluster import Cluster, Kube

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN_CONTEXTS = {"localkube", "kind-sd-operator"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker("e2e")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    script = 'set -e; exports=$(hack/cluster env); eval "$exports"; env -0'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.exit(f"no cluster (make install brings one up): {done.stderr.strip()}", returncode=3)
    environment = dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    cluster = Cluster(environment=environment)
    context = cluster.run("config", "current-context").strip()
    if context not in OWN_CONTEXTS | {os.environ.get("KUBE_CONTEXT", "")}:
        pytest.exit(
            f"refusing to test on kube-context {context!r}: set KUBE_CONTEXT={context} to allow it",
            returncode=3,
        )
    return cluster


def make_namespace(cluster: Cluster, feature: str) -> Iterator[Kube]:
    kube = Kube(cluster=cluster, namespace=f"e2e-{feature}-{uuid.uuid4().hex[:6]}")
    kube.create_namespace()
    yield kube
    kube.delete_namespace()


@pytest.fixture(scope="module")
def kube(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kube]:
    feature = pathlib.Path(str(request.path)).stem.removeprefix("test_").replace("_", "-")
    yield from make_namespace(cluster, feature)
