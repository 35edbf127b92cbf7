"""Reads everything that a decision about an SDInstance needs, and nothing else. Writes nothing."""

import asyncio
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sd_operator import errors, names, pods, uses
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.instance import SDInstance
from sd_operator.api.plugin import SDPlugin
from sd_operator.cluster import Api, Object
from sd_operator.instance.children.config import config_of
from sd_operator.instance.gpu import Offers
from sd_operator.instance.offers import OfferBook
from sd_operator.pods import Trouble
from sd_operator.runtime_client import Runtimes, RuntimeState

#: How many pods of one instance are asked at the same time.
ASKED_AT_ONCE = 16

#: What a pod's runtime said, or why it said nothing.
Answer = RuntimeState | errors.RuntimeUnreachableError
#: Kind and name of a child.
ChildKey = tuple[str, str]

#: Where a pod's spec has its containers: those that start first, the plugins among them, and the others.
ALL_CONTAINERS = ("containers", "initContainers")

#: Kinds of children of an instance that every cluster serves, besides its pods.
CHILD_KINDS = (
    names.SERVICEACCOUNT,
    names.CONFIGMAP,
    names.NETWORKPOLICY,
    names.CLAIM,
    names.DEPLOYMENT,
    names.SERVICE,
    names.INGRESS,
    names.DISRUPTIONBUDGET,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world around one instance at one moment."""

    instance: SDInstance
    now: datetime.datetime
    #: name → the bundle, None when there is none, the error when it cannot be read; also those of plugins
    bundles: Mapping[str, ModelBundle | errors.ManifestError | None] = field(default_factory=dict)
    #: name in spec.plugins → the plugin, in the same way
    plugins: Mapping[str, SDPlugin | errors.ManifestError | None] = field(default_factory=dict)
    #: the namespace of the plugins for all; "": there is none
    catalog: str = ""
    #: bundle → its claim, also one that is being deleted
    claims: Mapping[str, Object] = field(default_factory=dict)
    #: the objects that carry the instance's label, or the name of a child
    children: Mapping[ChildKey, Object] = field(default_factory=dict)
    #: pods of the instance that are not on their way out, oldest first
    pods: tuple[Object, ...] = ()
    #: how many pods are on their way out
    leaving: int = 0
    #: uid of a running pod → what its runtime said
    states: Mapping[str, Answer] = field(default_factory=dict)
    #: uid of a pod that does not get on → the latest warning about it
    warnings: Mapping[str, Trouble] = field(default_factory=dict)
    #: what the cluster's nodes and device classes offer, as far as it matters
    offers: Offers = field(default_factory=Offers)
    #: whether the cluster serves ResourceClaimTemplates
    serves_claims: bool = True

    def child(self, resource: names.Resource, name: str) -> Object | None:
        """A child as it lives."""
        return self.children.get((resource.kind, name))

    @property
    def deployment(self) -> Object | None:
        """The Deployment of the instance's name."""
        return self.child(names.DEPLOYMENT, self.instance.metadata.name)

    @property
    def service(self) -> Object | None:
        """The Service of the instance's name."""
        return self.child(names.SERVICE, self.instance.metadata.name)

    @property
    def config(self) -> Object | None:
        """The ConfigMap that pods of the Deployment read."""
        name = config_of(self.deployment) if self.deployment is not None else None
        return self.child(names.CONFIGMAP, name) if name is not None else None

    @property
    def outputs(self) -> Object | None:
        """The claim for pictures."""
        return self.child(names.CLAIM, names.outputs_name(self.instance.metadata.name))

    @property
    def claim_names(self) -> dict[str, str]:
        """The claim of every bundle that is known to have one."""
        return claim_names(self.bundles, self.deployment)

    def with_children(self, children: Iterable[Object]) -> "Observed":
        """The same world after children were read or written."""
        return replace(self, children={**self.children, **{key_of(child): child for child in children}})

    def with_states(self, states: Mapping[str, Answer]) -> "Observed":
        """The same world after runtimes were told something."""
        return replace(self, states={**self.states, **states})


def key_of(child: Object) -> ChildKey:
    """Kind and name."""
    return child["kind"], child["metadata"]["name"]


def mounted_bundles(deployment: Object | None, *, kinds: Iterable[str] = ("containers",)) -> list[str]:
    """The bundles that pods of the Deployment mount: into the runtime, or into containers of these kinds."""
    pod = (deployment or {}).get("spec", {}).get("template", {}).get("spec") or {}
    containers = [each for kind in kinds for each in pod.get(kind) or ()]
    paths = [str(mount.get("mountPath")) for each in containers for mount in each.get("volumeMounts") or ()]
    mounted = [path.removeprefix(names.BUNDLES) for path in paths if path.startswith(names.BUNDLES)]
    # Whatever else somebody mounted there is no bundle.
    return [name for name in dict.fromkeys(mounted) if names.is_label(name)]


def mounted_claims(deployment: Object | None) -> dict[str, str]:
    """The claims of the bundles that pods of the Deployment mount, for whatever container."""
    pod = (deployment or {}).get("spec", {}).get("template", {}).get("spec") or {}
    claims = {
        volume.get("name"): (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in pod.get("volumes") or ()
    }
    mounted = mounted_bundles(deployment, kinds=ALL_CONTAINERS)
    found = {bundle: claims.get(names.bundle_volume_name(bundle)) for bundle in mounted}
    return {bundle: claim for bundle, claim in found.items() if claim}


def claim_names(
    bundles: Mapping[str, ModelBundle | errors.ManifestError | None], deployment: Object | None
) -> dict[str, str]:
    """The claim of every bundle that is known to have one: by its spec, else by the pods that mount it."""
    told = {name: each.claim_name for name, each in bundles.items() if isinstance(each, ModelBundle)}
    return {**mounted_claims(deployment), **told}


async def observe(
    api: Api,
    runtimes: Runtimes,
    offers: OfferBook,
    manifest: Object,
    *,
    now: datetime.datetime,
    catalog: str = "",
) -> Observed:
    """The world around an instance; a ManifestError when the stored object is none."""
    instance = parse(SDInstance, manifest)
    namespace, name = instance.metadata.namespace, instance.metadata.name
    plugins = await _plugins(api, instance, catalog)
    models = [model.name for model in instance.spec.models]
    models += [
        model.name
        for plugin in plugins.values()
        if isinstance(plugin, SDPlugin)
        for model in plugin.spec.models
    ]
    children, all_pods, bundles, offered = await asyncio.gather(
        _children(api, namespace, name),
        api.find(names.POD, namespace=namespace, labels=names.instance_selector(name)),
        _bundles(api, namespace, models),
        offers.for_backend(instance.spec.gpu.backend),
    )
    deployment = children.get((names.DEPLOYMENT.kind, name))
    wanted = [*models, *mounted_bundles(deployment, kinds=ALL_CONTAINERS)]
    claims = await _claims(api, namespace, wanted, claim_names(bundles, deployment))
    living = [pod for pod in all_pods if not pods.is_leaving(pod) and not pods.is_finished(pod)]
    living.sort(
        key=lambda pod: (str(pod["metadata"].get("creationTimestamp") or ""), pod["metadata"]["name"])
    )
    states, warnings = await asyncio.gather(
        _states(runtimes, instance.metadata.uid, living), _warnings(api, namespace, living, now)
    )
    return Observed(
        instance=instance,
        now=now,
        bundles=bundles,
        plugins=plugins,
        catalog=catalog,
        claims=claims,
        children=children,
        pods=tuple(living),
        leaving=sum(1 for pod in all_pods if pods.is_leaving(pod)),
        states=states,
        warnings=warnings,
        offers=offered,
        serves_claims=names.CLAIMTEMPLATE in api.serves(),
    )


async def _children(api: Api, namespace: str, name: str) -> dict[ChildKey, Object]:
    kinds = (*CHILD_KINDS, *(kind for kind in names.OPTIONAL_CHILDREN if kind in api.serves()))
    found = await asyncio.gather(
        *(api.find(kind, namespace=namespace, labels=names.instance_selector(name)) for kind in kinds)
    )
    # The items of a list do not tell their kind.
    return {
        (kind.kind, item["metadata"]["name"]): {"apiVersion": kind.api_version, "kind": kind.kind, **item}
        for kind, items in zip(kinds, found, strict=True)
        for item in items
    }


async def _bundles(
    api: Api, namespace: str, models: Iterable[str]
) -> dict[str, ModelBundle | errors.ManifestError | None]:
    async def one(name: str) -> ModelBundle | errors.ManifestError | None:
        manifest = await api.get(names.MODELBUNDLE, namespace=namespace, name=name)
        if manifest is None or _is_gone(manifest):
            return None
        try:
            return parse(ModelBundle, manifest)
        except errors.ManifestError as error:
            return error

    wanted = list(dict.fromkeys(models))
    return dict(zip(wanted, await asyncio.gather(*(one(name) for name in wanted)), strict=True))


async def _plugins(
    api: Api, instance: SDInstance, catalog: str
) -> dict[str, SDPlugin | errors.ManifestError | None]:
    async def one(name: str, scope: str) -> SDPlugin | errors.ManifestError | None:
        key = uses.plugin_key(name, scope, namespace=instance.metadata.namespace, catalog=catalog)
        if key is None:
            return None
        manifest = await api.get(names.SDPLUGIN, namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        try:
            return parse(SDPlugin, manifest)
        except errors.ManifestError as error:
            return error

    named = instance.spec.plugins
    found = await asyncio.gather(*(one(each.name, each.scope) for each in named))
    return {each.name: plugin for each, plugin in zip(named, found, strict=True)}


def _is_gone(bundle: Object) -> bool:
    """Whether the bundle was deleted, and does not stay for those that use it."""
    metadata = bundle["metadata"]
    waits = names.FINALIZER in (metadata.get("finalizers") or ())
    return bool(metadata.get("deletionTimestamp")) and not waits


async def _claims(
    api: Api, namespace: str, models: Iterable[str], known: Mapping[str, str]
) -> dict[str, Object]:
    wanted = list(dict.fromkeys(models))
    found = await asyncio.gather(
        *(
            api.get(names.CLAIM, namespace=namespace, name=known.get(name) or names.claim_name(name))
            for name in wanted
        )
    )
    return {name: claim for name, claim in zip(wanted, found, strict=True) if claim is not None}


async def _states(runtimes: Runtimes, uid: str, living: Iterable[Object]) -> dict[str, Answer]:
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(pod: Object) -> Answer:
        # One answer that is lost takes readiness from nobody who has it.
        tries = 2 if pods.is_ready(pod) else 1
        async with gate:
            for last in (number == tries for number in range(1, tries + 1)):
                try:
                    return await runtimes.state(pod_ip=pod["status"]["podIP"], uid=uid)
                except errors.RuntimeUnreachableError as error:
                    if last:
                        return error
        raise AssertionError("the last try returns")

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
