"""Which field of a spec a message of the cluster is about, where its words tell. Pure.

The cluster speaks of pods, claims and Deployments; a person wrote an SDInstance, a ModelBundle or an
SDPlugin.
"""

import re
from collections.abc import Iterable

#: Words in `<reason>: <message>`, and the field that they are about.
Clues = Iterable[tuple[str, str]]

INSTANCE: Clues = (
    (
        r"^(ImagePullBackOff|ErrImageNeverPull|InvalidImageName|ImageInspectError): |containers\[0\]\.image:",
        "spec.image",
    ),
    (r"imagePullSecrets", "spec.imagePullSecrets"),
    (r"nodeSelector|node affinity/selector", "spec.nodeSelector"),
    (r"spec\.affinity|node affinity/selector|pod (anti-)?affinity rules", "spec.affinity"),
    (r"\.tolerations|untolerated taint", "spec.tolerations"),
    (r"(?i)runtime ?class", "spec.runtimeClassName"),
    (
        r"node affinity/selector|Insufficient \S*/|(?i:cannot allocate all claims|resource ?claim)",
        "spec.gpu",
    ),
    (r"Insufficient (?!\S*/)|\.resources\.|exceeded quota", "spec.resources"),
    (r"pod affinity rules|Multi-Attach error", "spec.models"),
    (r"OOMKilled", "spec.resources"),
    (r"(?i)^CreateContainerConfigError: .*\b(secret|configmap)\b|\.env\[", "spec.env"),
    (r"(?i)^(?!CreateContainerConfigError).*\bsecret \"|\.secret\b", "spec.access.authSecretRef"),
    (r"unbound immediate PersistentVolumeClaims|-outputs\b", "spec.outputs"),
    (r"(?i)^(?!.*-outputs\b).*(persistentvolumeclaim|volume node affinity conflict)", "spec.models"),
    (r"template\.labels|metadata\.labels", "spec.podLabels"),
    (r"template\.annotations", "spec.podAnnotations"),
    (r"Service .* is invalid: .*spec\.type", "spec.access.service.type"),
    (r"Service .* is invalid: .*metadata\.annotations", "spec.access.service.annotations"),
    (r"(?i)\bingress\b", "spec.access.ingress"),
)

#: Of a plugin's container: fields of the SDPlugin.
PLUGIN: Clues = (
    (r"OOMKilled|\.resources\b", "spec.resources"),
    (
        r"^(ImagePullBackOff|ErrImageNeverPull|InvalidImageName|ImageInspectError|CreateContainer\w*|"
        r"RunContainerError|CrashLoopBackOff): (?!.*OOMKilled)|\.image:",
        "spec.image",
    ),
)

BUNDLE: Clues = (
    (r"(?i)storage ?class", "spec.storage.storageClassName"),
    (r"accessModes|(?i:access mode)", "spec.storage.accessModes"),
    (r"requests\.storage|resources\.requests", "spec.storage.size"),
    (r"spec is immutable after creation", "spec.storage"),
)

FETCH_JOB: Clues = (
    (r"\.resources\b|exceeded quota: .*(limits|requests)\.", "spec.fetch.resources"),
    (r"nodeSelector", "spec.fetch.nodeSelector"),
    (r"tolerations", "spec.fetch.tolerations"),
    (r"imagePullSecrets", "spec.fetch.imagePullSecrets"),
    (r"credential|secretName", "spec.credentialSecrets"),
)

FETCH_POD: Clues = (
    (r"(?i)\bsecret \"", "spec.credentialSecrets"),
    (r"(?i)\bconfigmap \"", "spec.fetch.caBundle"),
    (r"node affinity/selector|untolerated taint", "spec.fetch.nodeSelector, spec.fetch.tolerations"),
    (r"Insufficient ", "spec.fetch.resources"),
    (r"(?i)persistentvolumeclaim \"", "spec.files[].source.volume.claimName"),
)


def named(clues: Clues, reason: str, message: str, *, unset: frozenset[str] = frozenset()) -> str:
    """The message behind the fields it is about; of several, those that are `unset` are not to blame."""
    words = f"{reason}: {message}"
    found = [field for pattern, field in clues if re.search(pattern, words)]
    fields = [field for field in found if field not in unset] or found
    return f"{', '.join(fields)}: {message}" if fields else message
