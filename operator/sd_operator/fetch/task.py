"""The story of a fetch: is the file there already; download it; verify it; put it in place; write it down."""

import logging

from sd_modelfiles import manifest, place
from sd_operator.fetch import errors, existing, formats, listing, mirrors, partial, placing, sources
from sd_operator.fetch import request as requests
from sd_operator.fetch.download import Download
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.patience import persist
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import Source
from sd_operator.fetch.sources import Location, location
from sd_operator.fetch.verdict import Verified

# After these the bytes in hand are of no use to any later fetch of the same source.
_USELESS = frozenset(
    (
        errors.FORMAT_REFUSED,
        errors.PICKLE_UNSAFE,
        errors.TYPE_MISMATCH,
        errors.HASH_MISMATCH,
        errors.PATH_CONFLICT,
    )
)

log = logging.getLogger(__name__)


def run(errand: Errand) -> Verified:
    """Fetch the file of the errand, or find it whole in place; raises FetchError."""
    with listing.volume_faults(), partial.locked(errand.root, errand.key, errand.stop):
        return existing.before_fetch(errand) or _Fetch(errand).run()


class _Fetch:
    """A fetch from the sources of a file. The caller holds the file's lock."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._name = errand.file.file_name

    def run(self) -> Verified:
        errand = self._errand
        with Partial(errand.root, errand.key, errand.owner) as kept:
            errand.progress.reach(kept.present, kept.notes.total)
            try:
                return mirrors.first_good(
                    errand.request.sources, lambda source: self._from_source(source, kept)
                )
            except (FetchError, OSError):
                # What cannot be gone on with only takes room. What is sealed may be in place already.
                useless = not kept.present or kept.notes.etag is None
                if useless and kept.notes.sha256 is None:
                    partial.forget(errand.root, errand.key)
                raise

    def _from_source(self, source: Source, kept: Partial) -> Verified:
        errand, identity = self._errand, sources.identity(source)
        errand.progress.source = identity
        found = persist(
            lambda: self._located(source),
            progress=lambda: 0,
            patience=errand.patience,
            sleep=self._wait,
        )
        path = self._path(found)
        log.info("file %s: %s to %s", errand.file.name, identity, path)
        promise = errand.file.sha256 or found.sha256
        verified = self._on_the_volume(found, path, promise, kept)
        if verified is not None:
            return verified
        existing.check_path(manifest.load(errand.root), path, errand, sha256=promise)
        try:
            return self._downloaded(source, found, path, kept)
        except FetchError as failure:
            if failure.reason in _USELESS:
                kept.restart()
            raise

    def _located(self, source: Source) -> Location:
        errand = self._errand
        errand.progress.phase = Phase.PROBING
        try:
            with errand.stop.interruptible():
                return sources.resolve(
                    source, wanted=errand.request, client=errand.client, settings=errand.settings
                )
        except FetchError as failure:
            errand.progress.failed(failure)
            raise

    def _path(self, found: Location) -> str:
        """Where the file goes, from whichever source: named as the first that could be asked has it."""
        file = self._errand.file
        policy = self._errand.request.format_policy
        self._name = self._name or requests.file_name(file, found.file_name, policy=policy)
        return str(place.path_of(file.type, self._name))

    def _on_the_volume(
        self, found: Location, path: str, promise: str | None, kept: Partial
    ) -> Verified | None:
        """The file without a download, if the volume has it: at its path or, the same bytes, at another."""
        errand = self._errand
        # Looked at before, but for what only the source could tell.
        if path not in existing.likely_paths(errand) or promise != errand.file.sha256:
            verified = existing.in_place(errand, [path], promise=promise)
            if verified is not None:
                return verified
        return placing.link(errand, path, promise, kept=kept, found_at=found)

    def _downloaded(self, source: Source, found: Location, path: str, kept: Partial) -> Verified:
        errand = self._errand
        download = Download(
            errand,
            source,
            kept,
            found=found,
            name=path.rpartition("/")[2],
            admit=lambda size: existing.check_size(manifest.load(errand.root), path, errand, size=size),
        )
        persist(download.attempt, progress=download.progress, patience=errand.patience, sleep=self._wait)
        found = download.location
        sha256, promise = download.sha256(), errand.file.sha256 or found.sha256
        if promise is not None and sha256 != promise:
            if kept.notes.mixed or not download.asked:
                # Not this source's fault alone: it is asked for the whole file before it is blamed.
                errand.progress.given_up(kept.present)
                kept.restart()
                return self._downloaded(source, found, path, kept)
            raise self._mismatch(sha256, found)
        assert download.passed is not None
        origin = location.recorded(found.identity, kept.notes.version)
        whole = formats.finish(errand, kept, download.passed.description, sha256=sha256, source=origin)
        return placing.put(errand, path, whole, kept=kept, found_at=found)

    def _mismatch(self, sha256: str, found: Location) -> FetchError:
        wanted = self._errand.file.sha256
        if wanted is None:
            return FetchError(
                errors.HASH_MISMATCH,
                f"the sha256 of the file is {sha256}, {found.identity} says it is {found.sha256}",
            )
        return FetchError(
            errors.HASH_MISMATCH,
            f"the sha256 of the file is {sha256}, file.sha256 is {wanted}; "
            f"correct it, or the source, if {found.identity} is not the wanted file",
        )

    def _wait(self, seconds: float) -> None:
        self._errand.progress.phase = Phase.WAITING
        self._errand.stop.sleep(seconds)
