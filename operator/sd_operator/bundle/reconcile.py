"""The story of a ModelBundle: observe, decide, build, apply the difference, report.

Safe to repeat and to stop after any write.
"""

import dataclasses
import datetime
import logging

from sd_operator import blame, errors, names
from sd_operator.api.bundle import BundleFile, FileStatus
from sd_operator.api.conditions import Verdict, now, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.applying import announce, report, settle
from sd_operator.bundle import decide, refusals
from sd_operator.bundle.children.claim import build_claim, size_note, size_to_ask
from sd_operator.bundle.children.job import FetchSettings, build_job
from sd_operator.bundle.observe import Observed, observe, refound
from sd_operator.bundle.readiness import readiness
from sd_operator.bundle.status import build_status
from sd_operator.claims import live_size
from sd_operator.cluster import Api, Object
from sd_operator.malformed import malformed_status
from sd_operator.manifests import stamped
from sd_operator.names import Key

logger = logging.getLogger(__name__)

#: Seconds until the next look while something waits that no watch tells about (events of stuck pods).
WAITING_SECONDS = 10.0


class BundleReconciler:
    """Works on one bundle at a time; holds nothing of any of them."""

    def __init__(self, api: Api, settings: FetchSettings, *, recheck_seconds: float) -> None:
        self._api = api
        self._settings = settings
        self._recheck = recheck_seconds

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the bundle is gone."""
        manifest = await self._api.get(names.MODELBUNDLE, namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        try:
            observed = await observe(self._api, manifest, now=datetime.datetime.now(tz=datetime.UTC))
        except errors.ManifestError as error:
            verdict = stalled(Reason.INVALID_SPEC, str(error))
            if await report(self._api, manifest, malformed_status(manifest, verdict)):
                await announce(self._api, manifest, verdict)
            return self._recheck
        if decide.verdicts_lost(observed):
            # A pod whose end no watch told of must not cost a second download.
            observed = await refound(self._api, observed)
        if decide.makes_something(observed) and not await self._lives(observed):
            # Its end was not told yet, and its Jobs go: nothing is made anew.
            return None
        verdict, files, claim = await self._act(observed)
        status = build_status(
            observed.bundle, verdict, files=files, claim=claim, users=observed.users, time=now()
        )
        if await report(self._api, manifest, status):
            logger.info("%s, %s: %s", verdict.state.value, verdict.reason, verdict.message)
            await announce(self._api, manifest, verdict)
        unsettled = any(file.state in ("Pending", "Failed") for file in files)
        return min(WAITING_SECONDS, self._recheck) if unsettled else self._recheck

    async def _lives(self, observed: Observed) -> bool:
        metadata = observed.bundle.metadata
        return await self._api.lives(
            names.MODELBUNDLE, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
        )

    async def _act(self, observed: Observed) -> tuple[Verdict, list[FileStatus], Object | None]:
        """Bring the children closer to the wish; what is said about it."""
        refused = refusals.of_spec(observed.bundle) or refusals.of_claim(observed)
        try:
            for job in decide.holding_jobs(observed):
                await self._delete(job)
            if refused is None:
                return await self._fetch(observed)
        except errors.RefusedError as error:
            words = blame.named(blame.BUNDLE, Reason.CHILD_REJECTED, str(error))
            refused = stalled(Reason.CHILD_REJECTED, words)
        except errors.ConflictError as error:
            refused = reconciling(Reason.WAITING_FOR_DELETION, str(error))
        return refused, decide.remembered(observed, refused), observed.claim

    async def _fetch(self, observed: Observed) -> tuple[Verdict, list[FileStatus], Object | None]:
        claim, note = await self._settle_claim(observed)
        decisions = [await self._act_on_file(observed, file, claim) for file in observed.bundle.spec.files]
        wished = frozenset(str(decision.status.job) for decision in decisions)
        for job in decide.obsolete_jobs(observed, wished):
            await self._delete(job)
        verdict = readiness(observed, decisions)
        if note is not None:
            verdict = dataclasses.replace(verdict, message=f"{verdict.message}; {note}")
        return verdict, [decision.status for decision in decisions], claim

    async def _settle_claim(self, observed: Observed) -> tuple[Object, str | None]:
        """The claim, and what is said of a size that it does not get: the files need not wait for that."""
        bundle, live = observed.bundle, observed.claim
        asked, has = size_to_ask(bundle, live), live_size(live)
        try:
            claim = await settle(self._api, build_claim(bundle, size=asked), live)
        except errors.RefusedError as error:
            if has is None or asked == has:
                raise
            claim = await settle(self._api, build_claim(bundle, size=has), live)
            return (
                claim,
                f"spec.storage.size: the volume stays at {has}, because {asked} was refused: {error}",
            )
        return claim, size_note(bundle, asked)

    async def _act_on_file(self, observed: Observed, file: BundleFile, claim: Object) -> decide.FileDecision:
        wish = build_job(observed.bundle, file, claim_uid=claim["metadata"]["uid"], settings=self._settings)
        decision = decide.decide_file(observed, file, stamped(wish))
        if decision.action in (decide.Action.CREATE, decide.Action.ADOPT):
            await settle(self._api, wish, observed.jobs.get(wish["metadata"]["name"]))
        elif decision.action is decide.Action.REPLACE:
            # Created anew by the next pass, which the deletion itself wakes.
            await self._delete(observed.jobs[wish["metadata"]["name"]])
        return decision

    async def _delete(self, job: Object) -> None:
        metadata = job["metadata"]
        logger.info("deleting Job %s", metadata["name"])
        await self._api.delete(
            names.JOB, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        )
