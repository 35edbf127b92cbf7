"""Every Kopf handler: an event becomes the key of its owner on the queue, and nothing else happens here.

Kopf watches and runs the process. There are no change handlers, timers or daemons, so Kopf writes nothing to
any object: no finalizers, no annotations. What was lost or replayed does not matter; a reconcile observes.
"""

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import kopf

from sd_operator import names
from sd_operator.bundle.observe import bundle_names
from sd_operator.names import Key
from sd_operator.references import References
from sd_operator.workqueue import WorkQueue

#: A child's events come in bursts; one look after the burst does.
CHILD_DELAY = 0.1
#: Changes in who uses a bundle only change its status.
USERS_DELAY = 1.0

#: Seconds after which the API server ends a watch and Kopf opens the next one.
SERVER_TIMEOUT = 240
#: A watch that was not renewed for this long is dead: Kopf renews after SERVER_TIMEOUT at the latest.
OLDEST_WATCH = 3 * SERVER_TIMEOUT

WATCHED = (
    names.SDINSTANCE,
    names.MODELBUNDLE,
    names.DEPLOYMENT,
    names.SERVICE,
    names.CLAIM,
    names.JOB,
    names.POD,
)
#: Watched with our label only.
CHILDREN = WATCHED[2:]


class WatchAges:
    """When each kind's watch was last known to live: opened, or brought an event."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = {resource.plural: clock() for resource in WATCHED}

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
    settings.queueing.idle_timeout = 0.3
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = SERVER_TIMEOUT + 60
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    # Never written; named so that nobody else's marks are touched either.
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    for resource in CHILDREN:
        group, _, version = resource.api_version.rpartition("/")
        settings.watching.label_selectors[group, version, resource.plural] = names.MANAGED_SELECTOR


def registry(queue: WorkQueue[Key], references: References, ages: WatchAges) -> kopf.OperatorRegistry:
    """All handlers."""
    handlers = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.AiohttpSession:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        if info is None:
            raise kopf.LoginError("neither a service account nor a kubeconfig was found")
        return _session(info, ages)

    async def on_instance(event: Mapping[str, Any], **_: Any) -> None:
        ages.seen(names.SDINSTANCE.plural)
        instance_event(queue, references, event)

    async def on_bundle(event: Mapping[str, Any], **_: Any) -> None:
        ages.seen(names.MODELBUNDLE.plural)
        bundle_event(queue, references, event)

    async def on_child(event: Mapping[str, Any], resource: kopf.Resource, **_: Any) -> None:
        ages.seen(resource.plural)
        child_event(queue, references, event)

    async def on_startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings_for_kopf(settings)

    kopf.on.startup(registry=handlers)(on_startup)
    kopf.on.login(registry=handlers)(login)
    kopf.on.event(names.GROUP, names.VERSION, names.SDINSTANCE.plural, registry=handlers)(on_instance)
    kopf.on.event(names.GROUP, names.VERSION, names.MODELBUNDLE.plural, registry=handlers)(on_bundle)
    for resource in CHILDREN:
        group, _, version = resource.api_version.rpartition("/")
        kopf.on.event(group, version, resource.plural, registry=handlers)(on_child)
    return handlers


def instance_event(queue: WorkQueue[Key], references: References, event: Mapping[str, Any]) -> None:
    """An SDInstance came, changed or went: it has work, and so have the bundles whose users changed."""
    manifest = event["object"]
    key = _key(names.SDINSTANCE, manifest)
    gone = event["type"] == "DELETED"
    for bundle in references.note(key, frozenset() if gone else bundle_names(manifest)):
        queue.add(bundle, after=USERS_DELAY)
    # What came with no new spec is mostly the operator's own status: its children's news may join it.
    queue.add(key, after=0 if references.renewed(key, None if gone else manifest) else CHILD_DELAY)


def bundle_event(queue: WorkQueue[Key], references: References, event: Mapping[str, Any]) -> None:
    """A ModelBundle came, changed or went: it has work, and so have its users when it concerns them."""
    manifest = event["object"]
    key = _key(names.MODELBUNDLE, manifest)
    gone = event["type"] == "DELETED"
    if references.changed(key, None if gone else manifest):
        for user in references.users(key):
            queue.add(user)
    queue.add(key, after=0 if references.renewed(key, None if gone else manifest) else CHILD_DELAY)


def child_event(queue: WorkQueue[Key], references: References, event: Mapping[str, Any]) -> None:
    """A child came, changed or went: its owner, named by our labels, looks at it."""
    manifest = event["object"]
    namespace = manifest["metadata"]["namespace"]
    labels = manifest["metadata"].get("labels") or {}
    instance, bundle = labels.get(names.LABEL_SD_INSTANCE), labels.get(names.LABEL_SD_BUNDLE)
    if instance:
        queue.add(Key(names.SDINSTANCE.kind, namespace, instance), after=CHILD_DELAY)
    if bundle:
        key = Key(names.MODELBUNDLE.kind, namespace, bundle)
        queue.add(key, after=CHILD_DELAY)
        if manifest.get("kind") == names.CLAIM.kind:
            for user in references.users(key):
                queue.add(user, after=CHILD_DELAY)


def _key(resource: names.Resource, manifest: Mapping[str, Any]) -> Key:
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
        headers=info.as_http_headers(),
        trace_configs=[trace],
    )
    return kopf.AiohttpSession(
        server=info.server,
        aiohttp_session=session,
        default_namespace=info.default_namespace,
        # Service-account tokens are rotated on disk; logging in anew reads the current one.
        expiration=datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(minutes=30),
    )
