"""The story of a ModelBundle: observe, decide, build, apply the difference, report.

Safe to repeat and to stop after any write.
"""

import datetime
import logging

from sd_operator import errors, names
from sd_operator.api.bundle import BundleFile, FileStatus
from sd_operator.api.conditions import Verdict, now, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.applying import report, settle
from sd_operator.bundle import decide
from sd_operator.bundle.children.claim import build_claim
from sd_operator.bundle.children.job import FetchSettings, build_job
from sd_operator.bundle.observe import Observed, observe
from sd_operator.bundle.status import build_status
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
            await report(self._api, manifest, malformed_status(manifest, verdict))
            return self._recheck
        verdict, files, claim = await self._act(observed)
        status = build_status(
            observed.bundle, verdict, files=files, claim=claim, users=observed.users, time=now()
        )
        if await report(self._api, manifest, status):
            logger.info("%s, %s: %s", verdict.state.value, verdict.reason, verdict.message)
        unsettled = any(file.state in ("Pending", "Failed") for file in files)
        return min(WAITING_SECONDS, self._recheck) if unsettled else self._recheck

    async def _act(self, observed: Observed) -> tuple[Verdict, list[FileStatus], Object | None]:
        """Bring the children closer to the wish; what is said about it."""
        refused = decide.refusal(observed.bundle) or decide.claim_refusal(observed)
        if refused is not None:
            return refused, list(observed.bundle.status.files), observed.claim
        claim, spec = observed.claim, observed.bundle.spec
        told = list(observed.bundle.status.files)
        try:
            claim = await settle(self._api, build_claim(observed.bundle, live_size=_size(claim)), claim)
            decisions = [await self._act_on_file(observed, file, claim) for file in spec.files]
            wished = frozenset(str(decision.status.job) for decision in decisions)
            for job in decide.obsolete_jobs(observed, wished):
                await self._delete(job)
        except errors.RefusedError as error:
            return stalled(Reason.CHILD_REJECTED, str(error)), told, claim
        except errors.ConflictError as error:
            return reconciling(Reason.WAITING_FOR_DELETION, str(error)), told, claim
        return decide.verdict(observed, decisions), [decision.status for decision in decisions], claim

    async def _act_on_file(self, observed: Observed, file: BundleFile, claim: Object) -> decide.FileDecision:
        wish = build_job(observed.bundle, file, claim_uid=claim["metadata"]["uid"], settings=self._settings)
        decision = decide.decide_file(observed, file, stamped(wish))
        if decision.action is decide.Action.CREATE:
            await settle(self._api, wish, None)
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


def _size(claim: Object | None) -> str | None:
    if claim is None:
        return None
    size: str | None = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    return size
