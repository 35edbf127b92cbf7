"""Now and then compares what the cache holds with what the cluster has, and puts the difference right.

Watches lose, repeat and delay events. A whole list of metadata tells every object's version for little; what
differs, and still does a few seconds later, is read and delivered as the event that should have come. Only
reads.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from sd_operator import errors
from sd_operator.cache import Cache, is_followed, version_of
from sd_operator.cluster import Source
from sd_operator.following import Deliver, selector
from sd_operator.metrics import Metrics
from sd_operator.names import Resource

logger = logging.getLogger(__name__)

#: Seconds that an event which is on its way has to arrive.
SETTLE_SECONDS = 5.0
#: Part of the interval by which audits are spread.
SPREAD = 0.2
#: Intervals without a whole audit after which the process is not well.
PATIENCE = 3


class Auditor:
    """Heals whatever the watches did not tell."""

    def __init__(
        self,
        cluster: Source,
        cache: Cache,
        deliver: Deliver,
        metrics: Metrics,
        *,
        seconds: float,
        namespace: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._deliver = deliver
        self._metrics = metrics
        self._seconds = seconds
        self._namespace = namespace
        self._sleep = sleep
        self._spread = spread
        self._clock = clock
        self._succeeded = clock()

    async def run(self) -> None:
        """Audit for ever."""
        while True:
            await self._sleep(self._seconds * (1 - SPREAD + 2 * SPREAD * self._spread()))
            try:
                await self.audit()
            except errors.ClusterError as error:
                logger.warning("the audit failed: %s", error)

    async def audit(self) -> None:
        """Compare every kind once."""
        suspects = {
            (resource, space): await self._suspects(resource, space)
            for resource in self._cache.resources
            for space in (self._namespace, *self._cache.elsewhere(resource))
        }
        if any(suspects.values()):
            await self._sleep(SETTLE_SECONDS)
        for (resource, _), found in suspects.items():
            for (namespace, name), version in found.items():
                await self._look(resource, namespace, name, version)
        self._succeeded = self._clock()

    def complaints(self) -> list[str]:
        """What is wrong with the audit."""
        since = self._clock() - self._succeeded
        if since <= PATIENCE * self._seconds:
            return []
        return [f"the audit has not succeeded for {since:.0f} s"]

    async def _suspects(self, resource: Resource, space: str) -> dict[tuple[str, str], int | None]:
        """(namespace, name) → the version that the cluster has (None: no object) and the cache has not."""
        held = {
            (known.namespace, known.name): known for known in self._cache.everything(resource, space=space)
        }
        suspects: dict[tuple[str, str], int | None] = {}
        moment = 0
        async for page in self._cluster.pages(
            resource, namespace=space, labels=selector(resource), metadata_only=True
        ):
            moment = int(page.version)
            for item in page.items:
                place = (item["metadata"]["namespace"], item["metadata"]["name"])
                known = held.pop(place, None)
                if known is None or known.version < version_of(item):
                    suspects[place] = version_of(item)
        for place, known in held.items():
            # What came after the list's moment is not in the list.
            if known.version <= moment:
                suspects[place] = None
        return suspects

    async def _look(self, resource: Resource, namespace: str, name: str, version: int | None) -> None:
        """Put one object right, if no event has done so meanwhile."""
        known = self._cache.known(resource, namespace=namespace, name=name)
        told = known is None if version is None else known is not None and known.version >= version
        if told:
            return
        live = await self._cluster.get(resource, namespace=namespace, name=name)
        if live is not None and is_followed(resource, live):
            self._deliver(resource, "MODIFIED", live)
        else:
            stored = self._cache.get(resource, namespace=namespace, name=name)
            # An event that came during the question knows more than the answer.
            if stored is None or self._cache.known(resource, namespace=namespace, name=name) != known:
                return
            self._deliver(resource, "DELETED", stored)
        self._metrics.audit_repairs.labels(resource.kind).inc()
        logger.warning("no watch told what became of %s %s in %s", resource.kind, name, namespace)
