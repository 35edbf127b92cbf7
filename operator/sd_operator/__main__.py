"""`python -m sd_operator`: reads the settings, connects, wires the parts and runs until told to stop."""

import asyncio
import functools
import gc
import logging
import sys
import time

import aiohttp
import kopf
from pydantic import ValidationError

from sd_operator import cluster, errors, failing, log, management, names, own_key, watching
from sd_operator.auditing import Auditor
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.networks import cluster_networks
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.cache import Cache
from sd_operator.cached import CachedApi
from sd_operator.fetch_client import FetchClient
from sd_operator.following import Follower
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.reconcile import InstanceReconciler
from sd_operator.metrics import Metrics
from sd_operator.names import Key, Resource
from sd_operator.plugin.reconcile import PluginReconciler
from sd_operator.reconciling import Dispatcher
from sd_operator.references import References
from sd_operator.runtime_client import RuntimeClient
from sd_operator.settings import Settings, load
from sd_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

#: Objects made until the youngest are searched for cycles. With Python's 700, parsing one page of a list
#: makes dozens of searches through everything in memory, and they take two thirds of its time.
GARBAGE_THRESHOLDS = (10_000, 20, 20)


async def run(settings: Settings) -> None:
    """The whole process."""
    metrics, health = Metrics(), management.Health(waits_for=names.API_VERSION)
    async with (
        # First: the kubelet ends a process that is not heard of, and no restart ends what is waited for.
        management.serving(management.build_app(metrics, health), port=settings.metrics_port),
        cluster.connect(metrics) as api,
        aiohttp.ClientSession() as session,
    ):
        await _wait_for_kinds(api, health)
        health.waits_for = own_key.place(settings)
        key = await own_key.obtain(settings, api)
        health.waits_for = "what there is to be listed"
        optional = tuple(kind for kind in names.OPTIONAL_CHILDREN if kind in api.serves())
        cache = Cache(
            (*names.OWN, *names.CHILDREN, *optional),
            namespace=settings.watch_namespace,
            catalog=settings.catalog_namespace,
        )
        cached = CachedApi(api, cache)
        dispatcher = Dispatcher(
            _reconcilers(
                settings,
                cached,
                RuntimeClient(session, key=key),
                FetchClient(session, key=key),
                refused=settings.fetch_refused_networks or await cluster_networks(api),
            ),
            metrics,
            tell=functools.partial(failing.tell, cached),
        )
        queue: WorkQueue[Key] = WorkQueue(
            dispatcher.work,
            workers=settings.workers,
            foreseen=(errors.OperatorError,),
            group=lambda key: key.namespace,
            waited=metrics.queue_wait.observe,
        )
        await _watch(settings, api, cache, queue, metrics, health)


async def _watch(
    settings: Settings,
    api: cluster.Cluster,
    cache: Cache,
    queue: WorkQueue[Key],
    metrics: Metrics,
    health: management.Health,
) -> None:
    """Fill the cache, then work on what the watches tell until told to stop."""
    namespace = settings.watch_namespace
    ages = watching.WatchAges(cache.resources)
    events = watching.Events(
        cache, queue, References(), namespace=namespace, catalog=settings.catalog_namespace
    )
    follower = Follower(api, cache, events.deliver, namespace=namespace, seen=ages.seen)
    auditor = Auditor(
        api, cache, events.deliver, metrics, seconds=settings.audit_seconds, namespace=namespace
    )

    def complaints() -> list[str]:
        _measure(metrics, cache, ages, queue)
        return [*_complaints(ages, queue), *auditor.complaints()]

    async with queue:
        health.complaints = complaints
        # Before anything is on the queue: what a reconcile does not find must not exist.
        versions = {resource: await follower.load(resource) for resource in cache.resources}
        elsewhere = await _load_elsewhere(api, cache, events)
        # All that lives until the end is here now: never searched again.
        gc.freeze()
        health.waits_for = ""
        logger.info("watching %s: %d objects", namespace or "all namespaces", sum(cache.counts().values()))
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(follower.follow(resource, since=version), name=resource.plural)
                for resource, version in versions.items()
                if resource not in names.OWN
            ]
            background += [
                tasks.create_task(other.follow(resource, since=version), name=f"other {resource.plural}")
                for other, resource, version in elsewhere
            ]
            background.append(tasks.create_task(auditor.run(), name="audit"))
            await kopf.operator(
                # Kopf would ask for the user's name, which a container's user need not have.
                identity="sd-operator",  # type: ignore[arg-type]  # Kopf's own name of str is private
                registry=watching.registry(events, ages),
                standalone=True,
                clusterwide=not namespace,
                namespaces=[namespace] if namespace else [],
            )
            for task in background:
                task.cancel()


async def _load_elsewhere(
    api: cluster.Cluster, cache: Cache, events: watching.Events
) -> list[tuple[Follower, Resource, str]]:
    """Note what is followed outside the namespace that is worked on; by whom, and from which version on.

    Kopf does not list it, so it is delivered here; and its watch is no sign that Kopf's lives.
    """
    found = []
    for resource in cache.resources:
        for space in cache.elsewhere(resource):
            follower = Follower(api, cache, events.deliver, namespace=space, seen=lambda _: None)
            found.append((follower, resource, await follower.load(resource)))
            for manifest in await cache.find(resource, namespace=space, terms={}):
                events.deliver(resource, None, manifest)
    return found


def _reconcilers(
    settings: Settings,
    api: cluster.Api,
    runtimes: RuntimeClient,
    fetch_pods: FetchClient,
    *,
    refused: tuple[str, ...],
) -> dict[str, BundleReconciler | InstanceReconciler | PluginReconciler]:
    policy, recheck = settings.image_pull_policy, settings.recheck_seconds
    pull_secrets = settings.image_pull_secrets
    catalog = settings.catalog_namespace
    fetch = FetchSettings(
        image=settings.operator_image,
        image_pull_policy=policy,
        image_pull_secrets=pull_secrets,
        hf_endpoint=settings.hf_endpoint,
        civitai_endpoint=settings.civitai_endpoint,
        allowed_networks=settings.fetch_allowed_networks,
        refused_networks=refused,
        gpu=settings.gpu,
        catalog_namespace=catalog,
    )
    runtime = RuntimeSettings(
        image=settings.runtime_image,
        image_pull_policy=policy,
        image_pull_secrets=pull_secrets,
        service_monitor_labels=settings.service_monitor_labels,
        gpu=settings.gpu,
        catalog_namespace=catalog,
    )
    return {
        names.MODELBUNDLE.kind: BundleReconciler(api, fetch_pods, fetch, recheck_seconds=recheck),
        names.SDINSTANCE.kind: InstanceReconciler(api, runtimes, runtime, recheck_seconds=recheck),
        names.SDPLUGIN.kind: PluginReconciler(
            api, namespace=settings.watch_namespace, catalog=catalog, recheck_seconds=recheck
        ),
    }


async def _wait_for_kinds(api: cluster.Cluster, health: management.Health) -> None:
    # Kopf looks for the kinds once, at its start.
    said = 0.0
    while True:
        try:
            if await api.serves_our_kinds():
                await api.discover()
                return
            words = "the CustomResourceDefinitions are not installed"
        except errors.ClusterError as error:
            words = str(error)
        health.waits_for = f"{names.API_VERSION}: {words}"
        if time.monotonic() - said > 30:
            logger.warning("waiting for %s", health.waits_for)
            said = time.monotonic()
        await asyncio.sleep(2)


def _measure(metrics: Metrics, cache: Cache, ages: watching.WatchAges, queue: WorkQueue[Key]) -> None:
    """Set the gauges, which are only looked at when asked for."""
    for plural, age in ages.seconds().items():
        metrics.watch_age.labels(plural).set(age)
    for resource, count in cache.counts().items():
        metrics.cached.labels(resource.kind).set(count)
    metrics.conditions(metrics.instances, cache.conditions(names.SDINSTANCE))
    metrics.conditions(metrics.bundles, cache.conditions(names.MODELBUNDLE))
    metrics.conditions(metrics.plugins, cache.conditions(names.SDPLUGIN))
    metrics.queue_depth.set(queue.depth)
    metrics.queue_delayed.set(queue.delayed)
    metrics.queue_failing.set(queue.failing)


def _complaints(ages: watching.WatchAges, queue: WorkQueue[Key]) -> list[str]:
    complaints = [f"{plural} have not been watched for too long" for plural in ages.too_old()]
    if not queue.alive:
        complaints.append("a worker of the queue has ended")
    return complaints


def main() -> int:
    """Exit 2 on wrong settings or without a key, with a sentence and no traceback."""
    try:
        settings = load()
    except ValidationError as error:
        for detail in error.errors():
            name = "_".join(str(part) for part in detail["loc"]).upper()
            # What is wrong with several together names them itself.
            words = f"SDO_{name}: {detail['msg']}" if name else detail["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"{words}\n")
        return 2
    log.configure(settings.log_level)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        asyncio.run(run(settings))
    except errors.OwnKeyError as error:
        logger.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
