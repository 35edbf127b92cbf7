"""`python -m sd_operator.fetch.upkeep`: looks after a bundle's files on a volume; a verdict; an exit code.

Removes what left the bundle, and says which expected files are lost or altered; mends nothing. A file that
other bundles have too stays theirs.
"""

import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch import errors, existing, hashing, listing, partial, process, request
from sd_operator.fetch.errand import owner_of
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Expected, Removed, Upkeep
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Kept, Stray

# A download that nobody went on with for so long is of no use. One of a file that is still to come waits
# between two tries of its Job, which are minutes apart.
_STALE_SECONDS = 24 * 3600.0

log = logging.getLogger(__name__)


def keep_up(known: Settings, stop: Stop) -> Kept:
    """What the settings ask for; raises FetchError."""
    wanted = request.parse_upkeep(known.upkeep)
    if not known.root.is_dir():
        raise FetchError(errors.VOLUME_ERROR, f"SD_FETCH_ROOT: {known.root} is not a folder")
    with listing.volume_faults():
        return _Round(known.root, wanted, stop).go()


class _Round:
    """One look at a volume, for one bundle."""

    def __init__(self, root: Path, wanted: Upkeep, stop: Stop) -> None:
        self._root = root
        self._wanted = wanted
        self._stop = stop
        self._names = {each.name for each in wanted.expect}
        self._paths = {each.path for each in wanted.expect}

    def go(self) -> Kept:
        # Before the hashing, which may be cut short: what is removed makes room.
        removed = [each.path for each in self._wanted.remove if self._remove(each)]
        self._sweep()
        lost: list[str] = []
        altered: list[str] = []
        listed = manifest.load(self._root)
        for each in self._wanted.expect:
            self._stop.check()
            fault = self._fault(each, listed.at(each.path))
            if fault is not None:
                (lost if fault == "Lost" else altered).append(each.name)
        return Kept(
            intact=len(self._wanted.expect) - len(lost) - len(altered),
            lost=tuple(lost),
            altered=tuple(altered),
            removed=tuple(removed),
            strays=tuple(self._strays(manifest.load(self._root))),
        )

    def _fault(self, expected: Expected, entry: Entry | None) -> str | None:
        path = self._root / expected.path
        if not path.is_file():
            log.warning("%s is lost", path)
            return "Lost"
        if self._wanted.verify:
            good = hashing.sha256_of(path, self._stop) == expected.sha256
        else:
            good = entry is None or entry.sha256 != expected.sha256 or path.stat().st_size == entry.size
        if not good:
            log.warning("%s is altered", path)
        return None if good else "Altered"

    def _remove(self, gone: Removed) -> bool:
        """Give up the bundle's part in a file; False while a fetch of it runs, or if it is expected."""
        if gone.path in self._paths:
            log.warning("%s is not removed: it is expected there", gone.path)
            return False
        key = partial.key_of(self._wanted.bundle, gone.name)
        with partial.locked_if_free(self._root, key) as free:
            if not free:
                log.warning("file %s is not removed: a fetch of it is running", gone.name)
                return False
            if gone.name not in self._names:
                self._forget(key)
            with listing.locked(self._root, self._stop):
                self._disown(gone)
        return True

    def _disown(self, gone: Removed) -> None:
        """The bytes go before their entry: a file without an entry would be in the way for ever."""
        listed, owner = manifest.load(self._root), owner_of(self._wanted.bundle, gone.name)
        entry = listed.at(gone.path)
        if entry is None or owner not in entry.owners or not _is_meant(gone, entry):
            return
        owners = tuple(each for each in entry.owners if each != owner)
        if owners:
            listing.save(self._root, listed.with_entry(replace(entry, owners=owners)))
            return
        rest = listed.without(entry.path)
        others = {path for other in rest.files for path in (other.path, *other.companions)}
        for path in (entry.path, *entry.companions):
            if path not in others:
                (self._root / path).unlink(missing_ok=True)
        listing.save(self._root, rest)
        log.info("removed %s", entry.path)

    def _strays(self, listed: Manifest) -> Iterable[Stray]:
        """What is the bundle's by the manifest, and neither expected nor to be removed."""
        for entry in listed.files:
            for owner in entry.owners:
                bundle, _, name = owner.partition("/")
                leaves = any(gone.name == name and _is_meant(gone, entry) for gone in self._wanted.remove)
                if bundle == self._wanted.bundle and entry.path not in self._paths and not leaves:
                    yield Stray(name=name, path=entry.path, sha256=entry.sha256)

    def _sweep(self) -> None:
        """Remove old downloads: those of this bundle, those that nobody can go on with, and locks."""
        for key, age in sorted(partial.ages(self._root).items()):
            if age <= _STALE_SECONDS or not self._may_sweep(key):
                continue
            self._stop.check()
            with partial.locked_if_free(self._root, key) as free:
                # Looked at again: a fetch may have begun and ended meanwhile.
                if free and partial.ages(self._root).get(key, 0.0) > _STALE_SECONDS and self._may_sweep(key):
                    log.info("removing what is left of the download %s", key)
                    self._forget(key)
                    partial.forget_lock(self._root, key)

    def _may_sweep(self, key: str) -> bool:
        notes = partial.notes_of(self._root, key)
        if notes is None:
            # Without notes that this program understands every fetch starts over.
            return True
        bundle, _, name = notes.owner.partition("/")
        is_key = partial.key_of(bundle, name) == key
        return bundle == self._wanted.bundle and is_key and name not in self._names

    def _forget(self, key: str) -> None:
        notes = partial.notes_of(self._root, key)
        if notes is not None and notes.path not in self._paths:
            existing.give_up_sealed(self._root, key, self._stop)
        partial.forget(self._root, key)


def _is_meant(gone: Removed, entry: Entry) -> bool:
    """Whether a listed file is the one that is to go, and not another that has its place now."""
    return gone.path == entry.path and gone.sha256 in ("", entry.sha256)


if __name__ == "__main__":
    sys.exit(process.run(keep_up))
