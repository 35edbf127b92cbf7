"""An object on which work fails again and again says so, and keeps what else it said."""

from typing import Any

import pytest
from operator_fakes import FakeCluster, bundle

from sd_operator import errors, failing, names
from sd_operator.api.conditions import conditions, ready
from sd_operator.api.reasons import Reason
from sd_operator.names import Key

BUNDLE = Key("ModelBundle", "ns", "sd15")
FILES = [{"name": "base", "state": "Verified"}]


def a_ready_bundle() -> FakeCluster:
    cluster = FakeCluster()
    manifest = cluster.add(bundle())
    told = conditions(
        ready(Reason.FILES_VERIFIED, "fine"), generation=1, previous=(), time="2026-01-01T00:00:00Z"
    )
    manifest["status"] = {
        "observedGeneration": 1,
        "conditions": [condition.as_manifest() for condition in told],
        "files": FILES,
    }
    manifest["metadata"]["generation"] = 2
    return cluster


def held(cluster: FakeCluster) -> dict[str, Any]:
    status = cluster.one(names.MODELBUNDLE, "sd15")["status"]
    (found,) = [condition for condition in status["conditions"] if condition["status"] == "True"]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.TransientError("failed to store: etcd is full"), "failed to store: etcd is full"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
    ids=["of the API server", "nobody foresaw"],
)
async def test_a_failure_takes_the_place_of_ready(error: Exception, words: str) -> None:
    cluster = a_ready_bundle()
    await failing.tell(cluster, BUNDLE, error)
    condition = held(cluster)
    assert (condition["type"], condition["reason"], condition["observedGeneration"]) == (
        "Reconciling",
        "ReconcileError",
        2,
    )
    assert words in condition["message"]
    assert "Traceback" not in condition["message"]
    status = cluster.one(names.MODELBUNDLE, "sd15")["status"]
    assert (status["files"], status["observedGeneration"]) == (FILES, 1)


async def test_the_same_failure_is_written_once() -> None:
    cluster = a_ready_bundle()
    for _ in range(3):
        await failing.tell(cluster, BUNDLE, errors.TransientError("no"))
    assert cluster.writes == [("apply-status", "ModelBundle", "sd15")]


async def test_nobody_is_told_of_what_is_gone() -> None:
    cluster = FakeCluster()
    await failing.tell(cluster, BUNDLE, errors.TransientError("no"))
    assert cluster.writes == []


async def test_a_server_that_cannot_be_told_is_left_to_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeCluster):
        async def apply_status(self, manifest: dict[str, Any]) -> dict[str, Any]:
            raise errors.TransientError("down")

    cluster = Broken()
    cluster.add(bundle())
    await failing.tell(cluster, BUNDLE, errors.TransientError("no"))
    assert "could not be written" in caplog.text
