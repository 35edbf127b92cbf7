"""Is a plugin ready, by what the SDInstances that use it say, and what its status tells. Pure.

Accepted is ready: nobody need use it. It is not ready while an SDInstance with pods that uses it has it not
answering, or not yet in the form of this generation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd_operator import uses
from sd_operator.api.conditions import Verdict, conditions, ready, reconciling
from sd_operator.api.plugin import SDPlugin
from sd_operator.api.plugin_status import MAX_USED_BY, SDPluginStatus
from sd_operator.api.reasons import Reason
from sd_operator.cluster import Object
from sd_operator.names import Key

#: What the status of an SDInstance says of a plugin where no pod is wanted.
NO_PODS = "NoPods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A plugin in one SDInstance, as the instance's status tells it."""

    #: `<namespace>/<name>`
    instance: str
    #: Its entry in status.plugins; empty until there is one.
    told: Mapping[str, Any]

    @property
    def counts(self) -> bool:
        """Whether it has pods, or will have."""
        return self.told.get("reason") != NO_PODS

    def answers(self, generation: int) -> bool:
        """Whether the plugin answers in it, in the form of this generation."""
        return self.told.get("ready") is True and self.told.get("observedGeneration") == generation


def uses_of(plugin: Key, instances: Iterable[Object], *, catalog: str) -> list[Use]:
    """The SDInstances that name the plugin, in alphabetical order."""
    found = [
        Use(
            instance=f"{instance['metadata']['namespace']}/{instance['metadata']['name']}",
            told=_told(plugin.name, instance),
        )
        for instance in instances
        if plugin in uses.plugin_keys(instance, catalog=catalog)
        and not instance["metadata"].get("deletionTimestamp")
    ]
    return sorted(found, key=lambda use: use.instance)


def readiness(plugin: SDPlugin, found: list[Use]) -> Verdict:
    """The one thing that is said."""
    generation = plugin.metadata.generation
    counted = [use for use in found if use.counts]
    if not counted:
        return ready(Reason.NOT_USED, "no SDInstance with pods names it in spec.plugins")
    down = next((use for use in counted if not use.answers(generation)), None)
    if down is None:
        return ready(Reason.PLUGIN_ANSWERS, f"it answers in {_count(len(counted))}")
    if down.told.get("ready") is True or not down.told:
        # One sentence from the edit to the end of the rollout: each other one is a write.
        return reconciling(
            Reason.ROLLING_OUT, f"pods of SDInstance {down.instance} are not made for this generation yet"
        )
    words = ": ".join(str(each) for each in (down.told.get("reason"), down.told.get("message")) if each)
    return reconciling(Reason.PLUGIN_NOT_READY, f"SDInstance {down.instance}: {words}")


def build_status(plugin: SDPlugin, found: list[Use], verdict: Verdict, *, time: str) -> dict[str, Any]:
    """The status as it is written; equal to the stored one when there is nothing to say."""
    generation = plugin.metadata.generation
    counted = [use for use in found if use.counts]
    answering = [use for use in counted if use.answers(generation)]
    versions = [use.told.get("version") for use in (answering or counted)]
    return SDPluginStatus(
        observed_generation=generation,
        conditions=tuple(
            conditions(verdict, generation=generation, previous=plugin.status.conditions, time=time)
        ),
        instances=f"{len(answering)}/{len(counted)}",
        version=next((str(version) for version in versions if version), None),
        used_by=tuple(use.instance for use in found[:MAX_USED_BY]) or None,
    ).as_manifest()


def _told(name: str, instance: Object) -> Mapping[str, Any]:
    """What an SDInstance's status says of the plugin; it may be of any form."""
    status = instance.get("status")
    listed = status.get("plugins") if isinstance(status, Mapping) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and each.get("name") == name:
            return each
    return {}


def _count(number: int) -> str:
    return "1 SDInstance" if number == 1 else f"{number} SDInstances"
