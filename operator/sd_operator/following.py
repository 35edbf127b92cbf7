"""Follows one kind of child: lists it in pages, then watches from there; begins anew when that is too old.

Kopf watches our own kinds (watching.py). The seven children of each object are not for it, because it keeps
a task and a memory for every object that it sees: for 40,000 of them 100 MB and 17 s of CPU at each start,
where this takes 40 MB, the cache included, and 3 s. Knows nothing of what an event means: each goes to
`deliver`.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from sd_operator import errors, names
from sd_operator.cache import Cache
from sd_operator.cluster import Object, Page, Source
from sd_operator.names import Resource

logger = logging.getLogger(__name__)

#: Type of an event as the API server says it, and the object.
Deliver = Callable[[Resource, str, Object], None]

#: Seconds between two tries to list or to watch, growing while they fail.
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
#: Least seconds between two lines about the same failure.
SAY_AGAIN = 30.0


class Follower:
    """Everything that there is of some kinds goes into the cache, then what happens to it."""

    def __init__(
        self,
        cluster: Source,
        cache: Cache,
        deliver: Deliver,
        *,
        namespace: str = "",
        seen: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._deliver = deliver
        self._namespace = namespace
        self._seen = seen
        self._sleep = sleep

    async def load(self, resource: Resource) -> str:
        """Put everything of a kind into the cache, waking nobody; the version from which to watch."""
        patience = _Patience(f"listing {resource.plural}", self._sleep)
        while True:
            try:
                version = ""
                async for page in self._pages(resource):
                    version = page.version
                    for item in page.items:
                        self._cache.put(resource, item)
                self._cache.complete(resource)
                self._seen(resource.plural)
                return version
            except errors.ClusterError as error:
                await patience.after(error)

    async def follow(self, resource: Resource, *, since: str) -> None:
        """Deliver what happens to a kind from that version on, for ever."""
        patience = _Patience(f"watching {resource.plural}", self._sleep)
        version = since
        while True:
            try:
                if not version:
                    version = await self._again(resource)
                async for event in self._cluster.watch(
                    resource, namespace=self._namespace, labels=selector(resource), since=version
                ):
                    self._seen(resource.plural)
                    version = str(event["object"]["metadata"]["resourceVersion"])
                    if event["type"] != "BOOKMARK":
                        self._deliver(resource, event["type"], event["object"])
                    patience.reset()
                self._seen(resource.plural)
                # A server that ends each watch at once must not be asked without pause.
                await self._sleep(SHORTEST_PAUSE)
            except errors.ClusterError as error:
                if error.status == 410:
                    version = ""
                await patience.after(error)

    async def _again(self, resource: Resource) -> str:
        """List anew after a gap; what happened in it is delivered as events."""
        before = {
            (known.namespace, known.name): known
            for known in self._cache.everything(resource, space=self._namespace)
        }
        version = ""
        async for page in self._pages(resource):
            version = page.version
            for item in page.items:
                metadata = item["metadata"]
                known = before.pop((metadata["namespace"], metadata["name"]), None)
                if known is None or str(known.version) != metadata["resourceVersion"]:
                    self._deliver(resource, "MODIFIED", item)
        for known in before.values():
            now = self._cache.known(resource, namespace=known.namespace, name=known.name)
            gone = self._cache.get(resource, namespace=known.namespace, name=known.name)
            # What came after the list's moment is not in the list.
            if gone is not None and now is not None and now.version <= int(version):
                self._deliver(resource, "DELETED", gone)
        return version

    def _pages(self, resource: Resource) -> AsyncIterator[Page]:
        return self._cluster.pages(resource, namespace=self._namespace, labels=selector(resource))


class _Patience:
    """Waits longer and longer while something fails, and says so now and then."""

    def __init__(self, what: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._what = what
        self._sleep = sleep
        self._failures = 0
        self._said = -SAY_AGAIN

    def reset(self) -> None:
        self._failures = 0

    async def after(self, error: errors.ClusterError) -> None:
        self._failures += 1
        now = time.monotonic()
        if error.status != 410 and now - self._said >= SAY_AGAIN:
            self._said = now
            logger.warning("%s failed, attempt %d: %s", self._what, self._failures, error)
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        await self._sleep(pause * (0.5 + 0.5 * random.random()))


def selector(resource: Resource) -> str:
    """Which objects of a kind are followed."""
    return "" if resource in names.OWN else names.MANAGED_SELECTOR
