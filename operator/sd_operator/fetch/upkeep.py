"""`python -m sd_operator.fetch.upkeep`: looks after a bundle's files on a volume; a verdict; an exit code.

Says which expected files are lost or altered, and removes what left the bundle; mends nothing. A file that
other bundles have too stays theirs.
"""

import logging
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sd_modelfiles import manifest
from sd_modelfiles.manifest import Entry, Manifest
from sd_operator.fetch import errors, hashing, partial, process, request
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Expected, Upkeep
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
    try:
        return _Round(known.root, wanted, stop).go()
    except manifest.ManifestError as error:
        raise FetchError(
            errors.VOLUME_ERROR, f"{error}; repair it, or remove it to have every file fetched again"
        ) from error
    except OSError as error:
        raise errors.of_volume(error) from error


class _Round:
    """One look at a volume, for one bundle."""

    def __init__(self, root: Path, wanted: Upkeep, stop: Stop) -> None:
        self._root = root
        self._wanted = wanted
        self._stop = stop
        self._paths = {each.name: each.path for each in wanted.expect}

    def go(self) -> Kept:
        lost: list[str] = []
        altered: list[str] = []
        listed = manifest.load(self._root)
        for each in self._wanted.expect:
            self._stop.check()
            fault = self._fault(each, listed.at(each.path))
            if fault is not None:
                (lost if fault == "Lost" else altered).append(each.name)
        removed = [name for name in self._wanted.remove if self._remove(name)]
        self._sweep()
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

    def _remove(self, name: str) -> bool:
        """Give up the bundle's part in a file; False while a fetch of it runs."""
        key = partial.key_of(self._wanted.bundle, name)
        with partial.locked_if_free(self._root, key) as free:
            if not free:
                log.warning("file %s is not removed: a fetch of it is running", name)
                return False
            if name not in self._paths:
                partial.forget(self._root, key)
            with manifest.locked(self._root):
                self._disown(name)
        return True

    def _disown(self, name: str) -> None:
        """The bytes go before their entry: a file without an entry would be in the way for ever."""
        before = listed = manifest.load(self._root)
        for entry in self._of(listed, name):
            owners = tuple(owner for owner in entry.owners if owner != self._owner(name))
            if owners:
                listed = listed.with_entry(replace(entry, owners=owners))
                continue
            listed = listed.without(entry.path)
            others = {path for other in listed.files for path in (other.path, *other.companions)}
            for path in (entry.path, *entry.companions):
                if path not in others:
                    (self._root / path).unlink(missing_ok=True)
            log.info("removed %s", entry.path)
        if listed != before:
            manifest.save(self._root, listed)

    def _of(self, listed: Manifest, name: str) -> list[Entry]:
        """The bundle's files of that name that are not the expected one."""
        owner, expected = self._owner(name), self._paths.get(name)
        return [entry for entry in listed.files if owner in entry.owners and entry.path != expected]

    def _owner(self, name: str) -> str:
        return f"{self._wanted.bundle}/{name}"

    def _strays(self, listed: Manifest) -> Iterable[Stray]:
        for entry in listed.files:
            for owner in entry.owners:
                bundle, _, name = owner.partition("/")
                if bundle == self._wanted.bundle and self._paths.get(name) != entry.path:
                    yield Stray(name=name, path=entry.path)

    def _sweep(self) -> None:
        """Remove downloads of this bundle that were left for good."""
        folder = partial.folder_of(self._root)
        for path in sorted(folder.glob("*.json")):
            notes = partial.notes_of(self._root, path.stem)
            bundle, _, name = (notes.owner if notes is not None else "").partition("/")
            if bundle != self._wanted.bundle or partial.key_of(bundle, name) != path.stem:
                continue
            with partial.locked_if_free(self._root, path.stem) as free:
                if free and name not in self._paths and _is_stale(path):
                    log.info("removed what was left of a download of %s", name)
                    partial.forget(self._root, path.stem)


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(process.run(keep_up))
