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
    """SDInstances and the ModelBundles they name."""

    def __init__(self) -> None:
        self._bundles: dict[Key, frozenset[str]] = {}
        self._users: dict[Key, set[Key]] = defaultdict(set)
        self._seen: dict[Key, str] = {}
        self._generations: dict[Key, tuple[str, int]] = {}

    def note(self, instance: Key, bundles: frozenset[str]) -> set[Key]:
        """Note what an instance names (nothing: it is gone); returns the bundles whose users changed."""
        before = self._bundles.get(instance, frozenset())
        changed = {Key(names.MODELBUNDLE.kind, instance.namespace, name) for name in before ^ bundles}
        for bundle in changed:
            if bundle.name in bundles:
                self._users[bundle].add(instance)
            else:
                self._users[bundle].discard(instance)
                if not self._users[bundle]:
                    del self._users[bundle]
        if bundles:
            self._bundles[instance] = bundles
        else:
            self._bundles.pop(instance, None)
        return changed

    def users(self, bundle: Key) -> set[Key]:
        """The instances that name a bundle."""
        return set(self._users.get(bundle, ()))

    def renewed(self, key: Key, manifest: Mapping[str, Any] | None) -> bool:
        """Note an object (None: it is gone); whether its spec is another than when it was last noted."""
        if manifest is None:
            self._generations.pop(key, None)
            return True
        told = (str(manifest["metadata"].get("uid")), int(manifest["metadata"].get("generation") or 0))
        before = self._generations.get(key)
        self._generations[key] = told
        return told != before

    def changed(self, bundle: Key, manifest: Mapping[str, Any] | None) -> bool:
        """Note a bundle (None: it is gone); whether anything changed that its users care about."""
        if manifest is None:
            return self._seen.pop(bundle, None) is not None
        status = manifest.get("status")
        told = status if isinstance(status, Mapping) else {}
        # Not who uses it: each user would wake all others.
        matters = names.digest(
            [
                manifest["metadata"].get("generation"),
                manifest["metadata"].get("uid"),
                told.get("observedGeneration"),
                told.get("files"),
                told.get("volume"),
            ]
        )
        if self._seen.get(bundle) == matters:
            return False
        self._seen[bundle] = matters
        return True
