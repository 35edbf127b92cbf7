"""Writes a child when, and only when, what lives differs from what is wished for; the same for a status.

Events tell of transitions only: one when an object becomes ready, stalled, or ceases to be ready.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import errors, names
from sd_operator.api.conditions import State, Verdict, now
from sd_operator.cluster import Api, Object
from sd_operator.manifests import differs, stamped

logger = logging.getLogger(__name__)


async def settle(api: Api, wish: Object, live: Object | None) -> Object:
    """The child as it lives after this, written only if it has to be."""
    if live is not None and is_settled(wish, live):
        return live
    logger.info("applying %s %s", wish["kind"], wish["metadata"]["name"])
    return await api.apply(stamped(wish))


def is_settled(wish: Object, live: Object | None) -> bool:
    """Whether what lives is as wished for."""
    return live is not None and not differs(stamped(wish), live)


async def prune(api: Api, obsolete: Iterable[Object]) -> None:
    """Delete children that are wished for no longer."""
    for child in obsolete:
        metadata = child["metadata"]
        if metadata.get("deletionTimestamp"):
            continue
        logger.info("deleting %s %s", child["kind"], metadata["name"])
        resource = names.BY_KIND[child["apiVersion"], child["kind"]]
        await api.delete(
            resource, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        )


async def report(api: Api, manifest: Object, status: Mapping[str, Any]) -> bool:
    """Write the status if it is another than the stored one; whether it was."""
    if manifest.get("status") == status:
        return False
    metadata = manifest["metadata"]
    await api.apply_status(
        {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            # The uid is a precondition: an object of the same name that came later has a status of its own.
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "status": dict(status),
        }
    )
    return True


@dataclass(frozen=True, slots=True)
class Story:
    """What an Event tells."""

    reason: str
    message: str
    warning: bool = False


async def announce(api: Api, manifest: Object, verdict: Verdict) -> None:
    """Post an Event if the verdict is a transition from what `manifest` says."""
    if not _is_transition(manifest, verdict):
        return
    reason = verdict.reason if verdict.state is not State.RECONCILING else "NotReady"
    story = Story(reason, _event_words(verdict), warning=verdict.state is State.STALLED)
    await post(api, manifest, story)


async def post(api: Api, manifest: Object, story: Story) -> None:
    """Post an Event about an object; a lost one is no harm."""
    metadata = manifest["metadata"]
    time = now()
    told = [metadata["uid"], metadata.get("generation"), story.reason, story.message, time]
    event = {
        "apiVersion": names.EVENT.api_version,
        "kind": names.EVENT.kind,
        "metadata": {
            "name": f"{metadata['name']}.{names.digest(told)[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if story.warning else "Normal",
        "reason": story.reason,
        "message": story.message[:1000],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    try:
        await api.create_event(event)
    except errors.ClusterError as error:
        logger.warning("an event could not be posted: %s", error)


def _event_words(verdict: Verdict) -> str:
    words = verdict.message
    if verdict.state is State.RECONCILING:
        words = f"{verdict.reason}: {words}"
    return words


def _is_transition(manifest: Mapping[str, Any], verdict: Verdict) -> bool:
    stored = (manifest.get("status") or {}).get("conditions") or ()
    before = {
        condition.get("type"): (condition.get("status") == "True", condition.get("reason"))
        for condition in stored
        if isinstance(condition, Mapping)
    }
    was_ready = before.get(State.READY.value, (False, None))[0]
    was_stalled, stalled_for = before.get(State.STALLED.value, (False, None))
    if verdict.state is State.READY:
        return not was_ready
    if verdict.state is State.STALLED:
        return not was_stalled or stalled_for != verdict.reason
    return was_ready
