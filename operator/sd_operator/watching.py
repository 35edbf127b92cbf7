"""Where events arrive: each goes into the cache, then as the key of its owner on the queue.

Kopf watches our own kinds and runs the process. There are no change handlers, timers or daemons, so Kopf
writes nothing to any object: no finalizers, no annotations. Events of children come from following.py, and
what neither has told from auditing.py. What was replayed is dropped; a reconcile observes.
"""

import datetime
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
import kopf

from sd_operator import names, uses
from sd_operator.cache import Cache, News
from sd_operator.cluster import WATCH_SECONDS, Object
from sd_operator.names import Key, Resource
from sd_operator.references import References
from sd_operator.workqueue import WorkQueue

#: A child's events come in bursts; one look after the burst does.
CHILD_DELAY = 0.1
#: Changes in who uses a bundle or a plugin only change its status.
USERS_DELAY = 1.0

#: A watch that was not renewed for this long is dead: the server ends each after WATCH_SECONDS at the latest.
OLDEST_WATCH = 3 * WATCH_SECONDS


class WatchAges:
    """When each kind's watch was last known to live: opened, or brought an event."""

    def __init__(self, resources: Iterable[Resource], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = {resource.plural: clock() for resource in resources}

    def seen(self, plural: str) -> None:
        """The watch of this kind lives."""
        if plural in self._last:
            self._last[plural] = self._clock()

    def seconds(self) -> dict[str, float]:
        """Age of each watch."""
        now = self._clock()
        return {plural: now - last for plural, last in self._last.items()}

    def too_old(self) -> list[str]:
        """Kinds that are watched no longer."""
        return [plural for plural, age in self.seconds().items() if age > OLDEST_WATCH]


def settings_for_kopf(settings: kopf.OperatorSettings) -> None:
    """Kopf as a watcher that writes nothing and keeps little."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.1
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 60
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    # Never written; named so that nobody else's marks are touched either.
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)


class Events:
    """Where every event ends."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[Key],
        references: References,
        *,
        namespace: str = "",
        catalog: str = "",
    ) -> None:
        """`namespace`: the only one whose objects are worked on; `catalog`: that of plugins for all."""
        self._cache = cache
        self._queue = queue
        self._references = references
        self._namespace = namespace
        self._catalog = catalog

    def deliver(self, resource: Resource, type: str | None, manifest: Object) -> None:
        """An object came, changed or went, or (type None) was there when Kopf listed."""
        gone = type == "DELETED"
        before = self._before(resource, manifest)
        news = self._cache.remove(resource, manifest) if gone else self._cache.put(resource, manifest)
        if news is News.STALE:
            return
        # Each object is listed at the start, and again after a gap, and has its own look then.
        listed = type is None and news is News.KNOWN
        if resource == names.SDINSTANCE:
            self._instance(manifest, gone=gone, listed=listed)
        elif resource == names.MODELBUNDLE:
            self._bundle(manifest, gone=gone, listed=listed)
        elif resource == names.SDPLUGIN:
            self._plugin(manifest, gone=gone, listed=listed)
        else:
            # Somebody may have written another owner onto it: the one of before looks at it, too.
            self._child(resource, owners(manifest) | (owners(before) if before is not None else set()))

    def _before(self, resource: Resource, manifest: Object) -> Object | None:
        """A child as it was known until now."""
        if resource in names.OWN:
            return None
        metadata = manifest["metadata"]
        return self._cache.get(resource, namespace=metadata["namespace"], name=metadata["name"])

    def _instance(self, manifest: Object, *, gone: bool, listed: bool) -> None:
        """It has work, and so have the bundles and plugins whose users changed, and the plugins that it tells
        something new of."""
        key = _key(names.SDINSTANCE, manifest)
        named = frozenset() if gone else uses.named_by(manifest, catalog=self._catalog)
        concerned = self._references.note(key, named)
        plugins = self._references.plugins(key)
        if self._references.changed(key, manifest if plugins else None):
            concerned |= plugins
        self._tell_used(concerned, listed=listed)
        self._own(key, manifest, gone=gone, listed=listed)

    def _bundle(self, manifest: Object, *, gone: bool, listed: bool) -> None:
        """It has work, and so have its users when it concerns them."""
        key = _key(names.MODELBUNDLE, manifest)
        if self._references.changed(key, None if gone else manifest) and not listed:
            for user in self._references.users(key):
                self._queue.add(user)
        self._own(key, manifest, gone=gone, listed=listed)

    def _plugin(self, manifest: Object, *, gone: bool, listed: bool) -> None:
        """It has work, and so have its users and the bundles that they mount for it."""
        key = _key(names.SDPLUGIN, manifest)
        needed = frozenset() if gone else uses.bundle_names(manifest)
        self._tell_used(self._references.note_plugin(key, needed), listed=listed)
        if self._references.changed(key, None if gone else manifest) and not listed:
            for user in self._references.users(key):
                self._queue.add(user)
        if self._is_worked_on(key):
            self._own(key, manifest, gone=gone, listed=listed)

    def _tell_used(self, concerned: set[Key], *, listed: bool) -> None:
        """Objects whose users changed look who they are."""
        for key in concerned:
            if not listed and self._is_worked_on(key):
                self._queue.add(key, after=USERS_DELAY)

    def _is_worked_on(self, key: Key) -> bool:
        """Whether the object is ours to report on; an operator of one namespace only reads the catalog."""
        return self._namespace in ("", key.namespace)

    def _own(self, key: Key, manifest: Object, *, gone: bool, listed: bool) -> None:
        if self._references.renewed(key, None if gone else manifest):
            self._queue.add(key, urgent=not gone and not is_observed(manifest))
        elif not listed:
            # What came with no new spec is mostly the operator's own status: its children's news may join it.
            self._queue.add(key, after=CHILD_DELAY)

    def _child(self, resource: Resource, found: set[Key]) -> None:
        """Its owners look at it."""
        for key in found:
            self._queue.add(key, after=CHILD_DELAY)
            if resource == names.CLAIM and key.kind == names.MODELBUNDLE.kind:
                for user in self._references.users(key):
                    self._queue.add(user, after=CHILD_DELAY)


def owners(manifest: Object) -> set[Key]:
    """Whose a child is, by our labels and by its owner references."""
    metadata = manifest["metadata"]
    namespace, labels = metadata["namespace"], metadata.get("labels") or {}
    kinds = {names.LABEL_SD_INSTANCE: names.SDINSTANCE.kind, names.LABEL_SD_BUNDLE: names.MODELBUNDLE.kind}
    by_label = {Key(kind, namespace, labels[label]) for label, kind in kinds.items() if labels.get(label)}
    by_reference = {
        Key(reference["kind"], namespace, reference["name"])
        for reference in metadata.get("ownerReferences") or ()
        if reference.get("apiVersion") == names.API_VERSION and reference.get("kind") in kinds.values()
    }
    return by_label | by_reference


def registry(events: Events, ages: WatchAges) -> kopf.OperatorRegistry:
    """All handlers."""
    handlers = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.AiohttpSession:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        if info is None:
            raise kopf.LoginError("neither a service account nor a kubeconfig was found")
        return _session(info, ages)

    async def on_instance(event: Mapping[str, Any], **_: Any) -> None:
        ages.seen(names.SDINSTANCE.plural)
        events.deliver(names.SDINSTANCE, event["type"], event["object"])

    async def on_bundle(event: Mapping[str, Any], **_: Any) -> None:
        ages.seen(names.MODELBUNDLE.plural)
        events.deliver(names.MODELBUNDLE, event["type"], event["object"])

    async def on_plugin(event: Mapping[str, Any], **_: Any) -> None:
        ages.seen(names.SDPLUGIN.plural)
        events.deliver(names.SDPLUGIN, event["type"], event["object"])

    async def on_startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings_for_kopf(settings)

    kopf.on.startup(registry=handlers)(on_startup)
    kopf.on.login(registry=handlers)(login)
    kopf.on.event(names.GROUP, names.VERSION, names.SDINSTANCE.plural, registry=handlers)(on_instance)
    kopf.on.event(names.GROUP, names.VERSION, names.MODELBUNDLE.plural, registry=handlers)(on_bundle)
    kopf.on.event(names.GROUP, names.VERSION, names.SDPLUGIN.plural, registry=handlers)(on_plugin)
    return handlers


def is_observed(manifest: Mapping[str, Any]) -> bool:
    """Whether the status speaks of the spec as it is now."""
    status = manifest.get("status")
    told = status.get("observedGeneration") if isinstance(status, Mapping) else None
    return bool(told == manifest["metadata"].get("generation"))


def _key(resource: Resource, manifest: Mapping[str, Any]) -> Key:
    metadata = manifest["metadata"]
    return Key(resource.kind, metadata["namespace"], metadata["name"])


def _session(info: kopf.ConnectionInfo, ages: WatchAges) -> kopf.AiohttpSession:
    """Kopf's connection, with an eye on the watches: a cluster at rest brings no events, but a watch that
    lives is renewed."""

    async def answered(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
        if params.url.query.get("watch") == "true" and params.response.status == 200:
            ages.seen(params.url.path.rpartition("/")[2])

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(answered)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers={**info.as_http_headers(), "Accept-Encoding": "identity"},
        trace_configs=[trace],
    )
    return kopf.AiohttpSession(
        server=info.server,
        aiohttp_session=session,
        default_namespace=info.default_namespace,
        # Service-account tokens are rotated on disk; logging in anew reads the current one.
        expiration=datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(minutes=30),
    )
