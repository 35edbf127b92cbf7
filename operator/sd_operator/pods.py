"""What is wrong with a pod, in the cluster's own words. Pure; used for serving pods and fetch pods alike."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Pod = Mapping[str, Any]

#: Waiting reasons that do not go away without a person.
_PERMANENT = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
_PULL_FAILURES = frozenset({"ImagePullBackOff", "ErrImagePull"})
#: Waiting reasons of a pod that is on its way.
_UNDERWAY = frozenset({"ContainerCreating", "PodInitializing", ""})

#: Crashes after which the next start is not expected to go better. Fewer may be a neighbour's doing.
LOOP = 2

#: Seconds that a sidecar which crashed so often must run to count as running again.
STEADY_SECONDS = 60.0

#: A pod without an address this long after it was placed has something to tell in its events.
STUCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not run."""

    reason: str
    message: str
    permanent: bool
    #: The container that it is about, where it is about one.
    container: str | None = None


def trouble(pod: Pod, *, now: datetime.datetime | None = None) -> Trouble | None:
    """What keeps the pod from running, as its status tells; None when nothing is known to. With `now`, a
    sidecar that has only just been started again is not yet taken for one that runs."""
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or "Unschedulable"
            return Trouble(reason, f"pod {name}: {condition.get('message') or 'not placed yet'}", False)
    for container in status.get("initContainerStatuses") or ():
        if _ends_again_and_again(container, now):
            # The same words whatever it does at this moment: each other sentence is a write.
            return _waiting(
                name, container, {"reason": "CrashLoopBackOff", "message": "it ends again and again"}
            )
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and (waiting.get("reason") or "") not in _UNDERWAY:
            return _waiting(name, container, waiting)
        if _keeps_crashing(container):
            words = {"reason": "CrashLoopBackOff", "message": "it runs again, and is not ready"}
            return _waiting(name, container, words)
    if status.get("phase") == "Failed" and status.get("reason"):
        return Trouble(status["reason"], f"pod {name}: {status.get('message') or status['reason']}", False)
    return None


def _waiting(name: str, container: Mapping[str, Any], waiting: Mapping[str, Any]) -> Trouble:
    reason, words = waiting["reason"], waiting.get("message") or waiting["reason"]
    if reason in _PULL_FAILURES:
        # The kubelet swings between the two; what it says after the swing is the same.
        reason, words = "ImagePullBackOff", words.rpartition("ErrImagePull: ")[2]
    message = f"pod {name}, container {container.get('name')}: {words}"
    ended = (container.get("lastState") or {}).get("terminated")
    if ended:
        words = ended.get("message") or ended.get("reason") or ""
        message += f"; it last ended with exit code {ended.get('exitCode')}"
        message += f" ({words})" if words else ""
    permanent = reason in _PERMANENT and not (reason == "CrashLoopBackOff" and _crashes(container) < LOOP)
    return Trouble(reason, message[:2000], permanent, container.get("name"))


def _crashes(container: Mapping[str, Any]) -> int:
    """How often the container ended with an error, as far as the kubelet remembers."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    failed = ended.get("exitCode") not in (None, 0)
    return int(container.get("restartCount") or 0) if failed else 0


def _keeps_crashing(container: Mapping[str, Any]) -> bool:
    """Whether the container runs, or has just ended, between two crashes of many."""
    return _crashes(container) >= LOOP and not container.get("ready")


def _ends_again_and_again(container: Mapping[str, Any], now: datetime.datetime | None) -> bool:
    """Whether a sidecar crashed often, the last time a moment ago: without a probe, it is ready as soon as it
    runs."""
    if _crashes(container) < LOOP:
        return False
    running = (container.get("state") or {}).get("running") or {}
    since = parse_time(running.get("startedAt") or "")
    if not container.get("ready") or now is None or since is None:
        return not container.get("ready")
    return (now - since).total_seconds() < STEADY_SECONDS


def is_stuck(pod: Pod, *, now: datetime.datetime) -> bool:
    """Whether the pod was placed a while ago and has no container running: its events say why."""
    status = pod.get("status") or {}
    if status.get("phase") != "Pending" or not status.get("startTime"):
        return False
    started = parse_time(status["startTime"])
    return started is not None and (now - started).total_seconds() >= STUCK_SECONDS


def from_events(name: str, events: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """The latest warning about an object."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return None
    latest = max(warnings, key=lambda event: _event_time(event))
    reason = latest.get("reason") or "Warning"
    return Trouble(reason, f"{name}: {latest.get('message') or reason}"[:2000], False)


def is_running(pod: Pod) -> bool:
    """Whether the pod has an address and a container that runs."""
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and any(
        "running" in (container.get("state") or {}) for container in status.get("containerStatuses") or ()
    )


def is_ready(pod: Pod) -> bool:
    """Whether the kubelet counts the pod as ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def is_leaving(pod: Pod) -> bool:
    """Whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_finished(pod: Pod) -> bool:
    """Whether the pod's containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def restarts(pod: Pod) -> int:
    """How often containers of the pod were started again."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(int(status.get("restartCount") or 0) for status in statuses)


def termination(pod: Pod) -> Mapping[str, Any] | None:
    """How the pod's first container ended, or None while it has not."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended: Mapping[str, Any] | None = (container.get("state") or {}).get("terminated")
        if ended:
            return ended
    return None


def owner_uid(pod: Mapping[str, Any]) -> str | None:
    """The uid of the object that controls this one."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            uid: str = reference["uid"]
            return uid
    return None


def age(pod: Pod, *, now: datetime.datetime) -> float:
    """Seconds since the pod was made."""
    created = parse_time(pod["metadata"].get("creationTimestamp") or "")
    return max(0.0, (now - created).total_seconds()) if created is not None else 0.0


@dataclass(frozen=True, slots=True)
class StartPhases:
    """How long the first phases of a pod's life took, in seconds; None while not known."""

    schedule_seconds: float | None = None
    image_seconds: float | None = None


def start_phases(pod: Pod) -> StartPhases:
    """From creation to a node; from there to a running container. A container that was started again tells
    nothing of the second."""
    status = pod.get("status") or {}
    created = parse_time(pod["metadata"].get("creationTimestamp") or "")
    placed = next(
        (
            parse_time(condition.get("lastTransitionTime") or "")
            for condition in status.get("conditions") or ()
            if condition.get("type") == "PodScheduled" and condition.get("status") == "True"
        ),
        None,
    )
    running = None
    if restarts(pod) == 0:
        for container in status.get("containerStatuses") or ():
            running = parse_time(((container.get("state") or {}).get("running") or {}).get("startedAt") or "")
    if created is None or placed is None:
        return StartPhases()
    image = (running - placed).total_seconds() if running is not None else None
    return StartPhases((placed - created).total_seconds(), image)


def parse_time(text: str) -> datetime.datetime | None:
    """A Kubernetes time stamp."""
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None


def _containers(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _event_time(event: Mapping[str, Any]) -> str:
    return str(
        (event.get("series") or {}).get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
