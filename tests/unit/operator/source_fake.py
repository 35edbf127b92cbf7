"""A cluster as whoever fills a cache sees it: lists in pages, watches that end, and losses on demand."""

import copy
import itertools
from collections.abc import AsyncIterator, Callable

from operator_fakes import Object

from sd_operator import errors, names
from sd_operator.cluster import Page
from sd_operator.names import Resource


class Over(Exception):
    """The script of a test has ended."""


class FakeSource:
    """Holds objects with versions; what happens to them is told by a watch only if the test says so."""

    def __init__(self, *, page_size: int = 2) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.page_size = page_size
        self.log: list[str] = []
        #: What each watch does in turn: yields these events, then raises the error or ends.
        self.watches: list[tuple[list[Object], Exception | None]] = []
        #: Called after each page of a list.
        self.after_page: Callable[[], None] = lambda: None
        self.fail_lists = 0
        self._versions = itertools.count(1)
        self._version = 0

    def write(self, resource: Resource, name: str, *, owner: str = "demo", **fields: object) -> Object:
        """Create or change an object."""
        self._version = next(self._versions)
        place = (resource.plural, "ns", name)
        before = self.objects.get(place)
        manifest = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": before["metadata"]["uid"] if before else f"uid-{self._version}",
                "resourceVersion": str(self._version),
                "labels": {
                    names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
                    names.LABEL_SD_INSTANCE: owner,
                },
            },
            **fields,
        }
        self.objects[place] = manifest
        return copy.deepcopy(manifest)

    def delete(self, resource: Resource, name: str) -> Object:
        """Delete an object; what a watch would say of it."""
        self._version = next(self._versions)
        manifest = self.objects.pop((resource.plural, "ns", name))
        manifest["metadata"]["resourceVersion"] = str(self._version)
        return manifest

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        self.log.append(f"get {name}")
        return copy.deepcopy(self.objects.get((resource.plural, namespace, name)))

    async def pages(
        self, resource: Resource, *, namespace: str, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        self.log.append(f"list {resource.plural} {namespace} {labels} {metadata_only}".replace("  ", " "))
        if self.fail_lists:
            self.fail_lists -= 1
            raise errors.TransientError("no answer")
        moment = str(self._version)
        items = [copy.deepcopy(item) for place, item in self.objects.items() if place[0] == resource.plural]
        items = [item for item in items if not labels or names.LABEL_MANAGED_BY in item["metadata"]["labels"]]
        if metadata_only:
            items = [{"metadata": item["metadata"]} for item in items]
        for start in range(0, max(len(items), 1), self.page_size):
            yield Page(items[start : start + self.page_size], moment)
            self.after_page()

    async def watch(
        self, resource: Resource, *, namespace: str, labels: str, since: str
    ) -> AsyncIterator[Object]:
        self.log.append(f"watch from {since}")
        if not self.watches:
            raise Over
        events, error = self.watches.pop(0)
        for event in events:
            yield event
        if error is not None:
            raise error


def event(type: str, manifest: Object) -> Object:
    return {"type": type, "object": manifest}


def bookmark(version: int) -> Object:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
