"""Is the instance ready, by what its pods say, and if not, why. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import blame, errors, pods
from sd_operator.api.conditions import Verdict, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.instance.checkpoint import Checkpoint, written_on
from sd_operator.instance.observe import Observed
from sd_operator.runtime_client import RuntimeState


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod and what it says."""

    name: str
    pod: Mapping[str, Any]
    state: RuntimeState | None
    silence: str | None
    trouble: pods.Trouble | None

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Whether the runtime has these very bytes in memory."""
        return (
            self.state is not None
            and self.state.checkpoint is not None
            and self.state.checkpoint.sha256 == checkpoint.sha256
        )

    def serves(self, checkpoint: Checkpoint) -> bool:
        """Whether it has these bytes, can let its users in, and the Service sends requests to it."""
        return self.holds(checkpoint) and self.lets_in and pods.is_ready(self.pod)

    @property
    def lets_in(self) -> bool:
        """Whether anybody can use it: without credentials to compare with, it refuses everybody."""
        return self.state is None or self.state.credentials != "Missing"


def replicas(observed: Observed, checkpoint: Checkpoint) -> list[Replica]:
    """The pods that were made for the checkpoint; those of an earlier rollout do not count."""
    found = []
    for pod in observed.pods:
        if written_on(pod) != checkpoint:
            continue
        uid = pod["metadata"]["uid"]
        answer = observed.states.get(uid)
        found.append(
            Replica(
                name=pod["metadata"]["name"],
                pod=pod,
                state=answer if isinstance(answer, RuntimeState) else None,
                silence=str(answer) if isinstance(answer, errors.RuntimeUnreachableError) else None,
                trouble=pods.trouble(pod) or observed.warnings.get(uid),
            )
        )
    return found


def readiness(observed: Observed, checkpoint: Checkpoint) -> Verdict:
    """The one thing that is said, the gravest first."""
    wanted = observed.instance.spec.replicas
    current = replicas(observed, checkpoint)
    if wanted == 0:
        return _scaled_to_zero(observed)
    return (
        _needs_a_person(observed, current)
        or _waits(observed, current, checkpoint)
        or _rolling_out(observed, wanted)
        or ready(
            Reason.CHECKPOINT_LOADED,
            f"{checkpoint.reference} is loaded by {wanted} of {_pods(wanted)}",
        )
    )


def _scaled_to_zero(observed: Observed) -> Verdict:
    remaining = len(observed.pods) + observed.leaving
    if remaining:
        return reconciling(Reason.ROLLING_OUT, f"spec.replicas is 0; {_pods(remaining)} still to end")
    return ready(Reason.SCALED_TO_ZERO, "spec.replicas is 0: nothing is served")


def _needs_a_person(observed: Observed, current: list[Replica]) -> Verdict | None:
    for replica in current:
        if replica.state is not None and replica.state.health == "LoadFailed":
            words = replica.state.error or "the runtime gave no reason"
            return stalled(Reason.LOAD_FAILED, f"pod {replica.name}: {words}")
    for replica in current:
        if replica.trouble is not None and replica.trouble.permanent:
            return stalled(replica.trouble.reason, blamed(observed, replica.trouble))
    for replica in current:
        if replica.state is not None and not replica.lets_in:
            words = replica.state.credentials_error or "the runtime found no user name and password in it"
            return stalled(Reason.CREDENTIALS_MISSING, f"{_secret(observed)}: {words}")
    failure = _deployment_condition(observed, "ReplicaFailure")
    if failure is not None:
        reason, words = failure.get("reason") or "ReplicaFailure", str(failure.get("message") or "")
        return stalled(reason, blamed(observed, pods.Trouble(reason, words, True)))
    if observed.instance.spec.gpu.backend == "Whole":
        for replica in current:
            device = replica.state.device if replica.state is not None else None
            if device is not None and device.type == "cpu":
                return stalled(
                    Reason.GPU_NOT_USED,
                    f"spec.gpu.backend is Whole and pod {replica.name} computes on the CPU; use an image "
                    "with CUDA on a node with a driver, or set spec.gpu.backend to None",
                )
    return None


def blamed(observed: Observed, trouble: pods.Trouble) -> str:
    """What the cluster says of the children, behind the fields of the spec that it is about."""
    spec = observed.instance.spec
    given = {
        "spec.image": spec.image,
        "spec.nodeSelector": spec.node_selector,
        "spec.affinity": spec.affinity,
        "spec.tolerations": spec.tolerations,
    }
    unset = frozenset(field for field, value in given.items() if not value)
    return blame.named(blame.INSTANCE, trouble.reason, trouble.message, unset=unset)


def _secret(observed: Observed) -> str:
    reference = observed.instance.spec.access.auth_secret_ref
    return "spec.access.authSecretRef" + (f": Secret {reference.name}" if reference is not None else "")


def _waits(observed: Observed, current: list[Replica], checkpoint: Checkpoint) -> Verdict | None:
    wanted = observed.instance.spec.replicas
    loaded = sum(1 for replica in current if replica.serves(checkpoint))
    for replica in current:
        if replica.trouble is not None:
            return reconciling(replica.trouble.reason, blamed(observed, replica.trouble))
    for replica in current:
        held = replica.state.checkpoint if replica.state is not None else None
        if held is not None and not replica.holds(checkpoint):
            return reconciling(
                Reason.WRONG_CHECKPOINT,
                f"pod {replica.name} holds {held.path} with sha256 {held.sha256[:12]}…, desired is "
                f"{checkpoint.sha256[:12]}…",
            )
    for replica in current:
        if replica.silence is not None and pods.is_ready(replica.pod):
            return reconciling(Reason.RUNTIME_UNREACHABLE, f"pod {replica.name}: {replica.silence}")
    if loaded < wanted:
        # One sentence from the first pod's start to the last one's readiness: each other one is a write.
        return reconciling(Reason.LOADING, f"{checkpoint.reference} is loaded by {loaded} of {_pods(wanted)}")
    return None


def _rolling_out(observed: Observed, wanted: int) -> Verdict | None:
    deployment = observed.deployment or {}
    status = deployment.get("status") or {}
    generation = (deployment.get("metadata") or {}).get("generation", 0)
    if status.get("observedGeneration", 0) < generation:
        return reconciling(Reason.ROLLING_OUT, "the Deployment has just been changed")
    # Which pods are ready is known from the pods themselves, sooner than the Deployment tells.
    existing, updated = (int(status.get(name) or 0) for name in ("replicas", "updatedReplicas"))
    if existing == updated == wanted:
        return None
    return reconciling(Reason.ROLLING_OUT, f"{updated} of {_pods(wanted)} are up to date, {existing} exist")


def _deployment_condition(observed: Observed, kind: str) -> Mapping[str, Any] | None:
    status = (observed.deployment or {}).get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def _pods(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"
