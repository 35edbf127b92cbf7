"""Which sampler and schedule a request means: legacy fields, aliases, and "DPM++ 2M Karras" taken apart.

Which ones exist is `sampling.catalog`; unlike A1111 an unknown name is refused, not replaced by the first
sampler.
"""

from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling import AUTOMATIC, SAMPLERS, SCHEDULERS, SamplerInfo, SchedulerInfo
from sd_runtime.sampling import find_sampler as _find_sampler
from sd_runtime.sampling import find_scheduler as _find_scheduler


@dataclass(frozen=True, slots=True)
class Choice:
    """A sampler and the schedule asked for (`automatic` is one)."""

    sampler: SamplerInfo
    scheduler: SchedulerInfo

    @property
    def schedule_label(self) -> str:
        """How A1111 writes it: the schedule that was used; "Automatic" where the sampler has none of its
        own."""
        if self.scheduler.name == AUTOMATIC and self.sampler.default_scheduler:
            return _find_scheduler(self.sampler.default_scheduler).label
        return self.scheduler.label


def choose(*, sampler_name: str | None, sampler_index: str, scheduler: str | None) -> Choice:
    """The sampler and schedule of a request's three fields."""
    field, name = ("sampler_name", sampler_name) if sampler_name else ("sampler_index", sampler_index)
    # Without any name A1111 takes the first of its list.
    name = name or SAMPLERS[0].name
    asked = _scheduler(scheduler) if scheduler else _find_scheduler(AUTOMATIC)
    sampler, suffix = _split(field, name)
    if suffix is None:
        return Choice(sampler, asked)
    if asked.name not in (AUTOMATIC, suffix.name):
        raise UnsupportedError("scheduler", scheduler, f"{suffix.name}, which {field} {name!r} names already")
    return Choice(sampler, suffix)


def _split(field: str, name: str) -> tuple[SamplerInfo, SchedulerInfo | None]:
    """The sampler, and the schedule that stands at the end of its name, if one does."""
    for word, scheduler in _suffixes():
        if name.lower().endswith(f" {word.lower()}"):
            return _sampler(field, name[: -len(word) - 1], name), scheduler
    return _sampler(field, name, name), None


def _suffixes() -> list[tuple[str, SchedulerInfo]]:
    """Every word for a schedule, the longest first: "SGM Uniform" also ends in "Uniform"."""
    words = [(word, each) for each in SCHEDULERS for word in (each.label, each.name, *each.aliases)]
    return sorted(words, key=lambda pair: -len(pair[0]))


def _sampler(field: str, name: str, whole: str) -> SamplerInfo:
    try:
        return _find_sampler(name)
    except UnsupportedError:
        raise UnsupportedError(field, whole, (sampler.name for sampler in SAMPLERS)) from None


def _scheduler(name: str) -> SchedulerInfo:
    try:
        return _find_scheduler(name)
    except UnsupportedError:
        raise UnsupportedError("scheduler", name, (scheduler.name for scheduler in SCHEDULERS)) from None
