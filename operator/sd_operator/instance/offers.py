"""What the cluster offers to pods that need a GPU: asked for seldom, and only where it decides something."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from sd_operator import errors, names
from sd_operator.api.gpu import Backend
from sd_operator.cluster import Api
from sd_operator.gpu_profiles import TABLE, Dra, Profile
from sd_operator.instance.gpu import Offers, offers_from
from sd_operator.manifests import Object

logger = logging.getLogger(__name__)

#: Seconds that an answer counts. Nodes are listed whole, which is megabytes where there are thousands; and a
#: choice that was made is kept, so that only what is chosen for the first time, or was guessed, is late.
LASTING = 300.0
#: Backends whose profile is chosen by what there is.
_CHOOSERS = ("Auto", "MIG", "Whole")


class OfferBook:
    """What nodes and devices there were a moment ago; one for all instances."""

    def __init__(
        self, api: Api, profiles: Sequence[Profile] = TABLE, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._profiles = profiles
        self._clock = clock
        self._offers: Offers | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def for_backend(self, backend: Backend) -> Offers:
        """What there is; nothing known where the backend does not choose by it, or one may not look."""
        if backend not in _CHOOSERS:
            return Offers(known=False)
        if self._offers is not None and self._asking.locked():
            # An answer is on its way: the last one does for everybody but who asked.
            return self._offers
        async with self._asking:
            if self._offers is None or self._clock() >= self._until:
                self._offers = await self._ask()
                self._until = self._clock() + LASTING
            return self._offers

    async def _ask(self) -> Offers:
        try:
            classes = await self._classes()
            slices = [item for driver in self._drivers(classes) for item in await self._slices(driver)]
            nodes = await self._api.find(names.NODE, namespace="")
        except errors.RefusedError as error:
            # An operator of one namespace has no right on what belongs to the cluster.
            logger.info("what the nodes offer is not known: %s", error)
            return Offers(known=False)
        return offers_from(nodes, classes, slices, self._profiles)

    async def _classes(self) -> list[Object]:
        served = self._api.serves()
        if names.DEVICECLASS not in served or names.RESOURCESLICE not in served:
            return []
        return await self._api.find(names.DEVICECLASS, namespace="")

    def _drivers(self, classes: Sequence[Object]) -> list[str]:
        """The drivers whose slices decide something: those of profiles whose class is there."""
        there = {each["metadata"]["name"] for each in classes}
        profiles = (each for each in self._profiles if isinstance(each, Dra))
        return sorted({each.driver for each in profiles if each.device_class in there})

    async def _slices(self, driver: str) -> list[Object]:
        return await self._api.find(names.RESOURCESLICE, namespace="", fields=f"spec.driver={driver}")
