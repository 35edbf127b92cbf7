"""Which samplers and schedules are served, under A1111's names: plain data, importable without torch.

The numbers are in `schedules` and `samplers`; a test holds that every name here has its implementation there.
"""

from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError

AUTOMATIC = "automatic"
#: How noise levels are spaced where neither the request nor the sampler says so.
MODELS_OWN = "uniform"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerInfo:
    """One sampler: its name, the other names clients use, and which schedule `automatic` means for it (None:
    the model's own, which is `uniform`)."""

    name: str
    aliases: tuple[str, ...]
    default_scheduler: str | None = None
    evaluations_per_step: int = 1
    ancestral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerInfo:
    """One noise schedule; `default_rho` is -1 where the schedule has none (A1111's convention)."""

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    default_rho: float = -1.0
    need_inner_model: bool = False


SAMPLERS: tuple[SamplerInfo, ...] = (
    SamplerInfo(name="DPM++ 2M", aliases=("k_dpmpp_2m",), default_scheduler="karras"),
    SamplerInfo(
        name="Euler a",
        aliases=("k_euler_a", "k_euler_ancestral"),
        ancestral=True,
    ),
    SamplerInfo(name="Euler", aliases=("k_euler",)),
    SamplerInfo(name="Heun", aliases=("k_heun",), evaluations_per_step=2),
)

SCHEDULERS: tuple[SchedulerInfo, ...] = (
    SchedulerInfo(name=AUTOMATIC, label="Automatic"),
    SchedulerInfo(name="uniform", label="Uniform", need_inner_model=True),
    SchedulerInfo(name="karras", label="Karras", default_rho=7.0),
    SchedulerInfo(name="exponential", label="Exponential"),
    SchedulerInfo(name="polyexponential", label="Polyexponential", default_rho=1.0),
    SchedulerInfo(name="sgm_uniform", label="SGM Uniform", aliases=("SGMUniform",), need_inner_model=True),
    SchedulerInfo(name="simple", label="Simple", need_inner_model=True),
    SchedulerInfo(name="normal", label="Normal", need_inner_model=True),
    SchedulerInfo(name="ddim", label="DDIM", need_inner_model=True),
    SchedulerInfo(name="beta", label="Beta", need_inner_model=True),
)


def find_sampler(name: str) -> SamplerInfo:
    """The sampler of this name or alias, whatever its case."""
    wanted = name.lower()
    for info in SAMPLERS:
        if wanted == info.name.lower() or wanted in info.aliases:
            return info
    raise UnsupportedError("sampler", name, (info.name for info in SAMPLERS))


def find_scheduler(name: str) -> SchedulerInfo:
    """The schedule of this name, label or alias, whatever its case."""
    wanted = name.lower()
    for info in SCHEDULERS:
        if wanted in (info.name, info.label.lower(), *(alias.lower() for alias in info.aliases)):
            return info
    raise UnsupportedError("scheduler", name, (info.name for info in SCHEDULERS))


def resolve_scheduler(sampler: SamplerInfo, scheduler: str) -> str:
    """The schedule that is really used: `automatic` is the sampler's own default, or else the model's."""
    name = find_scheduler(scheduler).name
    return (sampler.default_scheduler or MODELS_OWN) if name == AUTOMATIC else name
