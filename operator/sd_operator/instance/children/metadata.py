"""What the children of an instance are called and labelled, and whose they are. Pure."""

from sd_operator import names
from sd_operator.api.instance import SDInstance
from sd_operator.manifests import Object, labels, owner_reference

#: Values of the component label. Both Services select the same pods; a ServiceMonitor must find only one.
RUNTIME = "runtime"
PODS = "pods"
OUTPUTS = "outputs"


def metadata(
    instance: SDInstance, *, name: str | None = None, component: str = RUNTIME, owned: bool = True
) -> Object:
    """The metadata of a child; by default it has the instance's own name, and goes with it."""
    owner = instance.metadata
    found: Object = {
        "name": name or owner.name,
        "namespace": owner.namespace,
        "labels": labels(
            app="sd-instance",
            owner=owner.name,
            component=component,
            extra={names.LABEL_SD_INSTANCE: owner.name},
        ),
    }
    if owned:
        found["ownerReferences"] = [owner_reference(names.SDINSTANCE, name=owner.name, uid=owner.uid)]
    return found


def pod_selector(instance: SDInstance) -> dict[str, str]:
    """The labels by which the pods of an instance are told from all others."""
    return {names.LABEL_SD_INSTANCE: instance.metadata.name}
