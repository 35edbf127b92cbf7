"""What instances' children are built from in the tests of this folder, and the instances of the goldens."""

from collections.abc import Collection, Sequence
from typing import Any

from operator_fakes import SHA, instance, plugin

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.instance import SDInstance
from sd_operator.api.plugin import SDPlugin
from sd_operator.instance import gpu
from sd_operator.instance.children.deployment import RuntimeSettings, build_deployment
from sd_operator.instance.children.wishes import wished
from sd_operator.instance.desired import Checkpoint, Desired
from sd_operator.instance.plugins import Plugin

Object = dict[str, Any]

UID = "instance-uid"
TOKEN = "t" * 64
SETTINGS = RuntimeSettings(
    image="runtime:1", image_pull_policy="IfNotPresent", service_monitor_labels={"release": "prometheus"}
)
CHECKPOINT = Checkpoint(
    bundle="sd15",
    file="base",
    path="models/Stable-diffusion/base.safetensors",
    sha256=SHA,
    size=2 * 2**30,
    family="SD15",
)
MIG_OFFERED = gpu.Offers(nodes=frozenset({gpu.Node(resources=frozenset({"nvidia.com/mig-1g.10gb"}))}))

EVERYTHING: Object = {
    "replicas": 3,
    "image": "mine:2",
    "models": [{"name": "sd15"}, {"name": "more"}, {"name": "loras"}],
    "options": {"CLIP_stop_at_last_layers": 2},
    "gpu": {"backend": "Whole", "memory": "10Gi"},
    "outputs": {
        "size": "100Gi",
        "storageClassName": "shared",
        "accessModes": ["ReadWriteMany"],
        "reclaimPolicy": "Delete",
    },
    "rollout": {"strategy": "Surge", "drainTimeoutSeconds": 60},
    "access": {
        "auth": "Required",
        "authSecretRef": {"name": "login"},
        "service": {"type": "LoadBalancer", "annotations": {"cloud.example.org/internal": "true"}},
        "ingress": {
            "host": "draw.example.org",
            "className": "nginx",
            "tlsSecretName": "draw-tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "600"},
        },
    },
    "resources": {"requests": {"cpu": 2, "memory": "8192Mi"}, "limits": {"memory": "16Gi"}},
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
                ]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"app": "noisy"}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        },
    },
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "podLabels": {"kueue.x-k8s.io/queue-name": "pictures", "empty": ""},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "NOTHING"},
    ],
}

#: name of the golden → the spec, where it differs from the simplest one
CASES: dict[str, Object] = {
    "cpu": {},
    "whole": {"gpu": {"backend": "Whole"}},
    "mig": {"gpu": {"backend": "MIG"}},
    "dra": {"gpu": {"backend": "DRA", "memory": "8Gi"}},
    "outputs-rwo": {"outputs": {"size": "10Gi"}},
    "outputs-rwx": {"outputs": {"size": "10Gi", "accessModes": ["ReadWriteMany"], "reclaimPolicy": "Delete"}},
    "ingress": {"access": {"auth": "Disabled", "ingress": {"host": "draw.example.org"}}},
    "three-replicas": {"replicas": 3},
    "drain": {"rollout": {"strategy": "Drain"}},
    "recreate": {"rollout": {"strategy": "Recreate", "drainTimeoutSeconds": 30}},
    "everything": EVERYTHING,
    "plugins": {"plugins": [{"name": "edges"}, {"name": "aux", "scope": "Catalog"}]},
}


def a_plugin(name: str = "aux", **spec: Any) -> Plugin:
    return Plugin(name=name, spec=parse(SDPlugin, with_uid(plugin(name, **spec))).spec)


def with_uid(manifest: Object) -> Object:
    manifest["metadata"]["uid"] = UID
    return manifest


#: The plugins of the golden: one that says nothing, and one that says all.
PLUGINS = (
    a_plugin("edges"),
    a_plugin(
        "aux",
        modules=[
            {"name": "hed", "controlType": "SoftEdge", "matches": ["softedge", "hed"]},
            {"name": "depth_midas"},
        ],
        models=[{"name": "annotators"}, {"name": "sd15"}],
        resources={"requests": {"cpu": "1"}, "limits": {"memory": "3Gi"}},
    ),
)


def an_instance(**spec: Any) -> SDInstance:
    return parse(SDInstance, with_uid(instance(**spec)))


def allocated(of: SDInstance, checkpoint: Checkpoint = CHECKPOINT) -> gpu.Allocation | None:
    need = gpu.need(of.spec.gpu, checkpoint, SETTINGS.gpu)
    found = gpu.choose(of.spec.gpu, need, SETTINGS.gpu.profiles, MIG_OFFERED, None)
    assert not isinstance(found, gpu.Refusal)
    return found


def deployment(
    *,
    checkpoint: Checkpoint = CHECKPOINT,
    exclusive: Collection[str] = (),
    pickles: bool = False,
    settings: RuntimeSettings = SETTINGS,
    added: Sequence[Plugin] = (),
    **spec: Any,
) -> Object:
    of = an_instance(**spec)
    return build_deployment(
        of,
        allocation=allocated(of, checkpoint),
        checkpoint=checkpoint,
        exclusive=exclusive,
        pickles=pickles,
        claim_names={},
        token_sha256=TOKEN,
        settings=settings,
        added=added,
    )


def wishes(
    *,
    desired: Desired | None = None,
    exclusive: Collection[str] = (),
    pickles: bool = False,
    live_outputs_claim: Object | None = None,
    serves: Collection[names.Resource] = (),
    added: Sequence[Plugin] = (),
    settings: RuntimeSettings = SETTINGS,
    **spec: Any,
) -> list[Object]:
    of = an_instance(**spec)
    wanted = desired or Desired(checkpoint=CHECKPOINT, options=of.spec.options or {})
    return wished(
        of,
        desired=wanted,
        allocation=allocated(of, wanted.checkpoint),
        exclusive=exclusive,
        pickles=pickles,
        claims={},
        live_outputs_claim=live_outputs_claim,
        serves=frozenset(serves),
        token_sha256=TOKEN,
        settings=settings,
        plugins=added,
    )


def of_case(case: str) -> list[Object]:
    """The children of a golden; of the fullest one, the cluster has Prometheus and one node its models."""
    if case == "everything":
        return wishes(exclusive={"sd15", "loras"}, serves=names.OPTIONAL, **CASES[case])
    added = PLUGINS if case == "plugins" else ()
    return wishes(exclusive={"sd15"} if case == "drain" else (), added=added, **CASES[case])


def one(found: list[Object], resource: names.Resource, name: str | None = None) -> Object:
    (match,) = (
        wish for wish in found if wish["kind"] == resource.kind and name in (None, wish["metadata"]["name"])
    )
    return match


def template(**given: Any) -> Object:
    found: Object = deployment(**given)["spec"]["template"]
    return found


def pod(**given: Any) -> Object:
    found: Object = template(**given)["spec"]
    return found


def container(**given: Any) -> Object:
    found: Object = pod(**given)["containers"][0]
    return found


def environment(**given: Any) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container(**given)["env"]}


def kinds(found: list[Object]) -> list[str]:
    return [wish["kind"] for wish in found]
