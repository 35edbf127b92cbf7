"""Who refers to whom between the kinds, as the watches have told. Pure bookkeeping in memory.

Used only to wake objects: what is done is decided from what the API server says, so a stale entry costs a
look and nothing else.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sd_operator import names
from sd_operator.names import Key


class References:
    """SDInstances with the ModelBundles and SDPlugins they name; SDPlugins with the bundles they need."""

    def __init__(self) -> None:
        self._named: dict[Key, frozenset[Key]] = {}
        self._users: dict[Key, set[Key]] = defaultdict(set)
        self._needed: dict[Key, frozenset[str]] = {}
        self._seen: dict[Key, str] = {}
        self._generations: dict[Key, tuple[str, int]] = {}

    def note(self, instance: Key, named: frozenset[Key]) -> set[Key]:
        """Note what an instance names (nothing: it is gone); returns the objects whose users changed."""
        changed = self._named.get(instance, frozenset()) ^ named
        for key in changed:
            if key in named:
                self._users[key].add(instance)
            else:
                self._users[key].discard(instance)
                if not self._users[key]:
                    del self._users[key]
        if named:
            self._named[instance] = named
        else:
            self._named.pop(instance, None)
        needed = {name for key in changed for name in self._needed.get(key, ())}
        return set(changed) | {Key(names.MODELBUNDLE.kind, instance.namespace, name) for name in needed}

    def note_plugin(self, plugin: Key, bundles: frozenset[str]) -> set[Key]:
        """Note what a plugin needs (nothing: it is gone); returns the bundles whose users changed."""
        changed = self._needed.get(plugin, frozenset()) ^ bundles
        if bundles:
            self._needed[plugin] = bundles
        else:
            self._needed.pop(plugin, None)
        spaces = {user.namespace for user in self._users.get(plugin, ())}
        return {Key(names.MODELBUNDLE.kind, space, name) for space in spaces for name in changed}

    def users(self, key: Key) -> set[Key]:
        """The instances that name a bundle or plugin, or whose plugin needs the bundle."""
        found = set(self._users.get(key, ()))
        if key.kind == names.MODELBUNDLE.kind:
            for plugin, bundles in self._needed.items():
                if key.name in bundles:
                    users = self._users.get(plugin, ())
                    found |= {user for user in users if user.namespace == key.namespace}
        return found

    def plugins(self, instance: Key) -> set[Key]:
        """The plugins that an instance names."""
        return {key for key in self._named.get(instance, ()) if key.kind == names.SDPLUGIN.kind}

    def renewed(self, key: Key, manifest: Mapping[str, Any] | None) -> bool:
        """Note an object (None: it is gone); whether its spec is another than when it was last noted."""
        if manifest is None:
            self._generations.pop(key, None)
            return True
        told = (str(manifest["metadata"].get("uid")), int(manifest["metadata"].get("generation") or 0))
        before = self._generations.get(key)
        self._generations[key] = told
        return told != before

    def changed(self, key: Key, manifest: Mapping[str, Any] | None) -> bool:
        """Note an object that others look at (None: it is gone); whether anything changed that they care
        about."""
        if manifest is None:
            return self._seen.pop(key, None) is not None
        status = manifest.get("status")
        told = status if isinstance(status, Mapping) else {}
        matters = names.digest(_MATTERS[key.kind](manifest["metadata"], told))
        if self._seen.get(key) == matters:
            return False
        self._seen[key] = matters
        return True


def _of_bundle(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> list[Any]:
    # Not who uses it: each user would wake all others.
    told = (status.get("observedGeneration"), status.get("files"), status.get("volume"))
    return [metadata.get("generation"), metadata.get("uid"), *told]


def _of_plugin(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> list[Any]:
    # Its status is made of its users'.
    return [metadata.get("generation"), metadata.get("uid"), bool(metadata.get("deletionTimestamp"))]


def _of_instance(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> list[Any]:
    """What its plugins look at; its modules are for people."""
    plugins = status.get("plugins")
    told = [
        {key: value for key, value in each.items() if key != "modules"}
        for each in (plugins if isinstance(plugins, list) else ())
        if isinstance(each, Mapping)
    ]
    return [metadata.get("uid"), told]


_MATTERS = {
    names.MODELBUNDLE.kind: _of_bundle,
    names.SDPLUGIN.kind: _of_plugin,
    names.SDINSTANCE.kind: _of_instance,
}
