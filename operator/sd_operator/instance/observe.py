"""Reads everything that a decision about an SDInstance needs, and nothing else. Writes nothing."""

import asyncio
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sd_operator import errors, names, pods
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.instance import SDInstance
from sd_operator.cluster import Api, Object
from sd_operator.pods import Trouble
from sd_operator.runtime_client import Runtimes, RuntimeState

#: How many pods of one instance are asked at the same time.
ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world around one instance at one moment."""

    instance: SDInstance
    now: datetime.datetime
    #: name → the bundle, None when there is none, the error when it cannot be read
    bundles: Mapping[str, ModelBundle | errors.ManifestError | None] = field(default_factory=dict)
    #: bundles whose claim exists and stays
    claims: frozenset[str] = frozenset()
    #: bundles whose claim is being deleted
    leaving_claims: frozenset[str] = frozenset()
    deployment: Object | None = None
    service: Object | None = None
    #: pods of the instance that are not on their way out, oldest first
    pods: tuple[Object, ...] = ()
    #: how many pods are on their way out
    leaving: int = 0
    #: uid of a running pod → what its runtime said, or why it said nothing
    states: Mapping[str, RuntimeState | errors.RuntimeUnreachableError] = field(default_factory=dict)
    #: uid of a pod that does not get on → the latest warning about it
    warnings: Mapping[str, Trouble] = field(default_factory=dict)

    def with_children(self, *, deployment: Object, service: Object) -> "Observed":
        """The same world after the children were applied."""
        return replace(self, deployment=deployment, service=service)


async def observe(api: Api, runtimes: Runtimes, manifest: Object, *, now: datetime.datetime) -> Observed:
    """The world around an instance; a ManifestError when the stored object is none."""
    instance = parse(SDInstance, manifest)
    namespace, name = instance.metadata.namespace, instance.metadata.name
    models = [model.name for model in instance.spec.models]
    deployment, service, all_pods, bundles, claims = await asyncio.gather(
        api.get(names.DEPLOYMENT, namespace=namespace, name=name),
        api.get(names.SERVICE, namespace=namespace, name=name),
        api.find(names.POD, namespace=namespace, labels=names.instance_selector(name)),
        _bundles(api, namespace, models),
        _claims(api, namespace, models),
    )
    living = [pod for pod in all_pods if not pods.is_leaving(pod) and not pods.is_finished(pod)]
    living.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))
    states, warnings = await asyncio.gather(
        _states(runtimes, instance.metadata.uid, living), _warnings(api, namespace, living, now)
    )
    return Observed(
        instance=instance,
        now=now,
        bundles=bundles,
        claims=frozenset(claims) - _leaving(claims),
        leaving_claims=_leaving(claims),
        deployment=deployment,
        service=service,
        pods=tuple(living),
        leaving=sum(1 for pod in all_pods if pods.is_leaving(pod)),
        states=states,
        warnings=warnings,
    )


async def _bundles(
    api: Api, namespace: str, models: Iterable[str]
) -> dict[str, ModelBundle | errors.ManifestError | None]:
    async def one(name: str) -> ModelBundle | errors.ManifestError | None:
        manifest = await api.get(names.MODELBUNDLE, namespace=namespace, name=name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        try:
            return parse(ModelBundle, manifest)
        except errors.ManifestError as error:
            return error

    wanted = list(dict.fromkeys(models))
    return dict(zip(wanted, await asyncio.gather(*(one(name) for name in wanted)), strict=True))


async def _claims(api: Api, namespace: str, models: Iterable[str]) -> dict[str, Object]:
    wanted = list(dict.fromkeys(models))
    found = await asyncio.gather(
        *(api.get(names.CLAIM, namespace=namespace, name=names.claim_name(name)) for name in wanted)
    )
    return {name: claim for name, claim in zip(wanted, found, strict=True) if claim is not None}


def _leaving(claims: Mapping[str, Object]) -> frozenset[str]:
    return frozenset(name for name, claim in claims.items() if claim["metadata"].get("deletionTimestamp"))


async def _states(
    runtimes: Runtimes, uid: str, living: Iterable[Object]
) -> dict[str, RuntimeState | errors.RuntimeUnreachableError]:
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(pod: Object) -> RuntimeState | errors.RuntimeUnreachableError:
        async with gate:
            try:
                return await runtimes.state(pod_ip=pod["status"]["podIP"], uid=uid)
            except errors.RuntimeUnreachableError as error:
                return error

    running = [pod for pod in living if pods.is_running(pod)]
    answers = await asyncio.gather(*(ask(pod) for pod in running))
    return {pod["metadata"]["uid"]: answer for pod, answer in zip(running, answers, strict=True)}


async def _warnings(
    api: Api, namespace: str, living: Iterable[Object], now: datetime.datetime
) -> dict[str, Trouble]:
    found = {}
    for pod in living:
        if pods.is_stuck(pod, now=now) and pods.trouble(pod) is None:
            uid = pod["metadata"]["uid"]
            events = await api.find(names.EVENT, namespace=namespace, fields=f"involvedObject.uid={uid}")
            warning = pods.from_events(f"pod {pod['metadata']['name']}", events)
            if warning is not None:
                found[uid] = warning
    return found
