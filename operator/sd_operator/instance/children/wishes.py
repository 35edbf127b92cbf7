"""All children that an instance should have, and which of those that live it should have no longer. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance import gpu
from sd_operator.instance.children import gpu_pod, outputs
from sd_operator.instance.children.config import build_config, config_of
from sd_operator.instance.children.deployment import RuntimeSettings, build_deployment
from sd_operator.instance.children.disruption_budget import build_disruption_budget
from sd_operator.instance.children.ingress import build_ingress
from sd_operator.instance.children.network_policy import build_network_policy
from sd_operator.instance.children.service import build_headless_service, build_service
from sd_operator.instance.children.service_account import build_service_account
from sd_operator.instance.children.service_monitor import build_service_monitor
from sd_operator.instance.desired import Desired
from sd_operator.instance.plugins import Plugin
from sd_operator.manifests import Object, is_ours

#: Kinds whose objects go when they are no longer wished for. Volumes, and what serves, never do.
PRUNABLE = frozenset(
    (resource.api_version, resource.kind)
    for resource in (
        names.SERVICEACCOUNT,
        names.CONFIGMAP,
        names.NETWORKPOLICY,
        names.CLAIMTEMPLATE,
        names.SERVICE,
        names.INGRESS,
        names.DISRUPTIONBUDGET,
        names.SERVICEMONITOR,
    )
)


#: Pods of the last rollout that have to start, or to be made, again need theirs.
NEEDED_BY_PODS = frozenset({names.CONFIGMAP.kind, names.CLAIMTEMPLATE.kind})


def wished(
    instance: SDInstance,
    *,
    desired: Desired,
    allocation: gpu.Allocation | None,
    exclusive: Collection[str],
    pickles: bool,
    claims: Mapping[str, str],
    live_outputs_claim: Object | None,
    serves: frozenset[names.Resource],
    token_sha256: str,
    settings: RuntimeSettings,
    plugins: Sequence[Plugin] = (),
) -> list[Object]:
    """The children in the order in which they are applied: what pods need comes before the pods."""
    deployment = build_deployment(
        instance,
        allocation=allocation,
        checkpoint=desired.checkpoint,
        exclusive=exclusive,
        pickles=pickles,
        claim_names=claims,
        token_sha256=token_sha256,
        settings=settings,
        added=plugins,
    )
    return [
        build_service_account(instance),
        build_config(instance, name=str(config_of(deployment)), desired=desired),
        *_before_pods(instance, allocation, live_outputs_claim),
        deployment,
        build_service(instance),
        *_after_pods(instance, serves, settings),
    ]


def _before_pods(
    instance: SDInstance, allocation: gpu.Allocation | None, live_outputs_claim: Object | None
) -> list[Object]:
    found = []
    if instance.spec.access.network_policy == "Restricted":
        found.append(build_network_policy(instance))
    wanted = instance.spec.outputs
    if wanted is not None:
        size = outputs.size_to_ask(wanted, live_outputs_claim)
        found.append(outputs.build_outputs_claim(instance, wanted, size=size))
    if allocation is not None and allocation.backend == "DRA":
        found.append(gpu_pod.build_claim_template(instance, allocation))
    return found


def _after_pods(
    instance: SDInstance, serves: frozenset[names.Resource], settings: RuntimeSettings
) -> list[Object]:
    several = instance.spec.replicas > 1
    monitored = names.SERVICEMONITOR in serves
    found = []
    if several or monitored:
        found.append(build_headless_service(instance))
    if instance.spec.access.ingress is not None:
        found.append(build_ingress(instance, instance.spec.access.ingress))
    if several:
        found.append(build_disruption_budget(instance))
    if monitored:
        found.append(build_service_monitor(instance, settings.service_monitor_labels))
    return found


def obsolete(live: Iterable[Object], wishes: Iterable[Object], uid: str) -> list[Object]:
    """Of the objects that live, those that the instance of this uid made and no longer wishes for."""
    children, wished_for = list(live), list(wishes)
    keep = {_key(wish) for wish in wished_for}
    rolled_out = _is_rolled_out(children, wished_for)
    return [
        child
        for child in children
        if _key(child)[:2] in PRUNABLE
        and _key(child) not in keep
        and _is_made_by(child, uid)
        and not child["metadata"].get("deletionTimestamp")
        and (rolled_out or child["kind"] not in NEEDED_BY_PODS)
    ]


def _key(child: Object) -> tuple[str, str, str]:
    return child["apiVersion"], child["kind"], child["metadata"]["name"]


def _is_made_by(child: Object, uid: str) -> bool:
    labels = child["metadata"].get("labels") or {}
    return labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER and is_ours(child, uid=uid)


def _is_rolled_out(live: Iterable[Object], wishes: Iterable[Object]) -> bool:
    """Whether no pod of another template than the wished one is left."""
    before = next((child for child in live if child["kind"] == names.DEPLOYMENT.kind), None)
    if before is None:
        return True
    status = before.get("status") or {}
    return (
        any(wish["kind"] == names.DEPLOYMENT.kind and _template(wish) == _template(before) for wish in wishes)
        and status.get("observedGeneration") == before["metadata"].get("generation")
        and status.get("updatedReplicas", 0) == status.get("replicas", 0)
    )


def _template(deployment: Object) -> str | None:
    annotations = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    digest: str | None = annotations.get(names.ANNOTATION_TEMPLATE)
    return digest
