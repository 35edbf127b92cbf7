"""Reads everything that a decision about a ModelBundle needs, and nothing else. Writes nothing."""

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sd_operator import claims, names, pods, uses
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.bundle.children import upkeep
from sd_operator.cluster import Api, Object
from sd_operator.fetch_client import Progress
from sd_operator.names import Key
from sd_operator.pods import Trouble

#: A Job without any pod this long after it was made has something to tell in its events.
PODLESS_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world around one bundle at one moment."""

    bundle: ModelBundle
    now: datetime.datetime
    claim: Object | None = None
    #: Jobs that fetch, by name.
    jobs: Mapping[str, Object] = field(default_factory=dict)
    #: Jobs that look after what is on the volume.
    upkeep: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    #: SDInstances of the namespace.
    neighbours: tuple[Object, ...] = ()
    #: SDPlugins that they may use; `catalog` is the namespace of those for all.
    plugins: Mapping[Key, Object] = field(default_factory=dict)
    catalog: str = ""
    #: How far running fetches are, by the names of their Jobs.
    progress: Mapping[str, Progress] = field(default_factory=dict)
    #: When the bundle was made.
    made: str = ""
    #: Value of the annotation that asks for a verification.
    asked: str | None = None
    #: uid of a pod, Job or claim that does not get on → the latest warning about it.
    warnings: Mapping[str, Trouble] = field(default_factory=dict)

    @property
    def instances(self) -> list[Object]:
        """SDInstances whose pods mount the bundle: their spec names it, or a plugin of theirs does."""
        name = self.bundle.metadata.name
        return [
            instance
            for instance in self.neighbours
            if name in uses.all_bundles(instance, self.plugins, catalog=self.catalog)
        ]

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the SDInstances that use the bundle."""
        return tuple(sorted(instance["metadata"]["name"] for instance in self.instances))

    @property
    def same_volume(self) -> bool:
        """Whether the stored status speaks of the volume that is there."""
        known = self.bundle.status.volume
        if self.claim is None or known is None or known.uid is None:
            return True
        return bool(known.uid == self.claim["metadata"].get("uid"))

    @property
    def exclusive(self) -> bool:
        """Whether only one node can mount the volume."""
        if self.claim is not None:
            return claims.is_exclusive(self.claim)
        return "ReadWriteMany" not in self.bundle.spec.storage.access_modes

    def pods_of(self, job: Object) -> list[Object]:
        """The pods of one Job, oldest first."""
        uid = job["metadata"]["uid"]
        mine = [pod for pod in self.pods if pods.owner_uid(pod) == uid]
        return sorted(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))


async def observe(api: Api, manifest: Object, *, now: datetime.datetime, catalog: str = "") -> Observed:
    """The world around a bundle; a ManifestError when the stored object is none. `catalog` is the namespace
    of the plugins for all, "" where there is none."""
    bundle = parse(ModelBundle, manifest)
    namespace, name = bundle.metadata.namespace, bundle.metadata.name
    selector = names.bundle_selector(name)
    claim, jobs, own_pods, instances, plugins = await asyncio.gather(
        api.get(names.CLAIM, namespace=namespace, name=bundle.claim_name),
        api.find(names.JOB, namespace=namespace, labels=selector),
        api.find(names.POD, namespace=namespace, labels=selector),
        api.find(names.SDINSTANCE, namespace=namespace),
        _plugins(api, {namespace, catalog} - {""}),
    )
    observed = Observed(
        bundle=bundle,
        now=now,
        claim=claim,
        jobs={job["metadata"]["name"]: job for job in jobs if not _is_upkeep(job)},
        upkeep=tuple(job for job in jobs if _is_upkeep(job)),
        pods=tuple(own_pods),
        neighbours=tuple(instances),
        plugins=plugins,
        catalog=catalog,
        made=str(manifest["metadata"].get("creationTimestamp") or ""),
        asked=(manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_VERIFY),
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
    return replace(observed, warnings=warnings)


async def _plugins(api: Api, spaces: set[str]) -> dict[Key, Object]:
    found = await asyncio.gather(*(api.find(names.SDPLUGIN, namespace=space) for space in spaces))
    return {
        Key(names.SDPLUGIN.kind, plugin["metadata"]["namespace"], plugin["metadata"]["name"]): plugin
        for listed in found
        for plugin in listed
    }


async def holders(api: Api, observed: Observed) -> tuple[str, ...]:
    """Who keeps the claim from going: SDInstances that name the bundle, or whose pods mount its claim
    whatever their spec says by now; and other bundles on the claim."""
    bundle = observed.bundle
    namespace, claim = bundle.metadata.namespace, bundle.claim_name
    deployments, bundles = await asyncio.gather(
        api.find(names.DEPLOYMENT, namespace=namespace, labels=names.MANAGED_SELECTOR),
        api.find(names.MODELBUNDLE, namespace=namespace),
    )
    found = {f"SDInstance {name}" for name in observed.users}
    for deployment in deployments:
        owner = (deployment["metadata"].get("labels") or {}).get(names.LABEL_SD_INSTANCE)
        if owner and claim in _mounted(deployment):
            found.add(f"SDInstance {owner}")
    for other in bundles:
        spec = other.get("spec")
        storage = spec.get("storage") if isinstance(spec, Mapping) else None
        if isinstance(storage, Mapping) and storage.get("existingClaim") == claim:
            found.add(f"ModelBundle {other['metadata']['name']}")
    return tuple(sorted(found))


def _mounted(deployment: Object) -> set[str]:
    pod = deployment["spec"]["template"]["spec"]
    claims = [(volume.get("persistentVolumeClaim") or {}) for volume in pod.get("volumes") or ()]
    return {claim["claimName"] for claim in claims if "claimName" in claim}


async def refound(api: Api, observed: Observed) -> Observed:
    """The same world with the pods that the cluster tells of, not those that are remembered."""
    metadata = observed.bundle.metadata
    selector = names.bundle_selector(metadata.name)
    found = await api.refind(names.POD, namespace=metadata.namespace, labels=selector)
    return replace(observed, pods=tuple(found))


def condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """A condition of a Job that holds."""
    for each in (job.get("status") or {}).get("conditions") or ():
        if each.get("type") == kind and each.get("status") == "True":
            found: Mapping[str, Any] = each
            return found
    return None


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether a Job has ended, one way or the other."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def annotation(job: Mapping[str, Any], name: str) -> str | None:
    """An annotation's value."""
    value: str | None = (job["metadata"].get("annotations") or {}).get(name)
    return value


def _is_upkeep(job: Mapping[str, Any]) -> bool:
    return (job["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT) == upkeep.COMPONENT


def _silent(observed: Observed) -> list[Object]:
    """Objects that do not get on and whose status does not say why."""
    stuck = [
        pod for pod in observed.pods if pods.is_stuck(pod, now=observed.now) and pods.trouble(pod) is None
    ]
    podless = [
        job
        for job in (*observed.jobs.values(), *observed.upkeep)
        if not is_finished(job)
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
