"""`python -m sd_operator`: reads the settings, connects, wires the parts and runs until told to stop."""

import asyncio
import functools
import logging
import sys
import time

import aiohttp
import kopf
from pydantic import ValidationError

from sd_operator import cluster, errors, failing, log, management, names, watching
from sd_operator.bundle.children.job import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.reconcile import InstanceReconciler
from sd_operator.metrics import Metrics
from sd_operator.names import Key
from sd_operator.reconciling import Dispatcher
from sd_operator.references import References
from sd_operator.runtime_client import RuntimeClient
from sd_operator.settings import Settings, load
from sd_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

SHORTEST_KEY = 16


def read_key(settings: Settings) -> bytes:
    """The operator's key; an OperatorError that names the setting when there is none."""
    try:
        key = settings.key_file.read_bytes().strip()
    except OSError as error:
        raise errors.OperatorError(
            f"SDO_KEY_FILE: {settings.key_file} cannot be read: {error.strerror}"
        ) from error
    if len(key) < SHORTEST_KEY:
        raise errors.OperatorError(
            f"SDO_KEY_FILE: {settings.key_file} holds {len(key)} bytes; at least {SHORTEST_KEY} are needed"
        )
    return key


async def run(settings: Settings, key: bytes) -> None:
    """The whole process."""
    metrics = Metrics()
    ages = watching.WatchAges()
    references = References()
    async with (
        cluster.connect(metrics) as api,
        aiohttp.ClientSession() as session,
    ):
        await _wait_for_kinds(api)
        dispatcher = Dispatcher(
            _reconcilers(settings, api, RuntimeClient(session, key=key)),
            metrics,
            tell=functools.partial(failing.tell, api),
        )
        queue: WorkQueue[Key] = WorkQueue(
            dispatcher.work, workers=settings.workers, foreseen=(errors.OperatorError,)
        )

        def health() -> list[str]:
            return _complaints(metrics, ages, queue)

        async with (
            queue,
            management.serving(management.build_app(metrics, health), port=settings.metrics_port),
        ):
            logger.info("watching %s", settings.watch_namespace or "all namespaces")
            await kopf.operator(
                # Kopf would ask for the user's name, which a container's user need not have.
                identity="sd-operator",  # type: ignore[arg-type]  # Kopf's own name of str is private
                registry=watching.registry(queue, references, ages),
                standalone=True,
                clusterwide=not settings.watch_namespace,
                namespaces=[settings.watch_namespace] if settings.watch_namespace else [],
            )


def _reconcilers(
    settings: Settings, api: cluster.Cluster, runtimes: RuntimeClient
) -> dict[str, BundleReconciler | InstanceReconciler]:
    policy, recheck = settings.image_pull_policy, settings.recheck_seconds
    fetch = FetchSettings(
        image=settings.operator_image, image_pull_policy=policy, hf_endpoint=settings.hf_endpoint
    )
    runtime = RuntimeSettings(image=settings.runtime_image, image_pull_policy=policy)
    return {
        names.MODELBUNDLE.kind: BundleReconciler(api, fetch, recheck_seconds=recheck),
        names.SDINSTANCE.kind: InstanceReconciler(api, runtimes, runtime, recheck_seconds=recheck),
    }


async def _wait_for_kinds(api: cluster.Cluster) -> None:
    # Kopf looks for the kinds once, at its start.
    said = 0.0
    while True:
        try:
            if await api.serves_our_kinds():
                return
            words = "the CustomResourceDefinitions are not installed"
        except errors.ClusterError as error:
            words = str(error)
        if time.monotonic() - said > 30:
            logger.warning("waiting for %s: %s", names.API_VERSION, words)
            said = time.monotonic()
        await asyncio.sleep(2)


def _complaints(metrics: Metrics, ages: watching.WatchAges, queue: WorkQueue[Key]) -> list[str]:
    for plural, age in ages.seconds().items():
        metrics.watch_age.labels(plural).set(age)
    metrics.queue_depth.set(queue.depth)
    metrics.queue_delayed.set(queue.delayed)
    complaints = [f"{plural} have not been watched for too long" for plural in ages.too_old()]
    if not queue.alive:
        complaints.append("a worker of the queue has ended")
    return complaints


def main() -> int:
    """Exit 2 on wrong settings, with a sentence and no traceback."""
    try:
        settings = load()
    except ValidationError as error:
        for detail in error.errors():
            name = "_".join(str(part) for part in detail["loc"]).upper()
            sys.stderr.write(f"SDO_{name}: {detail['msg']}\n")
        return 2
    log.configure(settings.log_level)
    try:
        key = read_key(settings)
    except errors.OperatorError as error:
        logger.error("%s", error)
        return 2
    asyncio.run(run(settings, key))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
