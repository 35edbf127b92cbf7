"""Which ModelBundles and SDPlugins an object names, as far as it can be read at all. Pure.

What is stored may be of any form: an older schema, or none, let it in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import names
from sd_operator.names import Key

#: Value of a reference's `scope` that means the operator's namespace.
CATALOG = "Catalog"


def bundle_names(manifest: Mapping[str, Any]) -> frozenset[str]:
    """The bundles in `spec.models` of an SDInstance or SDPlugin."""
    return frozenset(each["name"] for each in _named(manifest, "models"))


def plugin_keys(instance: Mapping[str, Any], *, catalog: str) -> frozenset[Key]:
    """The plugins that an SDInstance names; `catalog` is the operator's namespace, "" where it has none."""
    namespace = str(instance["metadata"]["namespace"])
    return frozenset(
        key
        for each in _named(instance, "plugins")
        if (key := plugin_key(each["name"], each.get("scope"), namespace=namespace, catalog=catalog))
        is not None
    )


def plugin_key(name: str, scope: str | None, *, namespace: str, catalog: str) -> Key | None:
    """Which object a reference from `namespace` means; None: the operator has no catalog."""
    place = catalog if scope == CATALOG else namespace
    return Key(names.SDPLUGIN.kind, place, name) if place else None


def named_by(instance: Mapping[str, Any], *, catalog: str) -> frozenset[Key]:
    """Everything that an SDInstance names itself."""
    namespace = str(instance["metadata"]["namespace"])
    bundles = {Key(names.MODELBUNDLE.kind, namespace, name) for name in bundle_names(instance)}
    return plugin_keys(instance, catalog=catalog) | bundles


def all_bundles(
    instance: Mapping[str, Any], plugins: Mapping[Key, Mapping[str, Any]], *, catalog: str
) -> frozenset[str]:
    """The bundles that the pods of an SDInstance mount: its own, and those of its plugins."""
    found = set(bundle_names(instance))
    for key in plugin_keys(instance, catalog=catalog):
        if key in plugins:
            found |= bundle_names(plugins[key])
    return frozenset(found)


def _named(manifest: Mapping[str, Any], field: str) -> Iterable[Mapping[str, Any]]:
    spec = manifest.get("spec")
    items = spec.get(field) if isinstance(spec, Mapping) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            yield item
