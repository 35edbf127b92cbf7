"""Reads everything that a decision about a ModelBundle needs, and nothing else. Writes nothing."""

import asyncio
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sd_operator import names, pods
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.cluster import Api, Object
from sd_operator.pods import Trouble

#: A Job without any pod this long after it was made has something to tell in its events.
PODLESS_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world around one bundle at one moment."""

    bundle: ModelBundle
    now: datetime.datetime
    claim: Object | None = None
    jobs: Mapping[str, Object] = field(default_factory=dict)
    pods: tuple[Object, ...] = ()
    users: tuple[str, ...] = ()
    #: uid of a pod, Job or claim that does not get on → the latest warning about it.
    warnings: Mapping[str, Trouble] = field(default_factory=dict)

    def pods_of(self, job: Object) -> list[Object]:
        """The pods of one Job, oldest first."""
        uid = job["metadata"]["uid"]
        mine = [pod for pod in self.pods if pods.owner_uid(pod) == uid]
        return sorted(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))


async def observe(api: Api, manifest: Object, *, now: datetime.datetime) -> Observed:
    """The world around a bundle; a ManifestError when the stored object is none."""
    bundle = parse(ModelBundle, manifest)
    namespace, name = bundle.metadata.namespace, bundle.metadata.name
    selector = names.bundle_selector(name)
    claim, jobs, own_pods, instances = await asyncio.gather(
        api.get(names.CLAIM, namespace=namespace, name=names.claim_name(name)),
        api.find(names.JOB, namespace=namespace, labels=selector),
        api.find(names.POD, namespace=namespace, labels=selector),
        api.find(names.SDINSTANCE, namespace=namespace),
    )
    observed = Observed(
        bundle=bundle,
        now=now,
        claim=claim,
        jobs={job["metadata"]["name"]: job for job in jobs},
        pods=tuple(own_pods),
        users=users_of(name, instances),
    )
    warnings = {}
    for subject in _silent(observed):
        metadata = subject["metadata"]
        events = await api.find(
            names.EVENT, namespace=namespace, fields=f"involvedObject.uid={metadata['uid']}"
        )
        warning = pods.from_events(metadata["name"], events)
        if warning is not None:
            warnings[metadata["uid"]] = warning
    return Observed(
        bundle=bundle,
        now=now,
        claim=claim,
        jobs=observed.jobs,
        pods=observed.pods,
        users=observed.users,
        warnings=warnings,
    )


async def refound(api: Api, observed: Observed) -> Observed:
    """The same world with the pods that the cluster tells of, not those that are remembered."""
    metadata = observed.bundle.metadata
    selector = names.bundle_selector(metadata.name)
    found = await api.refind(names.POD, namespace=metadata.namespace, labels=selector)
    return replace(observed, pods=tuple(found))


def users_of(bundle: str, instances: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the SDInstances that mount the bundle."""
    return tuple(
        sorted(instance["metadata"]["name"] for instance in instances if bundle in bundle_names(instance))
    )


def bundle_names(instance: Mapping[str, Any]) -> frozenset[str]:
    """The bundles that an SDInstance names, as far as it can be read at all."""
    spec = instance.get("spec")
    models = spec.get("models") if isinstance(spec, Mapping) else None
    if not isinstance(models, list):
        return frozenset()
    return frozenset(
        model["name"] for model in models if isinstance(model, Mapping) and isinstance(model.get("name"), str)
    )


def _silent(observed: Observed) -> list[Object]:
    """Objects that do not get on and whose status does not say why."""
    stuck = [
        pod for pod in observed.pods if pods.is_stuck(pod, now=observed.now) and pods.trouble(pod) is None
    ]
    podless = [
        job
        for job in observed.jobs.values()
        if not _is_finished(job)
        and not observed.pods_of(job)
        and pods.age(job, now=observed.now) >= PODLESS_SECONDS
    ]
    claim = observed.claim
    unbound = [
        claim
        for claim in ([claim] if claim is not None else [])
        if (claim.get("status") or {}).get("phase") == "Pending"
        and pods.age(claim, now=observed.now) >= PODLESS_SECONDS
    ]
    return stuck + podless + unbound


def _is_finished(job: Mapping[str, Any]) -> bool:
    return any(
        condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        for condition in (job.get("status") or {}).get("conditions") or ()
    )
