"""What an instance's pods say of their plugins, for one pod and for all together. Pure.

A plugin is ready in a pod when the runtime there had an answer of it that keeps the contract.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sd_operator import names, pods
from sd_operator.api.instance_plugins import (
    MAX_MODULES,
    MAX_REASON,
    MAX_WORDS,
    ModuleStatus,
    PluginReference,
    PluginStatus,
)
from sd_operator.api.plugin import SDPlugin
from sd_operator.api.reasons import Reason
from sd_operator.instance.observe import Observed
from sd_operator.instance.plugins import Plugin, written_on
from sd_operator.runtime_client import PluginState, RuntimeState

#: It has not answered yet, and there was little time for it: the runtime's own word.
STARTING = "Starting"
#: What it says is not what the contract asks for: the runtime's own word. It takes another image to mend.
CONTRACT_BROKEN = "ContractBroken"
#: No pod is wanted.
NO_PODS = "NoPods"
_NOT_REPORTED = PluginState(
    name="",
    reason="NotReported",
    message="the runtime says nothing of it: spec.image is of another version than the operator",
)


def of_pod(
    name: str, pod: pods.Pod, state: RuntimeState | None, trouble: pods.Trouble | None
) -> PluginState | None:
    """What one pod tells of a plugin, by its runtime or by the plugin's own container. None: it does not
    count, as it does not serve yet; else each pod that is added would make the plugin not ready for a while.
    """
    if trouble is not None and trouble.container == names.plugin_container(name):
        return PluginState(name=name, reason=trouble.reason, message=trouble.message)
    if state is None or not pods.is_ready(pod):
        return None
    found = next((each for each in state.plugins if each.name == name), _NOT_REPORTED)
    return found.model_copy(update={"name": name})


def statuses(
    observed: Observed, told: Iterable[Mapping[str, PluginState]]
) -> tuple[PluginStatus, ...] | None:
    """status.plugins, from what each pod of the present template tells; None: the spec has none."""
    answers = list(told)
    return tuple(_status(observed, each, answers) for each in observed.instance.spec.plugins) or None


def _status(
    observed: Observed, reference: PluginReference, told: list[Mapping[str, PluginState]]
) -> PluginStatus:
    name = reference.name
    answers = [each[name] for each in told if name in each]
    bad = _bad(observed, name, answers)
    spoken = bad or next((each for each in answers if each.message), None)
    version = next((each.version for each in answers if each.version), None)
    return PluginStatus(
        name=name,
        version=version[:100] if version else None,
        ready=bad is None,
        reason=bad.reason[:MAX_WORDS] or None if bad is not None else None,
        message=spoken.message[:MAX_WORDS] or None if spoken is not None else None,
        observed_generation=_generation(observed, name),
        modules=_modules(answers),
    )


def _bad(observed: Observed, name: str, answers: list[PluginState]) -> PluginState | None:
    """Why the plugin is not ready: the word of the first pod that has it not."""
    if not isinstance(observed.plugins.get(name), SDPlugin):
        words = "pods that run it already go on"
        return PluginState(name=name, reason=Reason.PLUGIN_NOT_FOUND, message=words)
    if observed.instance.spec.replicas == 0:
        return PluginState(name=name, reason=NO_PODS)
    if not answers:
        return PluginState(name=name, reason=STARTING)
    return next((each for each in answers if not each.ready), None)


def _generation(observed: Observed, name: str) -> int:
    """The generation of the SDPlugin that the Deployment has; an earlier one while it is kept as it was."""
    plugin = observed.plugins.get(name)
    if isinstance(plugin, SDPlugin) and Plugin(name=name, spec=plugin.spec) in written_on(
        observed.deployment
    ):
        return plugin.metadata.generation
    before = observed.instance.status.plugins or ()
    return next((each.observed_generation for each in before if each.name == name), 0)


def _modules(answers: list[PluginState]) -> tuple[ModuleStatus, ...] | None:
    found: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for module in answer.modules:
            known = found.setdefault(module.name[:63], {"available": True, "reason": None})
            if not module.available and known["available"]:
                known.update(available=False, reason=module.reason[:MAX_REASON] or None)
    listed = tuple(ModuleStatus(name=name, **told) for name, told in found.items())
    return listed[:MAX_MODULES] or None
