"""The story of an SDInstance: observe, decide, build, apply the difference, tell the pods, report.

Safe to repeat and to stop after any write.

Pods are made once the checkpoint is verified: those that started earlier could only wait.
"""

import asyncio
import datetime
import logging
from dataclasses import replace

from sd_operator import claims, errors, names, pods
from sd_operator.api.conditions import State, Verdict, now, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.applying import announce, is_settled, prune, report, settle
from sd_operator.cluster import Api, Object
from sd_operator.instance import decide
from sd_operator.instance.children import outputs, wishes
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.decide import Plan
from sd_operator.instance.desired import Desired
from sd_operator.instance.observe import Answer, Observed, key_of, observe
from sd_operator.instance.offers import OfferBook
from sd_operator.instance.readiness import blamed, readiness, replicas, scaled_to_zero
from sd_operator.instance.status import build_status
from sd_operator.malformed import malformed_status
from sd_operator.names import Key
from sd_operator.runtime_client import Runtimes

logger = logging.getLogger(__name__)

#: Seconds between two looks at a pod that loads: soon at first, patient with the slow.
SHORTEST_POLL = 1.0
LONGEST_POLL = 15.0
#: Seconds that the Deployment's controller is given to make the first pod.
NEWBORN_SECONDS = 3.0
#: Seconds until the next look at a pod that does not start: its events are not watched.
WAITING_SECONDS = 10.0
#: Seconds until the next look where the cluster or a person may change what nobody watches: quotas, policies.
BLOCKED_SECONDS = 60.0


class InstanceReconciler:
    """Works on one instance at a time; holds nothing of any of them."""

    def __init__(
        self,
        api: Api,
        runtimes: Runtimes,
        settings: RuntimeSettings,
        *,
        recheck_seconds: float,
    ) -> None:
        self._api = api
        self._runtimes = runtimes
        self._settings = settings
        self._offers = OfferBook(api, settings.gpu.profiles)
        self._recheck = recheck_seconds

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the instance is gone."""
        manifest = await self._api.get(names.SDINSTANCE, namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        now_ = datetime.datetime.now(tz=datetime.UTC)
        try:
            observed = await observe(
                self._api,
                self._runtimes,
                self._offers,
                manifest,
                now=now_,
                catalog=self._settings.catalog_namespace,
            )
            planned = decide.plan(observed, self._settings.gpu)
        except errors.ManifestError as error:
            verdict = stalled(Reason.INVALID_SPEC, str(error))
            await self._report(manifest, malformed_status(manifest, verdict), verdict)
            return self._recheck
        outcome = await self._act(observed, planned)
        if outcome is None:
            return None
        observed, verdict = outcome
        if verdict.reason == Reason.LOADING and _is_newborn(observed):
            return SHORTEST_POLL
        desired = planned.desired or _deployed(observed)
        status = build_status(observed, planned, verdict, desired=desired, time=now())
        await self._report(manifest, status, verdict)
        return self._next_look(observed, verdict)

    async def _act(self, observed: Observed, planned: Plan) -> tuple[Observed, Verdict] | None:
        """Bring the children and the pods closer to the wish; what is said about it. None: it is gone."""
        if planned.desired is None:
            await self._scale(observed)
            return observed, _verdict(observed, planned)
        wished = self._wishes(observed, planned, planned.desired)
        if observed.instance.spec.suspend:
            return observed, _suspended(observed, planned, wished)
        if any(key_of(wish) not in observed.children for wish in wished) and not await self._lives(observed):
            # Its end was not told yet, and its children go: nothing is made anew.
            return None
        observed = observed.with_children(await self._unlisted(observed, wished))
        clash = decide.taken(observed, wished)
        if clash is not None:
            return observed, clash
        try:
            observed, note = await self._apply(observed, wished)
        except errors.RefusedError as error:
            trouble = pods.Trouble(Reason.CHILD_REJECTED, str(error), permanent=True)
            return observed, stalled(trouble.reason, blamed(observed, trouble))
        except errors.ConflictError as error:
            if "being deleted" not in str(error):
                # Somebody was faster: the queue looks again at once.
                raise
            return observed, reconciling(Reason.WAITING_FOR_DELETION, str(error))
        observed = await self._tell(observed, planned.desired)
        verdict = _verdict(observed, planned)
        if note is not None:
            verdict = replace(verdict, message=f"{verdict.message}; {note}")
        return observed, verdict

    async def _scale(self, observed: Observed) -> None:
        """A spec that is refused still scales what serves: what a GPU costs must be able to end."""
        live, wanted = observed.deployment, observed.instance.spec.replicas
        if live is None or observed.instance.spec.suspend or not decide.is_child(observed, live):
            return
        if live["spec"].get("replicas") != wanted:
            metadata = live["metadata"]
            logger.info("scaling Deployment %s to %d", metadata["name"], wanted)
            await self._api.scale(
                names.DEPLOYMENT, namespace=metadata["namespace"], name=metadata["name"], replicas=wanted
            )

    async def _lives(self, observed: Observed) -> bool:
        metadata = observed.instance.metadata
        return await self._api.lives(
            names.SDINSTANCE, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
        )

    def _wishes(self, observed: Observed, planned: Plan, desired: Desired) -> list[Object]:
        return wishes.wished(
            planned.instance,
            desired=desired,
            allocation=planned.allocation,
            exclusive=decide.exclusive(observed),
            pickles=decide.has_pickles(observed),
            claims=observed.claim_names,
            live_outputs_claim=observed.outputs,
            serves=self._api.serves(),
            token_sha256=self._runtimes.token_sha256(planned.instance.metadata.uid),
            settings=self._settings,
            plugins=planned.plugins,
        )

    async def _unlisted(self, observed: Observed, wished: list[Object]) -> list[Object]:
        """Objects under a child's name without our label: somebody else's, or ours with it torn off."""
        missing = [wish for wish in wished if key_of(wish) not in observed.children]
        found = await asyncio.gather(
            *(
                self._api.get(
                    names.BY_KIND[wish["apiVersion"], wish["kind"]],
                    namespace=wish["metadata"]["namespace"],
                    name=wish["metadata"]["name"],
                )
                for wish in missing
            )
        )
        return [live for live in found if live is not None]

    async def _apply(self, observed: Observed, wished: list[Object]) -> tuple[Observed, str | None]:
        """The world with its children as wished for, and what is said of a volume that does not grow."""
        applied, note = [], None
        for wish in wished:
            live = observed.children.get(key_of(wish))
            try:
                child = await settle(self._api, wish, live)
            except errors.RefusedError as error:
                smaller = _as_large_as(wish, live)
                if smaller is None:
                    raise
                note = f"spec.outputs.size: the volume stays at {claims.live_size(live)}: {error}"
                child = await settle(self._api, smaller, live)
            applied.append(child)
        uid = observed.instance.metadata.uid
        await prune(self._api, wishes.obsolete(observed.children.values(), wished, uid))
        return observed.with_children(applied), note or _size_note(observed)

    async def _tell(self, observed: Observed, desired: Desired) -> Observed:
        """Have the pods of the present template serve what is desired, where they know of something else."""
        instance = observed.instance
        wish = {"generation": instance.metadata.generation, **desired.document()}

        async def one(pod: Object) -> Answer:
            try:
                return await self._runtimes.desire(
                    pod_ip=pod["status"]["podIP"], uid=instance.metadata.uid, wish=wish
                )
            except errors.RuntimeUnreachableError as error:
                return error

        behind = [
            dict(replica.pod)
            for replica in replicas(observed, desired)
            if replica.state is not None and not replica.told(desired) and not replica.state.draining
        ]
        answers = await asyncio.gather(*(one(pod) for pod in behind))
        return observed.with_states(
            {pod["metadata"]["uid"]: answer for pod, answer in zip(behind, answers, strict=True)}
        )

    async def _report(self, manifest: Object, status: Object, verdict: Verdict) -> None:
        if await report(self._api, manifest, status):
            logger.info("%s, %s: %s", verdict.state.value, verdict.reason, verdict.message)
            await announce(self._api, manifest, verdict)

    def _next_look(self, observed: Observed, verdict: Verdict) -> float:
        if verdict.state is State.READY and verdict.underway is None:
            return self._recheck
        loading = [pods.age(pod, now=observed.now) for pod in observed.pods if pods.is_running(pod)]
        # A Secret that is put right reaches the pods by the kubelet, and no watch tells of it.
        passing = verdict.state is not State.STALLED or verdict.reason == Reason.CREDENTIALS_MISSING
        if loading and passing:
            return min(LONGEST_POLL, max(SHORTEST_POLL, min(loading) / 5), self._recheck)
        return min(WAITING_SECONDS if observed.pods else BLOCKED_SECONDS, self._recheck)


def _is_newborn(observed: Observed) -> bool:
    """Whether the Deployment counts its first pods in a moment: until then a status that is not observed yet
    says enough. A pod may be seen before it is counted."""
    live = observed.deployment
    told = observed.instance.status.observed_generation >= 0
    if live is None or told or (live.get("status") or {}).get("replicas"):
        return False
    return pods.age(live, now=observed.now) < NEWBORN_SECONDS


def _deployed(observed: Observed) -> Desired | None:
    """What the pods were told to serve, where the spec says nothing usable."""
    checkpoint = decide.served(observed)
    if checkpoint is None:
        return None
    return Desired(checkpoint=checkpoint, options=observed.instance.spec.options or {})


def _verdict(observed: Observed, planned: Plan) -> Verdict:
    """What is said of the instance: by the plan, else by its pods."""
    refused = planned.verdict is not None and planned.verdict.state is State.STALLED
    if observed.instance.spec.replicas == 0 and not refused:
        # Whatever the bundles lack: nobody waits for them.
        return scaled_to_zero(observed)
    if planned.verdict is not None:
        return planned.verdict
    if planned.desired is None:
        raise AssertionError("a plan without a checkpoint says why")
    return readiness(observed, planned.desired)


def _size_note(observed: Observed) -> str | None:
    """What is said of outputs that ask for less than their volume has."""
    wanted = observed.instance.spec.outputs
    if wanted is None:
        return None
    return outputs.size_note(wanted, outputs.size_to_ask(wanted, observed.outputs))


def _as_large_as(wish: Object, live: Object | None) -> Object | None:
    """The wish for a claim with the size that it has; None where that would change nothing."""
    size = claims.live_size(live)
    if wish["kind"] != names.CLAIM.kind or size is None or size == claims.live_size(wish):
        return None
    return {**wish, "spec": {**wish["spec"], "resources": {"requests": {"storage": size}}}}


def _suspended(observed: Observed, planned: Plan, wished: list[Object]) -> Verdict:
    """What is said while the children are left as they are."""
    behind = [wish for wish in wished if not is_settled(wish, observed.children.get(key_of(wish)))]
    uid = observed.instance.metadata.uid
    obsolete = wishes.obsolete(observed.children.values(), wished, uid)
    waiting = [f"{child['kind']} {child['metadata']['name']}" for child in [*behind, *obsolete]]
    if waiting:
        return stalled(
            Reason.SUSPENDED, f"spec.suspend is true; changes wait for its end: {', '.join(waiting)}"
        )
    verdict = _verdict(observed, planned)
    if verdict.state is not State.READY:
        return replace(verdict, message=f"spec.suspend is true; {verdict.message}")
    return ready(Reason.SUSPENDED, f"spec.suspend is true; {verdict.message}", underway=verdict.underway)
