"""What people and controllers do to children, by child, and whether the operator has to undo it.

What others add beside ours (labels, variables, ports) has an owner of its own in server-side apply, and
stays: applying again would not take it away.
"""

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Change = Callable[[Object], Any]
#: how it is done, and whether it is drift
Drift = tuple[Change, bool]


def pod(live: Object) -> Object:
    found: Object = live["spec"]["template"]["spec"]
    return found


def container(live: Object) -> Object:
    found: Object = pod(live)["containers"][0]
    return found


def named(items: list[Object], name: str) -> Object:
    return next(item for item in items if item["name"] == name)


def owners(live: Object) -> list[Object]:
    found: list[Object] = live["metadata"].setdefault("ownerReferences", [])
    return found


EVERYWHERE: dict[str, Drift] = {
    "a label of ours is another": (
        lambda live: live["metadata"]["labels"].update({"sdoperator.dev/instance": "other"}),
        True,
    ),
    "a label of ours is gone": (
        lambda live: live["metadata"]["labels"].pop("app.kubernetes.io/managed-by"),
        True,
    ),
    "all labels are gone": (lambda live: live["metadata"].pop("labels"), True),
    "the stamp is gone": (lambda live: live["metadata"].pop("annotations"), True),
    "the owner is gone": (lambda live: live["metadata"].pop("ownerReferences"), True),
    "a label of others": (lambda live: live["metadata"]["labels"].update({"team": "art"}), False),
    "an annotation of others": (lambda live: live["metadata"]["annotations"].update({"seen": "1"}), False),
    "an owner of others": (
        lambda live: owners(live).append(
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "demo", "uid": "x"}
        ),
        False,
    ),
    "a finalizer of others": (lambda live: live["metadata"].update(finalizers=["example.org/x"]), False),
}

DEPLOYMENT: dict[str, Drift] = {
    "it was scaled": (lambda live: live["spec"].update(replicas=5), True),
    "it was paused": (lambda live: live["spec"].update(paused=True), True),
    "it is replaced another way": (
        lambda live: live["spec"].update(
            strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
        ),
        True,
    ),
    "it keeps fewer old ones": (lambda live: live["spec"].update(revisionHistoryLimit=2), False),
    "the image is another": (lambda live: container(live).update(image="other:1"), True),
    "a node selector was added": (lambda live: pod(live)["nodeSelector"].update(zone="b"), True),
    "a toleration was added": (
        lambda live: pod(live)["tolerations"].append({"operator": "Exists"}),
        True,
    ),
    "a toleration is gone": (lambda live: pod(live)["tolerations"].pop(), True),
    "a node term was added": (
        lambda live: pod(live)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ].append({"matchExpressions": [{"key": "x", "operator": "Exists"}]}),
        True,
    ),
    "a pod term is gone": (
        lambda live: pod(live)["affinity"]["podAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ].pop(),
        True,
    ),
    "arguments were added": (lambda live: container(live).update(args=["--x"]), True),
    "it runs something else": (lambda live: container(live).update(command=["sh"]), True),
    "a variable of ours is another": (
        lambda live: named(container(live)["env"], "SD_AUTH").update(value="disabled"),
        True,
    ),
    "a variable of ours is gone": (lambda live: container(live)["env"].pop(0), True),
    "a variable's Secret is another": (
        lambda live: named(container(live)["env"], "TOKEN")["valueFrom"]["secretKeyRef"].update(name="y"),
        True,
    ),
    "a variable of others": (
        lambda live: container(live)["env"].append({"name": "DEBUG", "value": "1"}),
        False,
    ),
    "a port of others": (
        lambda live: container(live)["ports"].append({"containerPort": 1234, "protocol": "TCP"}),
        False,
    ),
    "it has more rights": (
        lambda live: container(live)["securityContext"].update(
            privileged=True, allowPrivilegeEscalation=True
        ),
        True,
    ),
    "it has a right more": (
        lambda live: container(live)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        True,
    ),
    "a right is no longer denied": (
        lambda live: container(live)["securityContext"].pop("allowPrivilegeEscalation"),
        True,
    ),
    "its root is writable": (
        lambda live: container(live)["securityContext"].update(readOnlyRootFilesystem=False),
        True,
    ),
    "it is on the node's network": (lambda live: pod(live).update(hostNetwork=True), True),
    "it has a token": (lambda live: pod(live).update(automountServiceAccountToken=True), True),
    "it may have a token": (lambda live: pod(live).pop("automountServiceAccountToken"), True),
    "it is another account": (
        lambda live: pod(live).update(serviceAccountName="default", serviceAccount="default"),
        True,
    ),
    "a claim is another": (
        lambda live: named(pod(live)["volumes"], "outputs")["persistentVolumeClaim"].update(claimName="x"),
        True,
    ),
    "a mount is writable": (lambda live: container(live)["volumeMounts"][0].pop("readOnly"), True),
    "a mount is gone": (
        lambda live: container(live)["volumeMounts"].remove(named(container(live)["volumeMounts"], "cache")),
        True,
    ),
    # Which applying again does not undo: it is refused, and so told.
    "a volume is of another kind": (
        lambda live: (
            named(pod(live)["volumes"], "tmp").pop("emptyDir"),
            named(pod(live)["volumes"], "tmp").update(hostPath={"path": "/"}),
        ),
        True,
    ),
    "shared memory is larger": (
        lambda live: named(pod(live)["volumes"], "shm")["emptyDir"].update(sizeLimit="2Gi"),
        True,
    ),
    "a volume of others": (
        lambda live: pod(live)["volumes"].append({"name": "x", "emptyDir": {}}),
        False,
    ),
    "a mount of a volume of ours by others": (
        lambda live: container(live)["volumeMounts"].append({"name": "tmp", "mountPath": "/var/tmp"}),
        False,
    ),
    "more memory": (lambda live: container(live)["resources"]["limits"].update(memory="32Gi"), True),
    "a resource of others": (
        lambda live: container(live)["resources"]["limits"].update({"ephemeral-storage": "1Gi"}),
        False,
    ),
    "the digest of the template is gone": (
        lambda live: live["spec"]["template"]["metadata"].pop("annotations"),
        True,
    ),
    "an empty label of the pods is gone": (
        lambda live: live["spec"]["template"]["metadata"]["labels"].pop("empty"),
        True,
    ),
    "it was restarted": (
        lambda live: live["spec"]["template"]["metadata"]["annotations"].update(
            {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
        ),
        False,
    ),
    "a pull secret of others": (
        lambda live: pod(live)["imagePullSecrets"].append({"name": "mirror"}),
        False,
    ),
    "less time to end": (lambda live: pod(live).update(terminationGracePeriodSeconds=30), True),
    "no hook before the end": (lambda live: container(live).pop("lifecycle"), True),
}

SERVICE: dict[str, Drift] = {
    "its selector is narrower": (lambda live: live["spec"]["selector"].update(track="canary"), True),
    "it is of another type": (lambda live: live["spec"].update(type="NodePort"), True),
    "clients wander": (
        lambda live: (live["spec"].update(sessionAffinity="None"), live["spec"].pop("sessionAffinityConfig")),
        True,
    ),
    "a port is another": (lambda live: live["spec"]["ports"][0].update(targetPort=80), True),
    "a port of others": (
        lambda live: live["spec"]["ports"].append({"name": "x", "port": 81, "protocol": "TCP"}),
        False,
    ),
    "ports have numbers on the nodes": (
        lambda live: live["spec"]["ports"][0].update(nodePort=31999),
        False,
    ),
    "an annotation of the user's is another": (
        lambda live: live["metadata"]["annotations"].update({"cloud.example.org/internal": "false"}),
        True,
    ),
}

HEADLESS: dict[str, Drift] = {
    "it hides pods that load": (lambda live: live["spec"].pop("publishNotReadyAddresses"), True),
    "a port is gone": (lambda live: live["spec"]["ports"].pop(), True),
}

CONFIG: dict[str, Drift] = {
    "pods are told something else": (lambda live: live["data"].update({"desired.json": "{}"}), True),
    "pods are told nothing": (lambda live: live.pop("data"), True),
    "an entry of others": (lambda live: live["data"].update({"x": "y"}), False),
    "the checkpoint is another": (
        lambda live: live["metadata"]["annotations"].update({"sdoperator.dev/checkpoint": "{}"}),
        True,
    ),
}

ACCOUNT: dict[str, Drift] = {
    "pods get a token": (lambda live: live.update(automountServiceAccountToken=True), True),
    "pods may get a token": (lambda live: live.pop("automountServiceAccountToken"), True),
    "a pull secret of others": (lambda live: live.update(imagePullSecrets=[{"name": "mirror"}]), False),
}

POLICY: dict[str, Drift] = {
    "an egress rule was added": (
        lambda live: live["spec"]["egress"].append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
        True,
    ),
    "an egress rule is gone": (lambda live: live["spec"]["egress"].pop(), True),
    "an ingress rule was narrowed": (
        lambda live: live["spec"]["ingress"][0].update({"from": [{"podSelector": {}}]}),
        True,
    ),
    "an ingress rule was widened": (lambda live: live["spec"]["ingress"][1].pop("from"), True),
    "a port is a range": (lambda live: live["spec"]["egress"][0]["ports"][0].update(endPort=60000), True),
    "a port is of another protocol": (
        lambda live: live["spec"]["ingress"][0]["ports"][0].update(protocol="UDP"),
        True,
    ),
    "it is about other pods": (
        lambda live: live["spec"]["podSelector"]["matchLabels"].update(track="canary"),
        True,
    ),
    "it is about all pods": (lambda live: live["spec"].update(podSelector={}), True),
    "one namespace only": (
        lambda live: live["spec"]["ingress"][1]["from"][0]["namespaceSelector"].update(
            matchLabels={"team": "art"}
        ),
        True,
    ),
    "it no longer limits egress": (lambda live: live["spec"].update(policyTypes=["Ingress"]), True),
}

INGRESS: dict[str, Drift] = {
    "a host was added": (
        lambda live: live["spec"]["rules"].append({**live["spec"]["rules"][0], "host": "b.example.org"}),
        True,
    ),
    "a path was added": (
        lambda live: live["spec"]["rules"][0]["http"]["paths"].append(
            {**live["spec"]["rules"][0]["http"]["paths"][0], "path": "/x"}
        ),
        True,
    ),
    "it has no certificate": (lambda live: live["spec"].pop("tls"), True),
    "a certificate was added": (
        lambda live: live["spec"]["tls"].append({"hosts": ["b.example.org"], "secretName": "b"}),
        True,
    ),
    "it is of another class": (lambda live: live["spec"].update(ingressClassName="other"), True),
    "an annotation of the user's is gone": (
        lambda live: live["metadata"]["annotations"].pop("nginx.ingress.kubernetes.io/proxy-read-timeout"),
        True,
    ),
    "it has an address": (
        lambda live: live.update(status={"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}),
        False,
    ),
}

BUDGET: dict[str, Drift] = {
    "it allows more": (lambda live: live["spec"].update(maxUnavailable=3), True),
    "sick pods hold a node": (
        lambda live: live["spec"].update(unhealthyPodEvictionPolicy="IfHealthyBudget"),
        True,
    ),
    "it is about other pods": (
        lambda live: live["spec"]["selector"]["matchLabels"].update(track="canary"),
        True,
    ),
}

CLAIM: dict[str, Drift] = {
    "it asks for more": (
        lambda live: live["spec"]["resources"]["requests"].update(storage="200Gi"),
        True,
    ),
    "in other words": (
        lambda live: live["spec"]["resources"]["requests"].update(storage="102400Mi"),
        False,
    ),
}

MONITOR: dict[str, Drift] = {
    "an endpoint was added": (lambda live: live["spec"]["endpoints"].append({"port": "http"}), True),
    "numbers get other names": (
        lambda live: live["spec"]["endpoints"][0].update(
            metricRelabelings=[{"action": "drop", "regex": ".*"}]
        ),
        True,
    ),
    "it is about other Services": (
        lambda live: live["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
        True,
    ),
    "a limit of others": (lambda live: live["spec"].update(sampleLimit=1000), False),
}

TEMPLATE: dict[str, Drift] = {
    "a label of the claims": (
        lambda live: live["spec"].update(metadata={"labels": {"team": "art"}}),
        False,
    ),
    "it asks for two": (
        lambda live: live["spec"]["spec"]["devices"]["requests"][0]["exactly"].update(count=2),
        True,
    ),
}

DRIFTS: dict[tuple[str, str], dict[str, Drift]] = {
    ("Deployment", "demo"): DEPLOYMENT,
    ("Service", "demo"): SERVICE,
    ("Service", "demo-pods"): HEADLESS,
    ("ConfigMap", "demo-desired"): CONFIG,
    ("ServiceAccount", "demo-runtime"): ACCOUNT,
    ("NetworkPolicy", "demo"): POLICY,
    ("Ingress", "demo"): INGRESS,
    ("PodDisruptionBudget", "demo"): BUDGET,
    ("PersistentVolumeClaim", "demo-outputs"): CLAIM,
    ("ServiceMonitor", "demo"): MONITOR,
    ("ResourceClaimTemplate", "demo-gpu"): TEMPLATE,
}
