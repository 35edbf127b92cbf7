"""An `Api` that reads from the cache, for the reconcilers.

What the cache knows whole is answered from it, everything else by the cluster. Writes go to the cluster, and
their answers into the cache at once, so that a look right after a write sees it.
"""

from collections.abc import Awaitable, Callable

from sd_operator import errors, names
from sd_operator.cache import Cache, is_followed
from sd_operator.cluster import Api, Object, is_alive
from sd_operator.names import Resource

#: Kinds of which the operator reads objects that are not labelled as its own, and so not watched.
SHARED = frozenset({names.CLAIM})


class CachedApi:
    """`Api` whose reads come from the cache where it knows, and whose writes are in it at once."""

    def __init__(self, cluster: Api, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache
        #: Names that a child of ours would have and somebody else's object has: no watch tells of those.
        self._strangers: set[tuple[Resource, str, str]] = set()

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        if not self._cache.answers(resource, namespace):
            return await self._cluster.get(resource, namespace=namespace, name=name)
        found = self._cache.get(resource, namespace=namespace, name=name)
        if found is not None or not (resource in SHARED or (resource, namespace, name) in self._strangers):
            return found
        return await self._read(resource, namespace, name)

    async def find(
        self, resource: Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """The objects of one namespace ("": of all) that the selectors match."""
        terms = equalities(labels)
        if fields or terms is None or not self._cache.answers(resource, namespace):
            return await self._cluster.find(resource, namespace=namespace, labels=labels, fields=fields)
        return await self._cache.find(resource, namespace=namespace, terms=terms)

    async def lives(self, resource: Resource, *, namespace: str, name: str, uid: str) -> bool:
        """Whether this very object is there and stays; what is remembered is put right."""
        return is_alive(await self._read(resource, namespace, name), uid=uid)

    async def refind(self, resource: Resource, *, namespace: str, labels: str) -> list[Object]:
        """`find`, by the cluster's word; what it has is remembered."""
        found = await self._cluster.refind(resource, namespace=namespace, labels=labels)
        if self._cache.answers(resource, namespace):
            for item in found:
                self._cache.put(resource, item)
        return found

    async def apply(self, manifest: Object) -> Object:
        """Server-side apply; a TransientError when a stranger has the name, whom `get` shows from then on."""
        resource, namespace, name = _address(manifest)
        if (
            self._cache.answers(resource, namespace)
            and resource not in names.OWN
            and resource not in SHARED
            and self._cache.known(resource, namespace=namespace, name=name) is None
            and (resource, namespace, name) not in self._strangers
        ):
            live = await self._read(resource, namespace, name)
            if live is not None and not is_followed(resource, live):
                raise errors.TransientError(f"{resource.kind} {name} is there already and not ours")
        return await self._write(resource, manifest, self._cluster.apply)

    async def apply_status(self, manifest: Object) -> Object:
        """The same for the status subresource."""
        return await self._write(_address(manifest)[0], manifest, self._cluster.apply_status)

    async def finalize(self, manifest: Object, finalizers: list[str]) -> Object:
        """Set the finalizers; an object that was only waiting for that is gone then."""
        return await self._write(
            _address(manifest)[0], manifest, lambda _: self._cluster.finalize(manifest, finalizers)
        )

    async def scale(self, resource: Resource, *, namespace: str, name: str, replicas: int) -> None:
        """Write the number of replicas; the watch tells what came of it."""
        await self._cluster.scale(resource, namespace=namespace, name=name, replicas=replicas)

    async def delete(self, resource: Resource, *, namespace: str, name: str, uid: str) -> None:
        """Delete this very object; it is seen as going at once."""
        try:
            await self._cluster.delete(resource, namespace=namespace, name=name, uid=uid)
        except errors.ConflictError:
            await self._read(resource, namespace, name)
            raise
        self._cache.leave(resource, namespace=namespace, name=name, uid=uid)

    async def create_event(self, manifest: Object) -> None:
        """Post a core/v1 Event."""
        await self._cluster.create_event(manifest)

    def serves(self) -> frozenset[Resource]:
        """Which optional kinds the cluster has."""
        return self._cluster.serves()

    async def _write(
        self, resource: Resource, manifest: Object, write: Callable[[Object], Awaitable[Object]]
    ) -> Object:
        _, namespace, name = _address(manifest)
        try:
            answer = await write(manifest)
        except errors.ClusterError as error:
            # What was decided came from a cache that is behind: the next look must not.
            if error.status in (404, 409):
                await self._read(resource, namespace, name)
            raise
        if resource in self._cache.resources:
            self._cache.put(resource, answer)
            self._strangers.discard((resource, namespace, name))
        return answer

    async def _read(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object as the cluster has it, noted."""
        follows = self._cache.answers(resource, namespace)
        before = self._cache.known(resource, namespace=namespace, name=name) if follows else None
        live = await self._cluster.get(resource, namespace=namespace, name=name)
        if not follows:
            return live
        self._strangers.discard((resource, namespace, name))
        if live is not None and is_followed(resource, live):
            self._cache.put(resource, live)
            return live
        stored = self._cache.get(resource, namespace=namespace, name=name)
        # An event that came meanwhile knows more than the answer.
        if stored is not None and self._cache.known(resource, namespace=namespace, name=name) == before:
            self._cache.remove(resource, stored)
        if live is not None and resource not in SHARED:
            self._strangers.add((resource, namespace, name))
        return live


def equalities(selector: str) -> dict[str, str] | None:
    """A label selector of the form `a=b,c=d` as a mapping; None when it says anything else."""
    terms = {}
    for term in selector.split(",") if selector else ():
        label, separator, value = term.partition("=")
        if not separator or not label or any(sign in term for sign in "!() "):
            return None
        if value.startswith("="):
            value = value[1:]
        terms[label] = value
    return terms


def _address(manifest: Object) -> tuple[Resource, str, str]:
    metadata = manifest["metadata"]
    resource = names.BY_KIND[manifest["apiVersion"], manifest["kind"]]
    return resource, metadata["namespace"], metadata["name"]
