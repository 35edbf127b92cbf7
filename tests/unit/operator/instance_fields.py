"""A change for every field of SDInstance.spec, for the tests of one process and for those on a cluster."""

from typing import Any

Spec = dict[str, Any]
AUTH = {"auth": "Required", "authSecretRef": {"name": "login"}, "service": {"type": "ClusterIP"}}
INGRESS = {"host": "a.example.org"}
RWX = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
SECRET_ENV = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
CONFIG_ENV = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}}
TAINT = {"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoExecute", "tolerationSeconds": 5}

#: Path of a leaf → the spec before and after its change (what the two leave out is as in operator_fakes).
CHANGES: dict[str, tuple[Spec, Spec]] = {
    "replicas": ({}, {"replicas": 2}),
    "suspend": ({}, {"suspend": True}),
    "image": ({}, {"image": "own:1"}),
    "models[].name": ({}, {"models": [{"name": "sd15"}, {"name": "more"}]}),
    "checkpoint.bundle": (
        {"models": [{"name": "sd15"}, {"name": "more"}]},
        {
            "models": [{"name": "sd15"}, {"name": "more"}],
            "checkpoint": {"bundle": "more", "file": "other"},
        },
    ),
    "checkpoint.file": ({}, {"checkpoint": {"bundle": "sd15", "file": "second"}}),
    "options": ({}, {"options": {"CLIP_stop_at_last_layers": 2}}),
    "plugins[].name": ({}, {"plugins": [{"name": "aux"}]}),
    "plugins[].scope": (
        {"plugins": [{"name": "aux"}]},
        {"plugins": [{"name": "aux", "scope": "Catalog"}]},
    ),
    "gpu.backend": ({}, {"gpu": {"backend": "Whole"}}),
    "gpu.memory": ({"gpu": {"backend": "Whole"}}, {"gpu": {"backend": "Whole", "memory": "12Gi"}}),
    "outputs.size": ({"outputs": RWX}, {"outputs": {**RWX, "size": "2Gi"}}),
    "outputs.storageClassName": ({"outputs": RWX}, {"outputs": {**RWX, "storageClassName": "fast"}}),
    "outputs.accessModes[]": (
        {"outputs": RWX},
        {"outputs": {**RWX, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}},
    ),
    "outputs.retentionDays": ({"outputs": RWX}, {"outputs": {**RWX, "retentionDays": 30}}),
    "outputs.reclaimPolicy": ({"outputs": RWX}, {"outputs": {**RWX, "reclaimPolicy": "Delete"}}),
    "rollout.strategy": ({}, {"rollout": {"strategy": "Drain"}}),
    "rollout.drainTimeoutSeconds": ({}, {"rollout": {"drainTimeoutSeconds": 30}}),
    "access.auth": ({}, {"access": {"auth": "Disabled", "service": {"type": "ClusterIP"}}}),
    "access.authSecretRef.name": ({}, {"access": {**AUTH, "authSecretRef": {"name": "another"}}}),
    "access.page": ({}, {"access": {**AUTH, "page": "Disabled"}}),
    "access.service.type": ({}, {"access": {**AUTH, "service": {"type": "NodePort"}}}),
    "access.service.annotations{}": (
        {},
        {"access": {**AUTH, "service": {"type": "ClusterIP", "annotations": {"lb": "internal"}}}},
    ),
    "access.ingress.host": ({}, {"access": {**AUTH, "ingress": INGRESS}}),
    "access.ingress.className": (
        {"access": {**AUTH, "ingress": INGRESS}},
        {"access": {**AUTH, "ingress": {**INGRESS, "className": "nginx"}}},
    ),
    "access.ingress.tlsSecretName": (
        {"access": {**AUTH, "ingress": INGRESS}},
        {"access": {**AUTH, "ingress": {**INGRESS, "tlsSecretName": "cert"}}},
    ),
    "access.ingress.annotations{}": (
        {"access": {**AUTH, "ingress": INGRESS}},
        {"access": {**AUTH, "ingress": {**INGRESS, "annotations": {"body-size": "64m"}}}},
    ),
    "access.networkPolicy": ({}, {"access": {**AUTH, "networkPolicy": "Disabled"}}),
    "resources.limits{}": ({}, {"resources": {"limits": {"memory": "9Gi"}}}),
    "resources.requests{}": ({}, {"resources": {"requests": {"cpu": 3}}}),
    "nodeSelector{}": ({}, {"nodeSelector": {"disk": "fast"}}),
    "tolerations[].key": (
        {"tolerations": [{**TAINT}]},
        {"tolerations": [{**TAINT, "key": "other"}]},
    ),
    "tolerations[].operator": (
        {"tolerations": [{"key": "gpu", "operator": "Equal"}]},
        {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
    ),
    "tolerations[].value": ({"tolerations": [TAINT]}, {"tolerations": [{**TAINT, "value": "b"}]}),
    "tolerations[].effect": (
        {"tolerations": [{"key": "gpu", "effect": "NoSchedule"}]},
        {"tolerations": [{"key": "gpu", "effect": "PreferNoSchedule"}]},
    ),
    "tolerations[].tolerationSeconds": (
        {"tolerations": [TAINT]},
        {"tolerations": [{**TAINT, "tolerationSeconds": 6}]},
    ),
    "affinity": (
        {},
        {
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}
                    ]
                }
            }
        },
    ),
    "runtimeClassName": ({}, {"runtimeClassName": "nvidia"}),
    "imagePullSecrets[].name": ({}, {"imagePullSecrets": [{"name": "registry"}]}),
    "podLabels{}": ({}, {"podLabels": {"team": "art"}}),
    "podAnnotations{}": ({}, {"podAnnotations": {"team": "art"}}),
    "env[].name": ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B", "value": "1"}]}),
    "env[].value": ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}),
    **{
        f"env[].valueFrom.{kind}.{field}": (
            {"env": [before]},
            {"env": [{"name": "A", "valueFrom": {kind: {**before["valueFrom"][kind], field: value}}}]},  # type: ignore[index]
        )
        for kind, before in (("secretKeyRef", SECRET_ENV), ("configMapKeyRef", CONFIG_ENV))
        for field, value in (("name", "t"), ("key", "l"), ("optional", True))
    },
}
#: Changes that the API server refuses to a volume that exists: a new object shows what they do.
ONLY_NEW = {"outputs.storageClassName", "outputs.accessModes[]"}
#: Volumes do not shrink; the condition says so.
ONLY_UP = {"outputs.size"}
