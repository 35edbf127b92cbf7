"""The newest known version of every object of the kinds that are followed, kept small.

40,000 objects must fit beside the interpreter in 160 MB, so they are bytes and become dictionaries only when
asked for. Pure memory: knows nothing of what the objects mean and reads nothing itself (cached.py reads from
it; watching.py, following.py and auditing.py feed it).
"""

import asyncio
import datetime
import enum
import marshal
import sys
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sd_operator import names
from sd_operator.cluster import Object
from sd_operator.names import Resource

#: Seconds for which a deleted object is remembered: how late a replayed event of it may come.
TOMBSTONE_SECONDS = 600.0
#: Unpacked objects of one answer after which others get their turn.
SLICE = 100
#: The labels by which objects are found without looking at all others.
OWNER_LABELS = (names.LABEL_SD_INSTANCE, names.LABEL_SD_BUNDLE)
#: Repeats the spec, and nobody here reads it.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

#: A window of 16 KiB holds a typical object and the dictionary; a bigger one costs more than it saves.
WINDOW_BITS = -14
MEMORY_LEVEL = 6

Terms: TypeAlias = Mapping[str, str]
#: namespace, label, value
Owner: TypeAlias = tuple[str, str, str]


class News(enum.Enum):
    """What an event told."""

    STALE = "older than what is known"
    KNOWN = "known already"
    CHANGED = "new"


class Codec:
    """Objects of one kind as bytes: alike but for a few words, so the first is the dictionary of the others.

    `marshal` is twice as fast as JSON here and never leaves the process.
    """

    def __init__(self) -> None:
        self._dictionary = b""

    def pack(self, manifest: Object) -> bytes:
        """Bytes of an object."""
        raw = marshal.dumps(manifest)
        if not self._dictionary:
            self._dictionary = raw
        packer = zlib.compressobj(
            1, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, self._dictionary
        )
        return packer.compress(raw) + packer.flush()

    def unpack(self, data: bytes) -> Object:
        """The object, as a copy that is the caller's."""
        raw = zlib.decompressobj(WINDOW_BITS, zdict=self._dictionary).decompress(data)
        manifest: Object = marshal.loads(raw)
        return manifest


@dataclass(slots=True, eq=False)
class _Entry:
    """One object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    version: int
    data: bytes
    owners: tuple[Owner, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """Which version of which object is held."""

    namespace: str
    name: str
    uid: str
    version: int


class _Shelf:
    """The objects of one kind."""

    def __init__(self) -> None:
        self.codec = Codec()
        self.complete = False
        self.count = 0
        self.namespaces: dict[str, dict[str, _Entry]] = {}
        self.conditions: Counter[tuple[str, str]] = Counter()

    def entry(self, namespace: str, name: str) -> _Entry | None:
        return self.namespaces.get(namespace, {}).get(name)

    def entries(self) -> Iterator[_Entry]:
        for namespace in self.namespaces.values():
            yield from namespace.values()

    def add(self, entry: _Entry) -> None:
        self.count += 1
        self.namespaces.setdefault(entry.namespace, {})[entry.name] = entry

    def discard(self, entry: _Entry) -> None:
        self.count -= 1
        namespace = self.namespaces[entry.namespace]
        del namespace[entry.name]
        if not namespace:
            del self.namespaces[entry.namespace]


class Cache:
    """The newest known version of every followed object, never an older one than it had."""

    def __init__(
        self,
        resources: Iterable[Resource],
        *,
        namespace: str = "",
        catalog: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`namespace`: the only one that is followed; `catalog`: that of plugins for all, besides."""
        self._shelves = {resource: _Shelf() for resource in resources}
        self._namespace = namespace
        self._catalog = catalog
        self._clock = clock
        self._owned: dict[Owner, set[_Entry]] = {}
        #: place → the version at which its object went, and until when that is remembered; oldest first
        self._gone: OrderedDict[tuple[Resource, str, str], tuple[int, float]] = OrderedDict()

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The kinds that are followed."""
        return tuple(self._shelves)

    def complete(self, resource: Resource) -> None:
        """Everything that there is of this kind was put in."""
        self._shelves[resource].complete = True

    def answers(self, resource: Resource, namespace: str) -> bool:
        """Whether what is not in here is not in the cluster; "" asks of all namespaces."""
        shelf = self._shelves.get(resource)
        followed = self._namespace in ("", namespace) or namespace in self.elsewhere(resource)
        return shelf is not None and shelf.complete and followed

    def elsewhere(self, resource: Resource) -> tuple[str, ...]:
        """Namespaces in which a kind is followed, besides the one in which all kinds are."""
        apart = self._namespace and self._catalog not in ("", self._namespace)
        return (self._catalog,) if apart and resource == names.SDPLUGIN else ()

    def put(self, resource: Resource, manifest: Object) -> News:
        """Note an object as it is now, unless something newer is known of it."""
        shelf = self._shelves[resource]
        metadata = manifest["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], str(metadata.get("uid"))
        version = version_of(manifest)
        entry = shelf.entry(namespace, name)
        if entry is not None and version <= entry.version:
            same = version == entry.version and uid == entry.uid
            return News.KNOWN if same else News.STALE
        if version <= self._gone.get((resource, namespace, name), (-1, 0.0))[0]:
            return News.STALE
        self._gone.pop((resource, namespace, name), None)
        if entry is not None:
            self._unlink(shelf, entry)
            entry.uid, entry.version = uid, version
            entry.data = shelf.codec.pack(slim(manifest))
        else:
            data = shelf.codec.pack(slim(manifest))
            entry = _Entry(resource, sys.intern(namespace), name, uid, version, data)
            shelf.add(entry)
        self._link(shelf, entry, manifest)
        return News.CHANGED

    def remove(self, resource: Resource, manifest: Object) -> News:
        """Note that an object went, unless something newer is known of its name.

        The watch of a selector also tells so of an object that no longer matches; it may come back.
        """
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        version = version_of(manifest)
        shelf = self._shelves[resource]
        entry = shelf.entry(namespace, name)
        if entry is not None and entry.version > version:
            return News.STALE
        self._bury((resource, namespace, name), version)
        if entry is None:
            return News.KNOWN
        self._unlink(shelf, entry)
        shelf.discard(entry)
        return News.CHANGED

    def leave(self, resource: Resource, *, namespace: str, name: str, uid: str) -> None:
        """Note that an object was asked to go: it is seen as going until the cluster tells more."""
        shelf = self._shelves.get(resource)
        entry = shelf.entry(namespace, name) if shelf is not None else None
        if shelf is None or entry is None or entry.uid != uid:
            return
        manifest = shelf.codec.unpack(entry.data)
        now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        manifest["metadata"].setdefault("deletionTimestamp", now)
        entry.data = shelf.codec.pack(manifest)

    def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        """A copy of the object."""
        shelf = self._shelves[resource]
        entry = shelf.entry(namespace, name)
        return None if entry is None else shelf.codec.unpack(entry.data)

    async def find(self, resource: Resource, *, namespace: str, terms: Terms) -> list[Object]:
        """Copies of the objects of a namespace ("": of all) that have these labels, by name; yields to
        others."""
        shelf = self._shelves[resource]
        entries = sorted(self._candidates(resource, namespace, terms), key=lambda entry: entry.name)
        found = []
        for number, data in enumerate([entry.data for entry in entries], start=1):
            manifest = shelf.codec.unpack(data)
            labels = manifest["metadata"].get("labels") or {}
            if all(labels.get(label) == value for label, value in terms.items()):
                found.append(manifest)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return found

    def known(self, resource: Resource, *, namespace: str, name: str) -> Known | None:
        """Which version of an object is held."""
        entry = self._shelves[resource].entry(namespace, name)
        return None if entry is None else Known(namespace, name, entry.uid, entry.version)

    def everything(self, resource: Resource, *, space: str | None = None) -> list[Known]:
        """Which versions of all objects of a kind are held; with `space`, of those that the watch of this
        namespace tells of."""
        elsewhere = self.elsewhere(resource)
        apart = space in elsewhere
        return [
            Known(entry.namespace, entry.name, entry.uid, entry.version)
            for entry in self._shelves[resource].entries()
            if space is None or (entry.namespace == space if apart else entry.namespace not in elsewhere)
        ]

    def counts(self) -> dict[Resource, int]:
        """How many objects of each kind are held."""
        return {resource: shelf.count for resource, shelf in self._shelves.items()}

    def conditions(self, resource: Resource) -> dict[tuple[str, str], int]:
        """(type, reason) of the conditions that are True → how many objects have them."""
        return dict(self._shelves[resource].conditions)

    def stored_bytes(self) -> int:
        """The packed size of everything."""
        return sum(len(entry.data) for shelf in self._shelves.values() for entry in shelf.entries())

    def _candidates(self, resource: Resource, namespace: str, terms: Terms) -> Iterable[_Entry]:
        if not namespace:
            return self._shelves[resource].entries()
        for label in OWNER_LABELS:
            if label in terms:
                owned = self._owned.get((namespace, label, terms[label]), ())
                return [entry for entry in owned if entry.resource is resource]
        return self._shelves[resource].namespaces.get(namespace, {}).values()

    def _link(self, shelf: _Shelf, entry: _Entry, manifest: Object) -> None:
        labels = manifest["metadata"].get("labels") or {}
        entry.owners = tuple(
            (entry.namespace, label, sys.intern(labels[label])) for label in OWNER_LABELS if label in labels
        )
        for owner in entry.owners:
            self._owned.setdefault(owner, set()).add(entry)
        if entry.resource in names.OWN:
            entry.conditions = true_conditions(manifest)
            shelf.conditions.update(entry.conditions)

    def _unlink(self, shelf: _Shelf, entry: _Entry) -> None:
        for owner in entry.owners:
            self._owned[owner].discard(entry)
            if not self._owned[owner]:
                del self._owned[owner]
        for condition in entry.conditions:
            shelf.conditions[condition] -= 1
            if not shelf.conditions[condition]:
                del shelf.conditions[condition]

    def _bury(self, place: tuple[Resource, str, str], version: int) -> None:
        now = self._clock()
        while self._gone and next(iter(self._gone.values()))[1] <= now:
            self._gone.popitem(last=False)
        version = max(version, self._gone.pop(place, (-1, 0.0))[0])
        self._gone[place] = (version, now + TOMBSTONE_SECONDS)


def version_of(manifest: Mapping[str, Any]) -> int:
    """The resourceVersion: within one kind, a later one is a greater number."""
    return int(manifest["metadata"].get("resourceVersion") or 0)


def is_followed(resource: Resource, manifest: Mapping[str, Any]) -> bool:
    """Whether the watches tell of this object: children are watched by our label."""
    labels = manifest["metadata"].get("labels") or {}
    return resource in names.OWN or labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER


def slim(manifest: Object) -> Object:
    """The object without what nobody here reads."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations and LAST_APPLIED in annotations:
        kept = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
        metadata["annotations"] = kept
    return {**manifest, "metadata": metadata}


def true_conditions(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(type, reason) of each condition that is True, as far as the status can be read."""
    status = manifest.get("status")
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    return tuple(
        (sys.intern(str(condition.get("type"))), sys.intern(str(condition.get("reason"))))
        for condition in (conditions if isinstance(conditions, list) else ())
        if isinstance(condition, Mapping) and condition.get("status") == "True"
    )
