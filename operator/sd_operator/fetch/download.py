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
from sd_operator.fetch.crew import Crew
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.follower import Follower, write_back
from sd_operator.fetch.gate import Passed
from sd_operator.fetch.journal import Span
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.probe import HEAD_BYTES, Changed, Opening, probe
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import FormatPolicy, Source
from sd_operator.fetch.sources import Location
from sd_operator.fetch.streams import Streams

# A source whose ranges were of different files so often is asked for the whole in one answer.
_CHANGES_BORNE = 2

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
        self._let_in = False
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
        except FetchError as failure:
            if isinstance(failure, Changed):
                self._changes += 1
                self._ranges = self._changes < _CHANGES_BORNE
                self._restart()
            # Whoever let us in before has changed the lock since; the kubelet brings the new key in a while.
            if failure.reason in (errors.UNAUTHORIZED, errors.FORBIDDEN) and self._let_in:
                failure.retryable = True
            progress.failed(failure)
            raise

    def _open(self) -> Opened | None:
        """The source, let through the gate, and the partial file ready for it; None when that is whole."""
        errand, partial = self._errand, self._partial
        with errand.stop.interruptible():
            location = self._resolve()
            if partial.present and not self._is_usable(location):
                self._restart()
            if partial.is_whole():
                self.passed = self._judge(None)
                return None
            opened = self._asked(location)
            self._let_in = True
            try:
                self.passed = self._judge(opened)
                if opened.ranged and self._contradicts(opened):
                    # Some count wrongly in answers for ranges only.
                    opened.close()
                    self._ranges = False
                    opened = self._asked(location)
                    self.passed = self._judge(opened)
                self._make_ready(opened, location)
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

    def _asked(self, location: Location) -> Opened:
        """The source's answer; the bytes that are here are kept if it goes on with them."""
        partial, notes = self._partial, self._partial.notes
        missing, etag = None, None
        if partial.present:
            start = partial.frontier()
            missing = partial.missing()[0] if notes.total is not None else Span(start, start + HEAD_BYTES)
            etag = notes.etag if notes.identity == location.identity else None
        opened: Opened
        if location.local is not None:
            opened = copying.open_local(location, location.local, missing, etag=etag)
        else:
            errand = self._errand
            asking = Asking(client=errand.client, location=location, patience=errand.patience)
            opened = probe(asking, missing, etag=etag, ranges=self._ranges)
        answer = opened.answer
        if missing is not None and (
            answer.start != missing.start
            or (etag is not None and answer.etag != etag)
            or notes.total not in (None, answer.total)
        ):
            self._restart()
            if answer.start:
                opened.close()
                raise Changed(location.identity, "has another file now")
        elif missing is not None:
            log.info("going on with %d bytes of an earlier download", partial.present)
            self._errand.progress.resumed()
        return opened

    def _judge(self, opened: Opened | None) -> Passed:
        """The gate, for the beginning of the file: from the source or, if it is here already, from here."""
        if opened is None or opened.answer.start:
            head = self._partial.head(sniff.SNIFF_BYTES)
            head = self._partial.head(gate.needed(head))
        else:
            while opened.extend(gate.needed(opened.head)) and len(opened.head) < gate.needed(opened.head):
                pass
            head = opened.head
        request = self._errand.request
        return gate.judge(head, file=request.file, policy=request.format_policy, name=self._name)

    def _contradicts(self, opened: Opened) -> bool:
        assert self.passed is not None
        return self.passed.size is not None and opened.answer.total != self.passed.size

    def _make_ready(self, opened: Opened, location: Location) -> None:
        """Check size and room; then note whose bytes follow."""
        assert self.passed is not None
        answer = opened.answer
        if answer.total is not None:
            gate.check_size(answer.total, self.passed, identity=location.identity)
        total = answer.total if answer.total is not None else self.passed.size
        if total is not None:
            if not self.passed.is_pickle:
                self._admit(total)
            self._check_space(total)
        self._partial.begin(
            identity=location.identity,
            etag=answer.etag,
            version=answer.version or location.version,
            total=total,
            promise=self._promise(location),
        )

    def _check_space(self, total: int) -> None:
        state = os.statvfs(self._errand.root)
        free = state.f_bavail * state.f_frsize
        missing = total - self._partial.present
        # A pickle and what it is converted to lie beside each other for a while.
        assert self.passed is not None
        converts = self.passed.is_pickle and self._errand.request.format_policy is FormatPolicy.SCAN_PICKLE
        if missing + (total if converts else 0) <= free:
            return
        if total * (1 + converts) > state.f_blocks * state.f_frsize:
            # It never will have room, and others may.
            self._restart()
        copy = f" and {total} for its conversion" if converts else ""
        raise errors.no_space(
            f"{missing} bytes are still to be fetched{copy}, the volume has {free} bytes free"
        )

    def _run(self, opened: Opened | None) -> None:
        """Let the bytes come, and hash them meanwhile; the file is whole and hashed after this."""
        errand, partial = self._errand, self._partial
        errand.progress.phase = Phase.FETCHING
        crew, arrived = Crew(errand.stop, tick=self._tick), threading.Event()
        flow = self._flow(opened)
        beside = [
            crew.start("hash", lambda: self._follower.follow(arrived, crew.ending)),
            crew.start("write-back", lambda: write_back(partial, arrived)),
        ]
        try:
            if flow is not None:
                works = flow.works(errand.settings.connections)
                crew.wait_for([crew.start(f"stream-{n}", work) for n, work in enumerate(works)])
                self._check_whole(flow)
            errand.progress.phase = Phase.VERIFYING
            arrived.set()
            crew.wait_for(beside)
        finally:
            if flow is not None:
                flow.end()
            crew.ending.set()
            arrived.set()
            crew.end(beside)
            self._tick()

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
            assert failure is not None
            raise failure

    def _tick(self) -> None:
        self._errand.progress.reach(self._partial.present, self._partial.notes.total)

    def _restart(self) -> None:
        if self._partial.present:
            log.info("%d bytes of an earlier download are of no use", self._partial.present)
            self._errand.progress.given_up(self._partial.present)
        self._partial.restart()
        self._follower.reset()
