"""What is wrong with a pod, in the cluster's own words."""

import datetime
from typing import Any

import pytest
from operator_fakes import finish, run, timestamp, wait

from sd_operator import pods


def now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.UTC)


def a_pod(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u", **metadata}}


def crashed() -> dict[str, Any]:
    pod = wait(a_pod(), "CrashLoopBackOff", "back-off 10s", crashes=2)
    pod["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 3, "reason": "Error", "message": "SD_CHECKPOINT: Field required"}
    }
    return pod


EVICTED = {**a_pod(), "status": {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}}
INIT = {
    **a_pod(),
    "status": {
        "initContainerStatuses": [
            {"name": "i", "state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}
        ]
    },
}


@pytest.mark.parametrize(
    ("pod", "reason", "permanent", "words"),
    [
        (run(a_pod()), None, False, ""),
        (a_pod(), None, False, ""),
        (wait(a_pod(), "ContainerCreating", ""), None, False, ""),
        (
            wait(a_pod(), "ImagePullBackOff", "not found"),
            "ImagePullBackOff",
            True,
            "container runtime: not found",
        ),
        (crashed(), "CrashLoopBackOff", True, "exit code 3 (SD_CHECKPOINT: Field required)"),
        (wait(a_pod(), "SomethingNew", "words"), "SomethingNew", False, "words"),
        (EVICTED, "Evicted", False, "low on disk"),
        (INIT, "ImagePullBackOff", True, "denied"),
        (finish(a_pod(), "", exit_code=1), None, False, ""),
    ],
    ids=["runs", "new", "creating", "image", "crash", "unknown", "evicted", "init container", "ended"],
)
def test_trouble(pod: dict[str, Any], reason: str | None, permanent: bool, words: str) -> None:
    trouble = pods.trouble(pod)
    assert (trouble.reason if trouble else None) == reason
    if trouble is not None:
        assert trouble.permanent is permanent
        assert words in trouble.message and "pod p" in trouble.message


def test_a_kubelet_that_swings_between_two_words_is_quoted_the_same() -> None:
    pulling = wait(a_pod(), "ErrImagePull", 'failed to pull "x": denied')
    waiting = wait(
        a_pod(), "ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: failed to pull "x": denied'
    )
    assert pods.trouble(pulling) == pods.trouble(waiting)


@pytest.mark.parametrize(("ago", "stuck"), [(5, False), (15, True)])
def test_a_placed_pod_that_does_not_start_is_stuck_after_a_while(ago: float, stuck: bool) -> None:
    pod = wait(a_pod(), "ContainerCreating", "")
    assert pods.is_stuck(pod, now=now()) is False
    pod["status"]["startTime"] = timestamp(ago=ago)
    assert pods.is_stuck(pod, now=now()) is stuck


def test_the_latest_warning_is_told() -> None:
    def event(type: str, message: str, time: str, **more: Any) -> dict[str, Any]:
        return {
            "type": type,
            "reason": "FailedMount",
            "message": message,
            "metadata": {},
            "lastTimestamp": time,
            **more,
        }

    events = [
        event("Warning", "first", "2026-01-01T00:00:00Z"),
        event("Warning", "last", "2026-01-01T00:00:02Z"),
        event("Normal", "fine", "2026-01-01T00:00:03Z"),
        event("Warning", "older", "", eventTime="2026-01-01T00:00:01.000000Z"),
    ]
    told = pods.from_events("pod p", events)
    assert told == pods.Trouble("FailedMount", "pod p: last", False)
    assert pods.from_events("pod p", events[2:3]) is None


def test_times_that_are_none_do_no_harm() -> None:
    assert pods.age(a_pod(creationTimestamp="yesterday"), now=now()) == 0.0
    assert pods.age(a_pod(creationTimestamp=timestamp(ago=60)), now=now()) >= 59
