"""Which plugins an instance's pods run, and what is said when they cannot be had. Pure.

A plugin whose object is missing goes on in the pods that have it: what they run is written on the Deployment.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import errors, names
from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.conditions import Verdict, reconciling, stalled
from sd_operator.api.instance_plugins import PluginReference
from sd_operator.api.plugin import SDPlugin, SDPluginSpec
from sd_operator.api.reasons import Reason
from sd_operator.instance.observe import Observed

#: The kernel takes no longer text as one variable of an environment (128 KiB, its name included).
LONGEST_WORDS = 120_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An SDPlugin as pods run it."""

    name: str
    spec: SDPluginSpec

    @property
    def bundles(self) -> tuple[str, ...]:
        """The bundles with its files."""
        return tuple(model.name for model in self.spec.models)

    def told(self) -> dict[str, Any]:
        """What the runtime is told of it."""
        modules = [
            {key: value for key, value in module.as_manifest().items() if value != []}
            for module in self.spec.modules
        ]
        return {"name": self.name, "kind": self.spec.kind, **({"modules": modules} if modules else {})}


def resolved(observed: Observed) -> tuple[Plugin, ...]:
    """The plugins of the spec, as far as their objects are there."""
    found = [(each.name, observed.plugins.get(each.name)) for each in observed.instance.spec.plugins]
    return tuple(
        Plugin(name=name, spec=plugin.spec) for name, plugin in found if isinstance(plugin, SDPlugin)
    )


def annotation(plugins: Iterable[Plugin]) -> str:
    """As they are written on the Deployment."""
    content = [{"name": each.name, "spec": each.spec.as_manifest()} for each in plugins]
    return json.dumps(content, sort_keys=True)


def written_on(deployment: Mapping[str, Any] | None) -> tuple[Plugin, ...]:
    """The plugins that pods of a Deployment run."""
    annotations = ((deployment or {}).get("metadata") or {}).get("annotations") or {}
    try:
        content = json.loads(annotations.get(names.ANNOTATION_PLUGINS) or "[]")
        return tuple(
            Plugin(name=str(each["name"]), spec=parse(SDPluginSpec, each["spec"])) for each in content
        )
    except (ValueError, TypeError, KeyError, errors.ManifestError):
        # Edited by hand, if not so: the next apply puts it right.
        return ()


def words_for_runtime(plugins: Iterable[Plugin]) -> str:
    """The plugins as the runtime's settings have them."""
    return json.dumps([each.told() for each in plugins], sort_keys=True)


def exist(observed: Observed) -> Verdict | None:
    """Whether every plugin of the spec is there."""
    for reference in observed.instance.spec.plugins:
        plugin, subject = observed.plugins.get(reference.name), _subject(reference)
        if isinstance(plugin, errors.ManifestError):
            return reconciling(Reason.PLUGIN_NOT_FOUND, f"{subject}: it cannot be read: {plugin}")
        if plugin is None:
            return reconciling(Reason.PLUGIN_NOT_FOUND, f"{subject}: {_nowhere(observed, reference)}")
        if not names.is_plugin_name(plugin.metadata.name):
            return stalled(
                Reason.INVALID_SPEC,
                f"{subject}: its name cannot be that of a container: at most {names.MAX_PLUGIN} lower-case "
                "letters, digits and dashes",
            )
    words = words_for_runtime(resolved(observed))
    if len(words) > LONGEST_WORDS:
        return stalled(
            Reason.INVALID_SPEC,
            f"spec.plugins: what their modules say takes {len(words)} bytes, {LONGEST_WORDS} fit into an "
            "environment; use fewer plugins, or name fewer modules in the SDPlugins",
        )
    return None


def bundles_exist(observed: Observed) -> Verdict | None:
    """Whether the instance's namespace has the bundles that the plugins need."""
    namespace = observed.instance.metadata.namespace
    for reference, name in _needed(observed):
        bundle, subject = observed.bundles.get(name), f"{_subject(reference)} needs ModelBundle {name!r}"
        if isinstance(bundle, errors.ManifestError):
            return reconciling(Reason.BUNDLE_NOT_READY, f"{subject}: {bundle}")
        if bundle is None:
            return reconciling(
                Reason.BUNDLE_NOT_FOUND,
                f"{subject}, and there is none in namespace {namespace}; waiting for it",
            )
    return None


def volumes_exist(observed: Observed) -> Verdict | None:
    """Whether those bundles have their volumes."""
    for reference, name in _needed(observed):
        claim = observed.claims.get(name)
        if claim is not None and not claim["metadata"].get("deletionTimestamp"):
            continue
        trouble = "is being deleted" if claim is not None else "does not exist yet"
        return reconciling(
            Reason.BUNDLE_NOT_READY,
            f"{_subject(reference)}: the volume of ModelBundle {name!r} (PersistentVolumeClaim "
            f"{observed.claim_names.get(name)}) {trouble}",
        )
    return None


def paths_apart(observed: Observed) -> Verdict | None:
    """Whether each plugin finds one file at a path: it looks through its bundles in their order."""
    for reference in observed.instance.spec.plugins:
        places: dict[str, str] = {}
        for user, name in _needed(observed):
            bundle = observed.bundles.get(name)
            if user != reference or not isinstance(bundle, ModelBundle):
                continue
            for place in filter(None, map(bundle.place_of, bundle.spec.files)):
                if places.setdefault(place, name) != name:
                    return stalled(
                        Reason.PATH_CONFLICT,
                        f"{_subject(reference)}: its bundles {places[place]!r} and {name!r} both offer "
                        f"{place}; give one of the files another fileName",
                    )
    return None


def _needed(observed: Observed) -> Iterable[tuple[PluginReference, str]]:
    """The plugins of the spec, with each bundle that one needs."""
    for reference in observed.instance.spec.plugins:
        plugin = observed.plugins.get(reference.name)
        for model in plugin.spec.models if isinstance(plugin, SDPlugin) else ():
            yield reference, model.name


def _subject(reference: PluginReference) -> str:
    return f"spec.plugins[{reference.name}].name: SDPlugin {reference.name!r}"


def _nowhere(observed: Observed, reference: PluginReference) -> str:
    if reference.scope == "Namespace":
        return f"there is none in namespace {observed.instance.metadata.namespace}; waiting for it"
    if not observed.catalog:
        return "scope is Catalog, and this operator was started without one (SDO_CATALOG_NAMESPACE)"
    return f"there is none in the catalog, namespace {observed.catalog}; waiting for it"
