"""The story of an SDInstance: observe, decide, build, apply the difference, report.

Safe to repeat and to stop after any write.

The Deployment is made once the checkpoint is verified, because its digest is part of the wish: pods that
started earlier could only wait.
"""

import datetime
import logging

from sd_operator import errors, names, pods
from sd_operator.api.conditions import State, Verdict, now, reconciling, stalled
from sd_operator.api.instance import SDInstance
from sd_operator.api.reasons import Reason
from sd_operator.applying import report, settle
from sd_operator.cluster import Api
from sd_operator.instance.checkpoint import Checkpoint
from sd_operator.instance.children.deployment import RuntimeSettings, build_deployment
from sd_operator.instance.children.service import build_service
from sd_operator.instance.decide import Plan, plan, served
from sd_operator.instance.observe import Observed, observe
from sd_operator.instance.readiness import blamed, readiness
from sd_operator.instance.status import build_status
from sd_operator.malformed import malformed_status
from sd_operator.names import Key
from sd_operator.runtime_client import Runtimes

logger = logging.getLogger(__name__)

#: Seconds between two looks at a pod that loads: soon at first, patient with the slow.
SHORTEST_POLL = 1.0
LONGEST_POLL = 15.0
#: Seconds until the next look at a pod that does not start: its events are not watched.
WAITING_SECONDS = 10.0


class InstanceReconciler:
    """Works on one instance at a time; holds nothing of any of them."""

    def __init__(
        self, api: Api, runtimes: Runtimes, settings: RuntimeSettings, *, recheck_seconds: float
    ) -> None:
        self._api = api
        self._runtimes = runtimes
        self._settings = settings
        self._recheck = recheck_seconds

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the instance is gone."""
        manifest = await self._api.get(names.SDINSTANCE, namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        try:
            observed = await observe(
                self._api, self._runtimes, manifest, now=datetime.datetime.now(tz=datetime.UTC)
            )
        except errors.ManifestError as error:
            verdict = stalled(Reason.INVALID_SPEC, str(error))
            await report(self._api, manifest, malformed_status(manifest, verdict))
            return self._recheck
        planned = plan(observed)
        observed, verdict = await self._act(observed, planned)
        checkpoint = planned.checkpoint or served(observed)
        status = build_status(observed, verdict, checkpoint=checkpoint, time=now())
        if await report(self._api, manifest, status):
            logger.info("%s, %s: %s", verdict.state.value, verdict.reason, verdict.message)
        return self._next_look(observed, verdict)

    async def _act(self, observed: Observed, planned: Plan) -> tuple[Observed, Verdict]:
        """Bring the children closer to the wish; what is said about it."""
        if planned.checkpoint is None:
            return observed, planned.verdict or reconciling(Reason.BUNDLE_NOT_READY, "no checkpoint yet")
        try:
            observed = await self._apply(observed, planned.instance, planned.checkpoint)
        except errors.RefusedError as error:
            trouble = pods.Trouble(Reason.CHILD_REJECTED, str(error), permanent=True)
            return observed, stalled(trouble.reason, blamed(observed, trouble))
        except errors.ConflictError as error:
            return observed, reconciling(Reason.WAITING_FOR_DELETION, str(error))
        return observed, planned.verdict or readiness(observed, planned.checkpoint)

    async def _apply(self, observed: Observed, instance: SDInstance, checkpoint: Checkpoint) -> Observed:
        deployment = await settle(
            self._api,
            build_deployment(
                instance,
                checkpoint,
                token_sha256=self._runtimes.token_sha256(instance.metadata.uid),
                settings=self._settings,
            ),
            observed.deployment,
        )
        service = await settle(self._api, build_service(instance), observed.service)
        return observed.with_children(deployment=deployment, service=service)

    def _next_look(self, observed: Observed, verdict: Verdict) -> float:
        if verdict.state is State.READY:
            return self._recheck
        loading = [pods.age(pod, now=observed.now) for pod in observed.pods if pods.is_running(pod)]
        # A Secret that is put right reaches the pods by the kubelet, and no watch tells of it.
        passing = verdict.state is State.RECONCILING or verdict.reason == Reason.CREDENTIALS_MISSING
        if loading and passing:
            return min(LONGEST_POLL, max(SHORTEST_POLL, min(loading) / 5), self._recheck)
        return min(WAITING_SECONDS, self._recheck) if observed.pods else self._recheck
