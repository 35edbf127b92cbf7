"""Every name the operator and the cluster agree on: group, kinds, labels, annotations, names of children.

Pure strings; knows nothing of the API server or of what the children contain. Child names are deterministic,
so that a reconcile that was killed half-way finds what it made.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

GROUP: Final = "sdoperator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "sd-operator"

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_SD_INSTANCE: Final = f"{GROUP}/instance"
LABEL_SD_BUNDLE: Final = f"{GROUP}/bundle"
LABEL_SD_FILE: Final = f"{GROUP}/file"
MANAGED_SELECTOR: Final = f"{LABEL_MANAGED_BY}={FIELD_MANAGER}"

#: Hash of the manifest that was applied last; tells a changed wish from an unchanged one without a write.
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"
#: The uid of the claim that a fetch Job wrote to: a new claim is an empty one.
ANNOTATION_CLAIM_UID: Final = f"{GROUP}/claim-uid"
#: On the ConfigMap of the desired state, as JSON: the checkpoint that pods must load.
ANNOTATION_CHECKPOINT: Final = f"{GROUP}/checkpoint"

#: On the pod template: its own digest. A pod that carries another one belongs to an earlier rollout.
ANNOTATION_TEMPLATE: Final = f"{GROUP}/template"
#: On the Deployment, as JSON: the GPU backend and profile that were chosen, so that Auto stays with them.
ANNOTATION_GPU: Final = f"{GROUP}/gpu"
#: Prefix of the pod labels that tell which ReadWriteOnce claims a pod mounts.
CLAIM_LABEL_PREFIX: Final = f"claim.{GROUP}/"
#: On the Deployment, as JSON: the plugins that its pods run, so that they stay while one's object is missing.
ANNOTATION_PLUGINS: Final = f"{GROUP}/plugins"
#: On a fetch Job: how many Jobs before it failed in a row.
ANNOTATION_FAILURES: Final = f"{GROUP}/failures"
#: On a ModelBundle, by whoever wants its files hashed anew: any value that it did not have before.
ANNOTATION_VERIFY: Final = f"{GROUP}/verify"
#: On a ModelBundle whose volume goes with it.
FINALIZER: Final = f"{GROUP}/reclaim"

#: Environment variables of the runtime's container that the operator sets, and a spec must not.
OWN_VARIABLES: Final = frozenset(
    {
        "HOME",
        "SD_ALLOW_PICKLES",
        "SD_AUTH",
        "SD_AUTH_DIR",
        "SD_CACHE_DIR",
        "SD_CHECKPOINT",
        "SD_DESIRED_FILE",
        "SD_DEVICE",
        "SD_DRAIN_SECONDS",
        "SD_HOST",
        "SD_MANAGEMENT_PORT",
        "SD_MANAGEMENT_TOKEN_SHA256",
        "SD_MODEL_ROOTS",
        "SD_OUTPUT_DIR",
        "SD_OUTPUT_RETENTION_DAYS",
        "SD_PAGE",
        "SD_PEERS",
        "SD_PLUGINS",
        "SD_PLUGIN_DIR",
        "SD_POD_IP",
        "SD_PORT",
        "SD_WARM_UP",
    }
)

#: The folder of a serving pod under which each bundle's volume is mounted.
BUNDLES: Final = "/bundles/"

#: Where the plugins' sockets are, in all containers of a serving pod.
SOCKETS: Final = "/run/sd-plugins"
#: What the name of a plugin's container begins with.
PLUGIN_PREFIX: Final = "plugin-"

MAX_LABEL: Final = 63
#: With the prefix it is the name of a container.
MAX_PLUGIN: Final = MAX_LABEL - len(PLUGIN_PREFIX)
#: DNS-1035: what a Service (and so a kind that names a Service after itself) may be called.
NAME_PATTERN: Final = "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
#: DNS-1123 label.
LABEL_PATTERN: Final = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
#: The same, no longer than MAX_PLUGIN.
PLUGIN_PATTERN: Final = "^[a-z0-9]([-a-z0-9]{0,54}[a-z0-9])?$"

HTTP_PORT: Final = 7860
MANAGEMENT_PORT: Final = 9091


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server addresses it."""

    api_version: str
    kind: str
    plural: str


SDINSTANCE: Final = Resource(API_VERSION, "SDInstance", "sdinstances")
MODELBUNDLE: Final = Resource(API_VERSION, "ModelBundle", "modelbundles")
SDPLUGIN: Final = Resource(API_VERSION, "SDPlugin", "sdplugins")
DEPLOYMENT: Final = Resource("apps/v1", "Deployment", "deployments")
JOB: Final = Resource("batch/v1", "Job", "jobs")
SERVICE: Final = Resource("v1", "Service", "services")
CLAIM: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD: Final = Resource("v1", "Pod", "pods")
CONFIGMAP: Final = Resource("v1", "ConfigMap", "configmaps")
SERVICEACCOUNT: Final = Resource("v1", "ServiceAccount", "serviceaccounts")
NETWORKPOLICY: Final = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
INGRESS: Final = Resource("networking.k8s.io/v1", "Ingress", "ingresses")
DISRUPTIONBUDGET: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CLAIMTEMPLATE: Final = Resource("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates")
SERVICEMONITOR: Final = Resource("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors")
EVENT: Final = Resource("v1", "Event", "events")
#: Of all Secrets, the operator reads only its own.
SECRET: Final = Resource("v1", "Secret", "secrets")
#: Cluster-scoped: asked for with the namespace "".
NODE: Final = Resource("v1", "Node", "nodes")
SERVICECIDR: Final = Resource("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs")
DEVICECLASS: Final = Resource("resource.k8s.io/v1", "DeviceClass", "deviceclasses")
RESOURCESLICE: Final = Resource("resource.k8s.io/v1", "ResourceSlice", "resourceslices")

#: Our own kinds, then the children that every cluster serves; all of them are watched.
OWN: Final = (SDINSTANCE, MODELBUNDLE, SDPLUGIN)
CHILDREN: Final = (
    DEPLOYMENT,
    SERVICE,
    CONFIGMAP,
    CLAIM,
    JOB,
    POD,
    SERVICEACCOUNT,
    NETWORKPOLICY,
    INGRESS,
    DISRUPTIONBUDGET,
)
#: Children of kinds that a cluster may lack.
OPTIONAL_CHILDREN: Final = (CLAIMTEMPLATE, SERVICEMONITOR)
#: Every kind that is asked for at start, whether the cluster serves it.
OPTIONAL: Final = (*OPTIONAL_CHILDREN, DEVICECLASS, RESOURCESLICE)

BY_KIND: Final = {
    (resource.api_version, resource.kind): resource for resource in (*OWN, *CHILDREN, *OPTIONAL, EVENT, NODE)
}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which object a unit of work is about."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def digest(value: Any) -> str:
    """A hash of anything JSON can say, equal for equal content in any key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fit(name: str, *, limit: int = MAX_LABEL) -> str:
    """The name itself where it fits, else its head and a hash, so that two long names stay apart."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def claim_name(bundle: str) -> str:
    """The claim that the operator makes for a bundle's files."""
    return f"{bundle}-models"


def job_name(bundle: str, file: str, content: Any) -> str:
    """The fetch Job of one file; another wish for the file is another name."""
    return f"{fit(f'{bundle}-{file}', limit=MAX_LABEL - 9)}-{digest(content)[:8]}"


def bundle_volume_name(bundle: str) -> str:
    """The name of a bundle's volume inside a pod."""
    return fit(f"bundle-{bundle}")


def bundle_mount_path(bundle: str) -> str:
    """Where a bundle's volume is mounted in a serving pod."""
    return f"{BUNDLES}{bundle}"


def plugin_container(plugin: str) -> str:
    """The container of a plugin in a serving pod."""
    return f"{PLUGIN_PREFIX}{plugin}"


def plugin_of_container(container: str) -> str | None:
    """The plugin whose container this is; None of the runtime's."""
    return container.removeprefix(PLUGIN_PREFIX) if container.startswith(PLUGIN_PREFIX) else None


def plugin_socket(plugin: str) -> str:
    """Where a plugin listens."""
    return f"{SOCKETS}/{plugin}.sock"


def desired_name(instance: str, content: Any) -> str:
    """The ConfigMap with what the pods of a template load; another template has another."""
    return f"{instance}-desired-{digest(content)[:8]}"


def headless_name(instance: str) -> str:
    """The headless Service, by which the pods of an instance reach each other."""
    return fit(f"{instance}-pods")


def outputs_name(instance: str) -> str:
    """The claim that an instance's pictures are kept on."""
    return f"{instance}-outputs"


def account_name(instance: str) -> str:
    """The ServiceAccount of an instance's pods; not the instance's own name, which may be `default`."""
    return f"{instance}-runtime"


def claim_template_name(instance: str, content: Any) -> str:
    """The ResourceClaimTemplate of an instance; it cannot be changed, so another wish is another name."""
    return f"{fit(f'{instance}-gpu', limit=MAX_LABEL - 9)}-{digest(content)[:8]}"


def upkeep_name(bundle: str, content: Any) -> str:
    """The Job that looks after what is on a bundle's volume; other work is another name."""
    return f"{fit(f'{bundle}-upkeep', limit=MAX_LABEL - 9)}-{digest(content)[:8]}"


def claim_label(claim: str) -> str:
    """The label key of pods that mount this ReadWriteOnce claim."""
    return f"{CLAIM_LABEL_PREFIX}{fit(claim)}"


def instance_selector(instance: str) -> str:
    """The label selector of an instance's pods, as a string (HPA reads it from status)."""
    return f"{LABEL_SD_INSTANCE}={instance}"


def bundle_selector(bundle: str) -> str:
    """The label selector of a bundle's Jobs and their pods."""
    return f"{LABEL_SD_BUNDLE}={bundle}"


def is_label(name: str) -> bool:
    """Whether an object that becomes a label, such as a ModelBundle, may have this name."""
    return re.fullmatch(LABEL_PATTERN, name) is not None


def is_plugin_name(name: str) -> bool:
    """Whether an SDPlugin may have this name: its container carries it on."""
    return re.fullmatch(PLUGIN_PATTERN, name) is not None


def is_name(name: str) -> bool:
    """Whether an object of our kinds may have this name: its children carry it on."""
    return re.fullmatch(NAME_PATTERN, name) is not None
