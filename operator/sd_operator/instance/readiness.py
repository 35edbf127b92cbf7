"""Is the instance ready, by what its pods say, and if not, why. Pure.

Ready needs one replica that serves this generation with everything it needs; what is still under way besides
is told by Reconciling. Stalled is for what a person has to change while no replica serves this generation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import blame, errors, names, pods
from sd_operator.api.conditions import Verdict, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.instance import answers
from sd_operator.instance.decide import expected_files
from sd_operator.instance.desired import Desired
from sd_operator.instance.observe import Observed
from sd_operator.runtime_client import PluginState, RuntimeState


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of the current template, and what it says about what it shall serve."""

    name: str
    pod: Mapping[str, Any]
    state: RuntimeState | None
    silence: str | None
    trouble: pods.Trouble | None
    #: whether it computes on what was asked for
    on_device: bool
    #: files of the bundles that it does not find, as `<mount>/<path>`
    missing: tuple[str, ...]
    #: what is said of the plugins in the spec, as far as anything is
    plugins: Mapping[str, PluginState]

    def told(self, desired: Desired) -> bool:
        """Whether the runtime knows what it shall serve."""
        return self.state is not None and self.state.desired.revision == desired.revision

    def holds(self, desired: Desired) -> bool:
        """Whether the runtime serves what it shall, by the digest of the bytes in its memory."""
        state = self.state
        return (
            state is not None
            and self.told(desired)
            and state.desired.in_effect
            and state.checkpoint is not None
            and state.checkpoint.sha256 == desired.checkpoint.sha256
        )

    def serves(self, desired: Desired) -> bool:
        """Whether it has all it needs, lets its users in, and the Service sends requests to it."""
        complete = self.on_device and self.lets_in and not self.missing
        # A sidecar that ends again and again makes the pod ready for moments.
        fails = self.trouble is not None and self.trouble.permanent
        return self.holds(desired) and complete and pods.is_ready(self.pod) and not fails

    @property
    def down(self) -> list[PluginState]:
        """The plugins that do not answer; what needs none of them is served all the same."""
        return [plugin for plugin in self.plugins.values() if not plugin.ready]

    @property
    def lets_in(self) -> bool:
        """Whether anybody can use it: without credentials to compare with, it refuses everybody."""
        return self.state is None or self.state.credentials != "Missing"


def replicas(observed: Observed, desired: Desired) -> list[Replica]:
    """The pods of the Deployment's present template; those of an earlier rollout do not count."""
    template = template_of((observed.deployment or {}).get("spec", {}).get("template") or {})
    files = expected_files(observed, desired)
    wants_gpu = observed.instance.spec.gpu.backend != "None"
    found = []
    for pod in observed.pods:
        if template is None or template_of(pod) != template:
            continue
        uid = pod["metadata"]["uid"]
        answer = observed.states.get(uid)
        state = answer if isinstance(answer, RuntimeState) else None
        device = state.device if state is not None else None
        trouble = pods.trouble(pod, now=observed.now) or observed.warnings.get(uid)
        found.append(
            Replica(
                name=pod["metadata"]["name"],
                pod=pod,
                state=state,
                silence=str(answer) if isinstance(answer, errors.RuntimeUnreachableError) else None,
                trouble=trouble,
                on_device=not (wants_gpu and device is not None and device.type == "cpu"),
                missing=_missing(state, files),
                plugins={
                    each.name: told
                    for each in observed.instance.spec.plugins
                    if (told := answers.of_pod(each.name, pod, state, trouble)) is not None
                },
            )
        )
    return found


def template_of(labelled: Mapping[str, Any]) -> str | None:
    """The digest of the pod template that a pod was made from, or that a template is."""
    digest: str | None = ((labelled.get("metadata") or {}).get("annotations") or {}).get(
        names.ANNOTATION_TEMPLATE
    )
    return digest


def _missing(state: RuntimeState | None, files: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    if state is None:
        return ()
    listed = {(file.root, file.path): file.sha256 for file in state.files}
    return tuple(
        f"{root}/{path}" for (root, path), sha256 in files.items() if listed.get((root, path)) != sha256
    )


def readiness(observed: Observed, desired: Desired) -> Verdict:
    """The one thing that is said, the gravest first."""
    wanted = observed.instance.spec.replicas
    current = replicas(observed, desired)
    if wanted == 0:
        return scaled_to_zero(observed)
    serving = [replica for replica in current if replica.serves(desired)]
    refused = _options_refused(serving)
    if refused is not None:
        return refused
    if not serving:
        grave = _needs_a_person(observed, current, desired)
        if grave is not None:
            return grave
    whole = [replica for replica in serving if not replica.down]
    left = [replica for replica in current if replica not in serving]
    waits = (
        _waits(observed, left, desired, serving=len(serving))
        or _plugins_down(serving, desired, wanted)
        or _rolling_out(observed, wanted)
    )
    if not whole:
        down = _plugins_down(serving, desired, wanted)
        return down or waits or reconciling(Reason.LOADING, _loaded(desired, 0, wanted))
    underway = (waits.reason, waits.message) if waits is not None else None
    return ready(Reason.CHECKPOINT_LOADED, _loaded(desired, len(serving), wanted), underway=underway)


def _loaded(desired: Desired, serving: int, wanted: int) -> str:
    return f"{desired.checkpoint.reference} is loaded by {serving} of {count(wanted)}"


def scaled_to_zero(observed: Observed) -> Verdict:
    """What is said where no pod is wanted."""
    remaining = len(observed.pods) + observed.leaving
    if remaining:
        return reconciling(Reason.ROLLING_OUT, f"spec.replicas is 0; {count(remaining)} still to end")
    return ready(Reason.SCALED_TO_ZERO, "spec.replicas is 0: nothing is served")


def _options_refused(serving: list[Replica]) -> Verdict | None:
    for replica in serving:
        for refusal in replica.state.option_errors if replica.state is not None else ():
            return stalled(
                Reason.OPTION_REFUSED,
                f"spec.options[{refusal.name}]: {refusal.message}; the pods serve with the other options",
            )
    return None


def _needs_a_person(observed: Observed, current: list[Replica], desired: Desired) -> Verdict | None:
    """What waiting does not mend; pods of an earlier rollout may serve all the same."""
    verdict = (
        _not_loaded(current, desired)
        or _pods_fail(observed, current)
        or _nobody_gets_in(observed, current)
        or _replica_failure(observed)
        or _not_on_gpu(observed, current)
    )
    if verdict is None:
        return None
    earlier = [pod for pod in observed.pods if pods.is_ready(pod) and pod not in [r.pod for r in current]]
    if not earlier:
        return verdict
    return stalled(verdict.reason, f"{verdict.message}; {count(len(earlier))} of before still serve")


def _not_loaded(current: list[Replica], desired: Desired) -> Verdict | None:
    for replica in current:
        state = replica.state
        if state is None:
            continue
        if state.health == "LoadFailed":
            words = state.error or state.desired.error or "the runtime gave no reason"
            return stalled(Reason.LOAD_FAILED, f"pod {replica.name}: {words}")
        if replica.told(desired) and state.desired.error is not None:
            words = f"spec.checkpoint: pod {replica.name}: {state.desired.error}"
            kept = "; it keeps serving what it had" if state.checkpoint is not None else ""
            return stalled(Reason.LOAD_FAILED, f"{words}{kept}")
    return None


def _pods_fail(observed: Observed, current: list[Replica]) -> Verdict | None:
    for replica in current:
        if replica.trouble is not None and replica.trouble.permanent:
            return stalled(replica.trouble.reason, blamed(observed, replica.trouble))
    return None


def _nobody_gets_in(observed: Observed, current: list[Replica]) -> Verdict | None:
    for replica in current:
        if replica.state is not None and not replica.lets_in:
            words = replica.state.credentials_error or "the runtime found no user name and password in it"
            return stalled(Reason.CREDENTIALS_MISSING, f"{_secret(observed)}: {words}")
    return None


def _replica_failure(observed: Observed) -> Verdict | None:
    failure = _deployment_condition(observed, "ReplicaFailure")
    if failure is None:
        return None
    reason, words = failure.get("reason") or "ReplicaFailure", str(failure.get("message") or "")
    return stalled(reason, blamed(observed, pods.Trouble(reason, words, True)))


def _not_on_gpu(observed: Observed, current: list[Replica]) -> Verdict | None:
    backend = observed.instance.spec.gpu.backend
    for replica in current:
        if not replica.on_device:
            return stalled(
                Reason.GPU_NOT_USED,
                f"spec.gpu.backend is {backend} and pod {replica.name} computes on the CPU; use an image "
                "with CUDA on a node with a driver, or set spec.gpu.backend to None",
            )
    return None


def blamed(observed: Observed, trouble: pods.Trouble) -> str:
    """What the cluster says of the children, behind the fields of the spec that it is about."""
    spec = observed.instance.spec
    plugin = names.plugin_of_container(trouble.container or "")
    at = re.search(r"\binitContainers\[(\d+)\]", trouble.message)
    if plugin is None and at is not None and int(at[1]) < len(spec.plugins):
        # The containers of plugins are in the order of the spec.
        plugin = spec.plugins[int(at[1])].name
    if plugin is not None:
        field = blame.named(blame.PLUGIN, trouble.reason, trouble.message)
        return f"spec.plugins[{plugin}]: SDPlugin {plugin}: {field}"
    given = {
        "spec.image": spec.image,
        "spec.nodeSelector": spec.node_selector,
        "spec.affinity": spec.affinity,
        "spec.tolerations": spec.tolerations,
        "spec.gpu": spec.gpu.backend != "None",
        "spec.outputs": spec.outputs,
        "spec.access.authSecretRef": spec.access.auth_secret_ref,
        "spec.env": spec.env,
    }
    unset = frozenset(field for field, value in given.items() if not value)
    return blame.named(blame.INSTANCE, trouble.reason, trouble.message, unset=unset)


def _secret(observed: Observed) -> str:
    reference = observed.instance.spec.access.auth_secret_ref
    return "spec.access.authSecretRef" + (f": Secret {reference.name}" if reference is not None else "")


def _waits(observed: Observed, left: list[Replica], desired: Desired, *, serving: int) -> Verdict | None:
    """What the replicas that do not serve yet wait for; `serving` are those that do."""
    wanted = observed.instance.spec.replicas
    for replica in left:
        if replica.trouble is not None:
            return reconciling(replica.trouble.reason, blamed(observed, replica.trouble))
    # Not grave where others serve, but told.
    told = _not_loaded(left, desired) or _nobody_gets_in(observed, left) or _not_on_gpu(observed, left)
    if told is not None:
        return reconciling(told.reason, told.message)
    for replica in left:
        if replica.missing and replica.holds(desired):
            more = f" and {len(replica.missing) - 1} more" if len(replica.missing) > 1 else ""
            return reconciling(
                Reason.FILES_MISSING,
                f"spec.models: pod {replica.name} does not find {replica.missing[0]} with its digest{more}",
            )
    for replica in left:
        held = replica.state.checkpoint if replica.state is not None else None
        sha256 = desired.checkpoint.sha256
        if held is not None and held.sha256 != sha256 and replica.told(desired):
            return reconciling(
                Reason.WRONG_CHECKPOINT,
                f"pod {replica.name} holds {held.path} with sha256 {held.sha256[:12]}…, desired is "
                f"{sha256[:12]}…",
            )
    for replica in left:
        if replica.silence is not None and pods.is_ready(replica.pod):
            return reconciling(Reason.RUNTIME_UNREACHABLE, f"pod {replica.name}: {replica.silence}")
    if serving < wanted:
        # One sentence from the first pod's start to the last one's readiness: each other one is a write.
        return reconciling(Reason.LOADING, _loaded(desired, serving, wanted))
    return None


def _plugins_down(serving: list[Replica], desired: Desired, wanted: int) -> Verdict | None:
    """What is said of plugins that do not answer in pods that serve all the same."""
    down = [(replica, plugin) for replica in serving for plugin in replica.down]
    # A pod that has only just become ready asks for them in this moment: each other sentence is a write.
    told = [(replica, plugin) for replica, plugin in down if plugin.reason != answers.STARTING]
    if down and not told:
        whole = sum(1 for replica in serving if not replica.down)
        return reconciling(Reason.LOADING, _loaded(desired, whole, wanted))
    for replica, plugin in told:
        words = ": ".join(filter(None, (plugin.reason, plugin.message)))
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        say = stalled if plugin.reason == answers.CONTRACT_BROKEN else reconciling
        return say(
            Reason.PLUGIN_NOT_READY,
            f"spec.plugins[{plugin.name}]: pod {replica.name}: {words}{more}; requests that need none of its "
            "modules are served",
        )
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
    return reconciling(Reason.ROLLING_OUT, f"{updated} of {count(wanted)} are up to date, {existing} exist")


def _deployment_condition(observed: Observed, kind: str) -> Mapping[str, Any] | None:
    status = (observed.deployment or {}).get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def count(number: int) -> str:
    """So many pods, in words."""
    return "1 pod" if number == 1 else f"{number} pods"
