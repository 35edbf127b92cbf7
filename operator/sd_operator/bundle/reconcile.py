"""The story of a ModelBundle: observe, decide, build, apply the difference, report.

Safe to repeat and to stop after any write.
"""

import asyncio
import dataclasses
import datetime
import logging
import math
from collections.abc import Mapping

from sd_operator import blame, claims, errors, names, pods
from sd_operator.api.bundle import BundleFile
from sd_operator.api.conditions import Verdict, now, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.applying import announce, post, report, settle
from sd_operator.bundle import decide, events, jobs, leaving, placement, reclaim, refusals, upkeep
from sd_operator.bundle.children.claim import build_claim, size_note, size_to_ask
from sd_operator.bundle.children.job import build_job
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.children.upkeep import build_upkeep
from sd_operator.bundle.observe import Observed, holders, observe, refound
from sd_operator.bundle.placement import Placement
from sd_operator.bundle.readiness import readiness
from sd_operator.bundle.status import Outcome, build_status
from sd_operator.cluster import Api, Object
from sd_operator.fetch_client import FetchPods, Progress
from sd_operator.malformed import malformed_status
from sd_operator.manifests import stamped
from sd_operator.names import Key

logger = logging.getLogger(__name__)

#: Seconds until the next look while something waits that no watch tells about (events of stuck pods).
WAITING_SECONDS = 10.0
#: Seconds between two questions how far running fetches are, and so between two writes of it.
PROGRESS_SECONDS = 5.0
#: Seconds until what was refused is asked for again, and until a claim of others is looked at again.
REFUSED_SECONDS = 60.0
EXISTING_SECONDS = 60.0


class BundleReconciler:
    """Works on one bundle at a time; remembers of each only how far its fetches were."""

    def __init__(
        self, api: Api, fetch_pods: FetchPods, settings: FetchSettings, *, recheck_seconds: float
    ) -> None:
        self._api = api
        self._pods = fetch_pods
        self._settings = settings
        self._recheck = recheck_seconds
        self._progress: dict[Key, tuple[datetime.datetime, Mapping[str, Progress]]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the bundle is gone."""
        manifest = await self._api.get(names.MODELBUNDLE, namespace=key.namespace, name=key.name)
        if manifest is None or (_is_going(manifest) and not reclaim.has_finalizer(manifest)):
            self._progress.pop(key, None)
            return None
        try:
            observed = await observe(
                self._api,
                manifest,
                now=datetime.datetime.now(tz=datetime.UTC),
                catalog=self._settings.catalog_namespace,
            )
        except errors.ManifestError as error:
            return await self._malformed(manifest, error)
        if _is_going(manifest):
            return await self._reclaim(manifest, observed)
        if jobs.verdicts_lost(observed):
            # A pod whose end no watch told of must not cost a second download.
            observed = await refound(self._api, observed)
        if jobs.makes_something(observed) and not await self._lives(observed):
            # Its end was not told yet, and its Jobs go: nothing is made anew.
            return None
        ours = reclaim.wants_finalizer(observed.bundle)
        if ours != reclaim.has_finalizer(manifest):
            manifest = await self._api.finalize(manifest, reclaim.finalizers(manifest, ours=ours))
        observed = dataclasses.replace(observed, progress=await self._ask(key, observed))
        return await self._report(manifest, observed, await self._act(observed))

    async def _report(self, manifest: Object, observed: Observed, outcome: Outcome) -> float:
        status = build_status(observed, outcome, time=now())
        if await report(self._api, manifest, status):
            logger.info(
                "%s, %s: %s", outcome.verdict.state.value, outcome.verdict.reason, outcome.verdict.message
            )
            for event in events.of_files(observed.bundle, outcome):
                await post(self._api, manifest, event)
            await announce(self._api, manifest, outcome.verdict)
        return min(_patience(observed, outcome), self._recheck)

    async def _malformed(self, manifest: Object, error: errors.ManifestError) -> float | None:
        if _is_going(manifest):
            # Nobody can tell what its volume is: it stays.
            await self._api.finalize(manifest, reclaim.finalizers(manifest, ours=False))
            return None
        verdict = stalled(Reason.INVALID_SPEC, str(error))
        if await report(self._api, manifest, malformed_status(manifest, verdict)):
            await announce(self._api, manifest, verdict)
        return self._recheck

    async def _reclaim(self, manifest: Object, observed: Observed) -> float | None:
        """Delete the volume, when nobody uses it, and let the bundle go."""
        keepers = await holders(self._api, observed)
        claim = reclaim.doomed_claim(observed)
        going = claim is not None and bool(claim["metadata"].get("deletionTimestamp"))
        waits = None if going else reclaim.waits(observed, keepers)
        if waits is not None:
            await self._report(manifest, observed, self._unchanged(observed, waits))
            return min(WAITING_SECONDS, self._recheck)
        if claim is not None:
            await self._report(manifest, observed, self._unchanged(observed, reclaim.goes(claim, keepers)))
            for job in jobs.all_jobs(observed):
                await self._delete(job)
            if not claim["metadata"].get("deletionTimestamp"):
                metadata = claim["metadata"]
                logger.info("deleting PersistentVolumeClaim %s", metadata["name"])
                await self._api.delete(
                    names.CLAIM,
                    namespace=metadata["namespace"],
                    name=metadata["name"],
                    uid=metadata["uid"],
                )
            return min(WAITING_SECONDS, self._recheck)
        latest = await self._api.get(
            names.MODELBUNDLE,
            namespace=observed.bundle.metadata.namespace,
            name=observed.bundle.metadata.name,
        )
        if latest is not None and reclaim.has_finalizer(latest):
            await self._api.finalize(latest, reclaim.finalizers(latest, ours=False))
        return None

    def _unchanged(self, observed: Observed, verdict: Verdict) -> Outcome:
        """What is said while nothing is done: only what is still known of the files."""
        files = decide.remembered(observed, verdict)
        stays = jobs.claim_stays(observed)
        return Outcome(
            verdict=verdict,
            files=files,
            claim=observed.claim,
            leaving=leaving.leaving(observed, files, None) if stays else (),
            verification=observed.bundle.status.verification if stays else None,
        )

    async def _lives(self, observed: Observed) -> bool:
        metadata = observed.bundle.metadata
        return await self._api.lives(
            names.MODELBUNDLE, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
        )

    async def _ask(self, key: Key, observed: Observed) -> Mapping[str, Progress]:
        """How far the running fetches are; what they said a moment ago is good enough."""
        running = {
            name: pod
            for name, job in observed.jobs.items()
            for pod in observed.pods_of(job)
            if pods.is_running(pod) and pods.termination(pod) is None
        }
        if not running:
            self._progress.pop(key, None)
            return {}
        before = self._progress.get(key)
        if before is not None and (observed.now - before[0]).total_seconds() < PROGRESS_SECONDS:
            return {name: each for name, each in before[1].items() if name in running}
        uid = observed.bundle.metadata.uid
        answers = await asyncio.gather(
            *(self._pods.progress(pod_ip=pod["status"]["podIP"], uid=uid) for pod in running.values())
        )
        found = {name: each for name, each in zip(running, answers, strict=True) if each is not None}
        self._progress[key] = (observed.now, found)
        return found

    async def _act(self, observed: Observed) -> Outcome:
        """Bring the children closer to the wish; what is said about it."""
        refused = refusals.of_spec(observed.bundle) or refusals.of_claim(observed)
        try:
            for job in jobs.holding_jobs(observed):
                await self._delete(job)
            if refused is None:
                return await self._fetch(observed)
        except errors.RefusedError as error:
            words = blame.named(blame.BUNDLE, Reason.CHILD_REJECTED, str(error))
            refused = stalled(Reason.CHILD_REJECTED, words)
        except errors.ConflictError as error:
            refused = reconciling(Reason.WAITING_FOR_DELETION, str(error))
        return self._unchanged(observed, refused)

    async def _fetch(self, observed: Observed) -> Outcome:
        claim, note = await self._settle_claim(observed)
        observed = dataclasses.replace(observed, claim=claim)
        news = upkeep.found(observed)
        wished = frozenset(jobs.job_name(observed, file) for file in observed.bundle.spec.files)
        # First: what is done counts against a quota, too.
        for job in jobs.obsolete_jobs(observed, wished):
            await self._delete(job)
        decisions = await self._settle_files(observed, upkeep.damaged(news))
        files = leaving.carried(observed, [decision.status for decision in decisions])
        gone = leaving.leaving(observed, files, news.kept if news is not None else None)
        trouble = await self._keep_up(observed, upkeep.wish(observed, files, gone), news)
        notes = [note for note in (note, trouble) if note is not None]
        return Outcome(
            verdict=_noted(readiness(observed, decisions), notes),
            files=files,
            claim=claim,
            leaving=gone,
            verification=upkeep.verification(observed, news),
            removed=news.kept.removed if news is not None else (),
        )

    async def _settle_claim(self, observed: Observed) -> tuple[Object, str | None]:
        """The claim, and what is said of a size that it does not get: the files need not wait for that."""
        bundle, live = observed.bundle, observed.claim
        if bundle.spec.storage.existing_claim is not None and live is not None:
            return live, None
        asked, has = size_to_ask(bundle, live), claims.live_size(live)
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

    async def _settle_files(
        self, observed: Observed, damaged: Mapping[str, str]
    ) -> list[decide.FileDecision]:
        """Make, replace and adopt Jobs, no more of them at a time than the spec allows."""
        slots = jobs.free_slots(observed)
        decisions = []
        for file in observed.bundle.spec.files:
            wish = self._job(observed, file)
            live = observed.jobs.get(wish["metadata"]["name"])
            decision = decide.decide_file(observed, file, stamped(wish), damaged)
            cleaner = upkeep.at_work_on(observed, file)
            if decision.action is decide.Action.CREATE and cleaner is not None:
                decision = decide.held_back(decision, cleaner)
            elif decision.action is decide.Action.CREATE and slots <= 0:
                decision = decide.queued(decision, observed.bundle.spec.fetch.parallelism)
            else:
                slots -= decision.action is decide.Action.CREATE
                decision = await self._settle_job(decision, wish, live)
            decisions.append(decision)
        return decisions

    async def _settle_job(
        self, decision: decide.FileDecision, wish: Object, live: Object | None
    ) -> decide.FileDecision:
        """Do what was decided; a Job that is refused is told at its file, and the other files go on."""
        try:
            if decision.action is decide.Action.REPLACE and live is not None:
                # Created anew by the next pass, which the deletion itself wakes.
                await self._delete(live)
            elif decision.action in (decide.Action.CREATE, decide.Action.ADOPT) or (
                live is not None and decide.is_repairable(decision, live)
            ):
                await settle(self._api, wish, live)
        except errors.RefusedError as error:
            return decide.refused(decision, blame.named(blame.FETCH_JOB, Reason.CHILD_REJECTED, str(error)))
        return decision

    def _job(self, observed: Observed, file: BundleFile) -> Object:
        live = observed.jobs.get(jobs.job_name(observed, file))
        return build_job(
            observed.bundle,
            file,
            claim_uid=(observed.claim or {}).get("metadata", {}).get("uid", ""),
            exclusive=observed.exclusive,
            placement=self._placement(observed, live),
            failures=jobs.failures(observed, file, live),
            token_sha256=self._pods.token_sha256(observed.bundle.metadata.uid),
            settings=self._settings,
        )

    def _placement(self, observed: Observed, live: Object | None) -> Placement:
        """Where a Job's pods go; those that have a node already keep their reasons for it."""
        options = observed.bundle.spec.fetch
        derived = options.node_selector is None or options.tolerations is None
        if live is not None and derived and jobs.is_placed(observed, live):
            return placement.kept(observed.bundle, live["spec"]["template"]["spec"])
        return placement.place(
            observed.bundle,
            is_placed=claims.is_placed(observed.claim),
            users=observed.instances,
            settings=self._settings.gpu,
        )

    async def _keep_up(
        self, observed: Observed, wish: upkeep.Wish | None, news: upkeep.Found | None
    ) -> str | None:
        """Look after the volume, and clean up after the Jobs that did; why that cannot be. The files are
        there all the same."""
        for job in upkeep.obsolete(observed, news):
            await self._delete(job)
        if wish is not None:
            job = build_upkeep(
                observed.bundle,
                wish.request,
                occasion=wish.occasion,
                asked=wish.asked,
                exclusive=observed.exclusive,
                placement=self._placement(observed, None),
                settings=self._settings,
            )
            try:
                await settle(self._api, job, None)
            except errors.RefusedError as error:
                return upkeep.untended(str(error))
        return upkeep.trouble(observed)

    async def _delete(self, job: Object) -> None:
        metadata = job["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        logger.info("deleting Job %s", metadata["name"])
        await self._api.delete(
            names.JOB, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        )


def _patience(observed: Observed, outcome: Outcome) -> float:
    """Seconds until the next look, where no watch tells of what comes."""
    if any(file.state == "Fetching" for file in outcome.files):
        return PROGRESS_SECONDS
    if any(file.reason == Reason.CHILD_REJECTED for file in outcome.files):
        return REFUSED_SECONDS
    if any(file.state in ("Pending", "Failed") for file in outcome.files) or outcome.leaving:
        return WAITING_SECONDS
    # Claims that are not the operator's are not watched.
    return EXISTING_SECONDS if observed.bundle.spec.storage.existing_claim else math.inf


def _is_going(manifest: Object) -> bool:
    return bool(manifest["metadata"].get("deletionTimestamp"))


def _noted(verdict: Verdict, notes: list[str]) -> Verdict:
    return dataclasses.replace(verdict, message="; ".join([verdict.message, *notes]))
