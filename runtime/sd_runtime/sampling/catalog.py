"""Which samplers and schedules are served, under A1111's names: plain data, importable without torch.

The numbers are in `schedules` and in the modules that `samplers` lists; a test holds that every name here has
its implementation there.
"""

from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import SamplingSettings

AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerInfo:
    """One sampler: its name, the other names clients use, and what a request's numbers mean to it."""

    name: str
    aliases: tuple[str, ...]
    #: The schedule that `automatic` means, as A1111 lists it; None: the sampler's own spacing.
    default_scheduler: str | None = None
    #: That spacing: a schedule's name, or one of `schedules.OWN`, which requests cannot ask for.
    own_spacing: str = "uniform"
    #: Two evaluations a step; A1111 counts the steps of prompt schedules so.
    second_order: bool = False
    #: The last noise level but 0 is left out, and one more asked for in its place.
    discards_penultimate: bool = False
    #: A1111 writes ENSD into the infotext of its pictures.
    uses_seed_delta: bool = False
    uses_eta: bool = False
    #: Its eta is A1111's option eta_ddim, which is 0, and not eta_ancestral, which is 1.
    eta_of_ddim: bool = False
    #: s_churn, s_tmin and s_tmax count.
    uses_churn: bool = False
    uses_s_noise: bool = False
    #: Draws from the picture's generator again, whatever its numbers are.
    always_draws: bool = False
    #: Its noise is that of one Brownian motion per picture, whatever the steps are.
    brownian: bool = False
    #: Begins with noise of sqrt(1 + sigma^2), as samplers that count in timesteps do.
    unit_variance: bool = False
    #: How many evaluations it takes is known afterwards only; the last digits of an estimate may change it.
    adaptive: bool = False
    #: Needs `Estimate.unguided`: without guidance it is another sampler.
    needs_unguided: bool = False
    #: The scale of guidance is multiplied by it.
    cfg_multiplier: float = 1.0

    @property
    def default_eta(self) -> float:
        """Eta where nobody says otherwise."""
        return 0.0 if self.eta_of_ddim else 1.0

    def draws_again(self, settings: SamplingSettings) -> bool:
        """Whether the picture's generator has more to give than what the picture begins with: then the seed
        delta counts. Brownian noise is not the generator's."""
        if self.brownian:
            return False
        eta = self.default_eta if settings.eta is None else settings.eta
        return self.always_draws or (self.uses_eta and eta > 0) or (self.uses_churn and settings.s_churn > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerInfo:
    """One noise schedule; `default_rho` is -1 where the schedule has none (A1111's convention)."""

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    default_rho: float = -1.0
    need_inner_model: bool = False


#: In A1111's order.
SAMPLERS: tuple[SamplerInfo, ...] = (
    SamplerInfo(name="DPM++ 2M", aliases=("k_dpmpp_2m",), default_scheduler="karras"),
    SamplerInfo(
        name="DPM++ SDE",
        aliases=("k_dpmpp_sde",),
        default_scheduler="karras",
        second_order=True,
        brownian=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM++ 2M SDE",
        aliases=("k_dpmpp_2m_sde",),
        default_scheduler="exponential",
        brownian=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM++ 2M SDE Heun",
        aliases=("k_dpmpp_2m_sde_heun",),
        default_scheduler="exponential",
        brownian=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM++ 2S a",
        aliases=("k_dpmpp_2s_a",),
        default_scheduler="karras",
        second_order=True,
        uses_seed_delta=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM++ 3M SDE",
        aliases=("k_dpmpp_3m_sde",),
        default_scheduler="exponential",
        discards_penultimate=True,
        brownian=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="Euler a",
        aliases=("k_euler_a", "k_euler_ancestral"),
        uses_seed_delta=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(name="Euler", aliases=("k_euler",), uses_churn=True, uses_s_noise=True),
    SamplerInfo(name="LMS", aliases=("k_lms",)),
    SamplerInfo(name="Heun", aliases=("k_heun",), second_order=True, uses_churn=True, uses_s_noise=True),
    SamplerInfo(
        name="DPM2",
        aliases=("k_dpm_2",),
        default_scheduler="karras",
        second_order=True,
        discards_penultimate=True,
        uses_churn=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM2 a",
        aliases=("k_dpm_2_a",),
        default_scheduler="karras",
        second_order=True,
        discards_penultimate=True,
        uses_seed_delta=True,
        uses_eta=True,
        uses_s_noise=True,
    ),
    SamplerInfo(
        name="DPM fast", aliases=("k_dpm_fast",), uses_seed_delta=True, uses_eta=True, uses_s_noise=True
    ),
    SamplerInfo(
        name="DPM adaptive",
        aliases=("k_dpm_ad",),
        uses_seed_delta=True,
        uses_eta=True,
        uses_s_noise=True,
        adaptive=True,
    ),
    SamplerInfo(
        name="Restart",
        aliases=("restart",),
        default_scheduler="karras",
        second_order=True,
        uses_s_noise=True,
        always_draws=True,
    ),
    SamplerInfo(
        name="DDIM",
        aliases=("ddim",),
        own_spacing="ddim",
        uses_eta=True,
        eta_of_ddim=True,
        unit_variance=True,
    ),
    SamplerInfo(
        name="DDIM CFG++",
        aliases=("ddim_cfgpp",),
        own_spacing="ddim",
        uses_eta=True,
        eta_of_ddim=True,
        unit_variance=True,
        needs_unguided=True,
        # So that the usual 0 to 12.5 cover its 0 to 1.
        cfg_multiplier=1 / 12.5,
    ),
    SamplerInfo(name="PLMS", aliases=("plms",), own_spacing="ddim", eta_of_ddim=True, unit_variance=True),
    SamplerInfo(
        name="UniPC", aliases=("unipc",), own_spacing="sgm_uniform", eta_of_ddim=True, unit_variance=True
    ),
    SamplerInfo(name="LCM", aliases=("k_lcm",), own_spacing="lcm", always_draws=True),
)

SCHEDULERS: tuple[SchedulerInfo, ...] = (
    SchedulerInfo(name=AUTOMATIC, label="Automatic"),
    SchedulerInfo(name="uniform", label="Uniform", need_inner_model=True),
    SchedulerInfo(name="karras", label="Karras", default_rho=7.0),
    SchedulerInfo(name="exponential", label="Exponential"),
    SchedulerInfo(name="polyexponential", label="Polyexponential", default_rho=1.0),
    SchedulerInfo(name="sgm_uniform", label="SGM Uniform", aliases=("SGMUniform",), need_inner_model=True),
    SchedulerInfo(name="kl_optimal", label="KL Optimal"),
    SchedulerInfo(name="align_your_steps", label="Align Your Steps"),
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
    """The spacing that is really used: `automatic` is the sampler's default, or else its own."""
    name = find_scheduler(scheduler).name
    return (sampler.default_scheduler or sampler.own_spacing) if name == AUTOMATIC else name
