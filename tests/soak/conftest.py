"""Soak tests: a real API server and its controllers, pods that run nothing, and faults of every kind.

Nothing of Kubernetes is mocked but the kubelets (hack/kwok); runtimes and fetchers are stood in for (see
`benchmarks.rig`). The operator is a process of this machine that reaches the API server through
`faultproxy`. They take minutes to tens of minutes: `make test-soak`, or `pytest tests/soak -m soak -s`.

SOAK_AT_ONCE   stories that are played at the same time (3)
SOAK_SEEDS     seeds of each row of a table of faults ("1,2")
SOAK_ONLY      rows whose name has this in it ("500;503": one of these), or numbers of writes ("5,6")
SOAK_EVIDENCE  1 writes the tables to docs/evidence
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: needs the local cluster, and minutes (make test-soak)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("soak")
