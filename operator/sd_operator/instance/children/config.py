"""The ConfigMap that tells pods at their start what to serve. Pure.

While pods are replaced, those of before may have to start again, and what the new ones shall serve may lie on
a volume that they do not mount, or need more memory than they have. So each pod template has a ConfigMap of
its own: that of before stays as it is until its pods are gone.
"""

import json
from collections.abc import Mapping
from typing import Any

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.instance.children.metadata import metadata
from sd_operator.instance.desired import Desired
from sd_operator.manifests import Object

FILE = "desired.json"
VOLUME = "desired"


def build_config(instance: SDInstance, *, name: str, desired: Desired) -> Object:
    """The ConfigMap of the pods whose template names it."""
    found = metadata(instance, name=name)
    found["annotations"] = {names.ANNOTATION_CHECKPOINT: desired.checkpoint.annotation()}
    return {
        "apiVersion": names.CONFIGMAP.api_version,
        "kind": names.CONFIGMAP.kind,
        "metadata": found,
        "data": {FILE: json.dumps(desired.document(), sort_keys=True)},
    }


def config_of(deployment: Mapping[str, Any]) -> str | None:
    """The name of the ConfigMap that pods of this Deployment read."""
    pod = deployment["spec"]["template"].get("spec") or {}
    for volume in pod.get("volumes") or ():
        if volume.get("name") == VOLUME:
            name: str | None = (volume.get("configMap") or {}).get("name")
            return name
    return None
