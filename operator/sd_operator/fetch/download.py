"""One source: attempts at getting its bytes whole into a partial file, through the gate.

Each attempt goes on where the last one ended when the source allows it (Range with If-Range) and starts over
when it does not. Memory stays at a few chunks whatever the size of the file. Knows nothing of manifests and
of models/.
"""

import logging
import os
import threading
from collections.abc import Callable

from sd_modelfiles import sniff
from sd_operator.fetch import copying, errors, gate, sources
from sd_operator.fetch.asking import Asking
from sd_operator.fetch.copying import Copy, LocalFile
from sd_operator.fetch.crew import Crew, Ramp
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.follower import Follower, write_back
from sd_operator.fetch.gate import Passed
from sd_operator.fetch.journal import Span
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.probe import HEAD_BYTES, Changed, Glitch, Opening, probe
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import FormatPolicy, Source
from sd_operator.fetch.sources import Location
from sd_operator.fetch.streams import Streams

# A source whose ranges were of different files so often is asked for the whole in one answer.
_CHANGES_BORNE = 2
# So many answers in a row that cannot be right are the source's fault; after them it is asked for the whole.
_GLITCHES_BORNE = 2
# Of a file whose size nobody says, the room is looked at each time that so many bytes came; the others on the
# volume are left so much of it.
_LOOK_BYTES = 64 * 1024 * 1024
_RESERVE_BYTES = 128 * 1024 * 1024

Opened = Opening | LocalFile

log = logging.getLogger(__name__)


class Download:
    """What the attempts at one source share. The partial file may hold bytes of an earlier process."""

    def __init__(
        self,
        errand: Errand,
        source: Source,
        partial: Partial,
        *,
        found: Location,
        name: str,
        admit: Callable[[int], None],
    ) -> None:
        self._errand = errand
        self._source = source
        self._partial = partial
        self._name = name  # on the volume
        self._admit = admit  # told the size that the file will have there, as soon as it is known
        self._fresh: Location | None = found
        self._follower = Follower(partial)
        self._ranges = True
        self._changes = 0
        self._glitches = 0
        self._glitched_at = 0  # bytes that were there at the last one
        self._looked_at = 0  # bytes that were there when the volume's room was last looked at
        self._let_in = False
        self.asked = False  # whether the source had a say, or all bytes were here already
        self.location = found
        self.passed: Passed | None = None

    def sha256(self) -> str:
        """Of a whole download."""
        return self._follower.sha256()

    def progress(self) -> int:
        return self._partial.present

    def attempt(self) -> None:
        """Bring the file to its end, or raise FetchError; what was received is kept for the next attempt."""
        progress = self._errand.progress
        progress.phase = Phase.PROBING
        try:
            opened = self._open()
            try:
                self._run(opened)
            finally:
                if opened is not None:
                    opened.close()
            self._confirm()
        except FetchError as failure:
            self._weigh(failure)
            # Whoever let us in before has changed the lock since; the kubelet brings the new key in a while.
            if failure.reason in (errors.UNAUTHORIZED, errors.FORBIDDEN) and self._let_in:
                failure.retryable = True
            progress.failed(failure)
            raise

    def _weigh(self, failure: FetchError) -> None:
        """Give up the bytes that are here if it says that they are of no use; and learn how to ask."""
        if isinstance(failure, Glitch):
            present = self._partial.present
            if present >= self._glitched_at + self._errand.patience.progress_bytes:
                self._glitches = 0
            self._glitches, self._glitched_at = self._glitches + 1, present
        else:
            self._glitches = 0
        if isinstance(failure, Changed):
            self._changes += 1
            self._ranges = self._changes < _CHANGES_BORNE
            self._restart()
        elif self._glitches > _GLITCHES_BORNE:
            self._ranges = False
            self._restart()

    def _confirm(self) -> None:
        """Judge the beginning again as it lies on the disk: that is what others will read."""
        try:
            self.passed = self._judge(None)
            gate.check_size(self._partial.present, self.passed, identity=self.location.identity)
        except FetchError:
            self._restart()
            raise

    def _open(self) -> Opened | None:
        """The source, let through the gate, and the partial file ready for it; None when that is whole."""
        errand, partial = self._errand, self._partial
        with errand.stop.interruptible():
            location = self._resolve()
            usable = partial.present > 0 and self._is_usable(location)
            if usable and partial.is_whole():
                self.passed = self._judge(None)
                return None
            opened, goes_on = self._asked(location, usable=usable)
            self.asked = self._let_in = True
            try:
                self.passed = self._judge(None if goes_on else opened)
                if opened.ranged and self._contradicts(opened):
                    # Some count wrongly in answers for ranges only.
                    opened.close()
                    self._ranges = False
                    opened, goes_on = self._asked(location, usable=False)
                    self.passed = self._judge(opened)
                self._make_ready(opened, location, goes_on=goes_on)
            except BaseException:
                opened.close()
                raise
            return opened

    def _resolve(self) -> Location:
        """Where the file is; asked anew for every attempt but the first, because signatures expire."""
        errand, self._fresh, fresh = self._errand, None, self._fresh
        self.location = fresh or sources.resolve(
            self._source, wanted=errand.request, client=errand.client, settings=errand.settings
        )
        return self.location

    def _promise(self, location: Location) -> str | None:
        return self._errand.file.sha256 or location.sha256

    def _is_usable(self, location: Location) -> bool:
        """Whether what is here can be gone on with: bytes of this file, that the gate can judge."""
        partial = self._partial
        if partial.notes.etag is None or not partial.fits(location.identity, self._promise(location)):
            return False
        try:
            needed = gate.needed(partial.head(sniff.SNIFF_BYTES))
        except FetchError:
            return False
        return partial.is_whole() or partial.frontier() >= needed

    def _asked(self, location: Location, *, usable: bool) -> tuple[Opened, bool]:
        """The source's answer, and whether it goes on with the bytes that are here."""
        partial, notes = self._partial, self._partial.notes
        if not usable:
            return self._answer(location, None, etag=None), False
        start = partial.frontier()
        missing = partial.missing()[0] if notes.total is not None else Span(start, start + HEAD_BYTES)
        # Of another source that promises the same bytes, the etag is not known yet.
        etag = notes.etag if notes.identity == location.identity else None
        opened = self._answer(location, missing, etag=etag)
        answer = opened.answer
        fits_total = notes.total in (None, answer.total)
        if answer.start and etag is not None and answer.etag == etag and not fits_total:
            opened.close()
            raise Glitch(
                location.identity, f"says that the file has {answer.total} bytes, and said {notes.total}"
            )
        if fits_total and etag in (None, answer.etag) and answer.start == missing.start:
            log.info("going on with %d bytes of an earlier download", partial.present)
            self._errand.progress.resumed()
            return opened, True
        if answer.start:
            opened.close()
            return self._answer(location, None, etag=None), False
        return opened, False

    def _answer(self, location: Location, missing: Span | None, *, etag: str | None) -> Opened:
        if location.local is not None:
            return copying.open_local(location, location.local, missing, etag=etag)
        errand = self._errand
        asking = Asking(client=errand.client, location=location, patience=errand.patience)
        total = self._partial.notes.total if missing is not None else None
        return probe(asking, missing, etag=etag, total=total, ranges=self._ranges)

    def _judge(self, opened: Opened | None) -> Passed:
        """The gate, for the beginning of the file: of the source's answer, or of what is here."""
        if opened is None:
            head = self._partial.head(sniff.SNIFF_BYTES)
            head = self._partial.head(gate.needed(head))
        else:
            while opened.extend(gate.needed(opened.head)) and len(opened.head) < gate.needed(opened.head):
                pass
            head = opened.head
            if opened.answer.total is None and gate.is_cut(head):
                raise FetchError(
                    errors.TRUNCATED,
                    f"{self.location.identity} ended the body after byte {len(head)}, within the file's "
                    "header",
                    retryable=True,
                )
        request = self._errand.request
        return gate.judge(head, file=request.file, policy=request.format_policy, name=self._name)

    def _contradicts(self, opened: Opened) -> bool:
        assert self.passed is not None
        return self.passed.size is not None and opened.answer.total != self.passed.size

    def _make_ready(self, opened: Opened, location: Location, *, goes_on: bool) -> None:
        """Check size and room; then note whose bytes follow. Only now those of no use are given up."""
        assert self.passed is not None
        answer = opened.answer
        if answer.total is not None:
            gate.check_size(answer.total, self.passed, identity=location.identity)
        total = answer.total if answer.total is not None else self.passed.size
        if total is not None:
            if not self.passed.is_pickle:
                self._admit(total)
            self._check_space(total, goes_on=goes_on)
        if not goes_on:
            self._restart()
        self._partial.begin(
            identity=location.identity,
            etag=answer.etag,
            version=answer.version or location.version,
            total=total,
            promise=self._promise(location),
        )

    def _check_space(self, total: int, *, goes_on: bool) -> None:
        state, present = os.statvfs(self._errand.root), self._partial.present
        free = state.f_bavail * state.f_frsize
        missing = total - present if goes_on else total
        converts = self._converts()
        needed = missing + (total if converts else 0)
        if needed <= free + (0 if goes_on else present):
            return
        if total * (1 + converts) > state.f_blocks * state.f_frsize:
            # It never will have room, and others may.
            self._restart()
        copy = f" and {total} for its conversion" if converts else ""
        raise errors.no_space(
            f"{missing} bytes are still to be fetched{copy}, the volume has {free} bytes free"
        )

    def _converts(self) -> bool:
        """Whether the file and what it is converted to will lie beside each other for a while."""
        assert self.passed is not None
        return self.passed.is_pickle and self._errand.request.format_policy is FormatPolicy.SCAN_PICKLE

    def _watch_space(self) -> None:
        """A body that may have no end must not take all the room there is."""
        present = self._partial.present
        if self._partial.notes.total is not None or present < self._looked_at + _LOOK_BYTES:
            return
        self._looked_at = present
        state = os.statvfs(self._errand.root)
        free = state.f_bavail * state.f_frsize
        if free < _RESERVE_BYTES + (present if self._converts() else 0):
            raise errors.no_space(
                f"{present} bytes came of a file whose size its source does not say, and the volume has "
                f"{free} bytes free"
            )

    def _run(self, opened: Opened | None) -> None:
        """Let the bytes come, and hash them meanwhile; the file is whole and hashed after this."""
        errand, partial = self._errand, self._partial
        errand.progress.phase = Phase.FETCHING
        crew, arrived = Crew(errand.stop), threading.Event()
        flow = self._flow(opened)
        beside = [
            crew.start("hash", lambda: self._follower.follow(arrived, crew.ending)),
            crew.start("write-back", lambda: write_back(partial, arrived)),
        ]
        try:
            if flow is not None:
                ramp = Ramp(crew, flow.works(errand.settings.connections))
                # A connection whose bytes others have brought may still wait for its own.
                crew.wait_for(ramp.threads, tick=lambda: self._look(ramp), enough=partial.is_whole)
                self._check_whole(flow)
            errand.progress.phase = Phase.VERIFYING
            arrived.set()
            crew.wait_for(beside, tick=self._reached)
        finally:
            if flow is not None:
                flow.end()
            crew.ending.set()
            arrived.set()
            crew.end(beside)
            self._reached()

    def _flow(self, opened: Opened | None) -> Streams | Copy | None:
        """What brings the bytes that are still missing once those of the answer are stored."""
        if opened is None:
            return None
        partial, received = self._partial, self._errand.progress.received
        writer = partial.writer()
        writer.write(opened.answer.start, opened.head)
        received(len(opened.head))
        total = partial.notes.total
        missing = partial.missing() if total is not None else []
        if isinstance(opened, LocalFile):
            return Copy(opened, writer=writer, missing=missing, received=received)
        return Streams(opened, writer=writer, missing=missing, total=total, received=received)

    def _check_whole(self, flow: Streams | Copy) -> None:
        partial, failure = self._partial, flow.failure()
        if partial.notes.total is None and failure is None:
            partial.know_total(partial.frontier())
        if not partial.is_whole():
            raise failure or FetchError(
                errors.TRUNCATED,
                f"{self.location.identity} sent {partial.present} bytes, the file has {partial.notes.total}",
                retryable=True,
            )

    def _look(self, ramp: Ramp) -> None:
        """Now and then, while bytes come."""
        ramp.climb(self._reached())
        self._watch_space()

    def _reached(self) -> int:
        """Tell how far the file is."""
        present = self._partial.present
        self._errand.progress.reach(present, self._partial.notes.total)
        return present

    def _restart(self) -> None:
        if self._partial.present:
            log.info("%d bytes of an earlier download are of no use", self._partial.present)
            self._errand.progress.given_up(self._partial.present)
        self._partial.restart()
        self._follower.reset()
        self._glitched_at = self._looked_at = 0
        self._errand.progress.reach(0, None)
