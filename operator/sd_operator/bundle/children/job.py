"""The Job that fetches one file. Pure.

A Job's pod template cannot be changed, so another wish is another Job: its name carries a hash of the file's
spec. The verdict is the pod's termination message; exit code 2 says that trying again is of no use.
"""

import json
from dataclasses import dataclass

from sd_operator import claims, names
from sd_operator.api.bundle import BundleFile, ModelBundle
from sd_operator.api.fetching import job_name, request
from sd_operator.manifests import Object, container_security, labels, owner_reference, pod_security

CONTAINER = "fetch"
EXIT_PERMANENT = 2
RETRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """What the operator's settings say about fetch pods."""

    image: str
    image_pull_policy: str
    hf_endpoint: str


def build_job(bundle: ModelBundle, file: BundleFile, *, claim_uid: str, settings: FetchSettings) -> Object:
    """The Job of one file."""
    owner = bundle.metadata.name
    all_labels = labels(
        app="sd-bundle",
        owner=owner,
        component="fetch",
        extra={names.LABEL_SD_BUNDLE: owner, names.LABEL_SD_FILE: file.name},
    )
    return {
        "apiVersion": names.JOB.api_version,
        "kind": names.JOB.kind,
        "metadata": {
            "name": job_name(bundle, file),
            "namespace": bundle.metadata.namespace,
            "labels": all_labels,
            "annotations": {names.ANNOTATION_CLAIM_UID: claim_uid},
            "ownerReferences": [owner_reference(names.MODELBUNDLE, name=owner, uid=bundle.metadata.uid)],
        },
        "spec": {
            "backoffLimit": RETRIES,
            # Two pods must never write one file: the next starts when the last has ended.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": [EXIT_PERMANENT],
                        },
                    },
                    # A drained node is no fault of the file's.
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": {**all_labels, **claims.bundle_labels(_exclusive(bundle))}},
                "spec": _pod_spec(bundle, file, settings),
            },
        },
    }


def _exclusive(bundle: ModelBundle) -> list[str]:
    """The bundle, where its volume is one that a single node mounts."""
    return [] if "ReadWriteMany" in bundle.spec.storage.access_modes else [bundle.metadata.name]


def _pod_spec(bundle: ModelBundle, file: BundleFile, settings: FetchSettings) -> Object:
    # To the node where the volume is in use: by pods that serve, or by another fetch.
    affinity = claims.beside_bundles({}, _exclusive(bundle))
    return {
        **({"affinity": affinity} if affinity else {}),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "imagePullPolicy": settings.image_pull_policy,
                "command": ["python", "-m", "sd_operator.fetch"],
                "env": [
                    {"name": "SD_FETCH_FILE", "value": json.dumps(request(bundle, file), sort_keys=True)},
                    {"name": "SD_FETCH_ROOT", "value": "/volume"},
                    {"name": "HF_ENDPOINT", "value": settings.hf_endpoint},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "512Mi"},
                },
                "securityContext": container_security(),
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    {"name": "models", "mountPath": "/volume"},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {
                "name": "models",
                "persistentVolumeClaim": {"claimName": names.claim_name(bundle.metadata.name)},
            },
            {"name": "tmp", "emptyDir": {}},
        ],
    }
