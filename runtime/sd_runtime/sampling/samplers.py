"""Which sampler is which function, by A1111's names, and how many steps each will report."""

from collections.abc import Sequence

from sd_runtime.sampling import dpm_solver, dpmpp, euler, multistep, second_order, unipc
from sd_runtime.sampling.walking import Sampler

WALKS: dict[str, Sampler] = {
    "DPM++ 2M": dpmpp.dpmpp_2m,
    "DPM++ SDE": dpmpp.dpmpp_sde,
    "DPM++ 2M SDE": dpmpp.dpmpp_2m_sde,
    "DPM++ 2M SDE Heun": dpmpp.dpmpp_2m_sde_heun,
    "DPM++ 2S a": dpmpp.dpmpp_2s_ancestral,
    "DPM++ 3M SDE": dpmpp.dpmpp_3m_sde,
    "Euler a": euler.euler_ancestral,
    "Euler": euler.euler,
    "LMS": multistep.lms,
    "Heun": second_order.heun,
    "DPM2": second_order.dpm2,
    "DPM2 a": second_order.dpm2_ancestral,
    "DPM fast": dpm_solver.dpm_fast,
    "DPM adaptive": dpm_solver.dpm_adaptive,
    "Restart": second_order.restart,
    "DDIM": euler.euler_ancestral,
    "DDIM CFG++": euler.ddim_cfgpp,
    "PLMS": multistep.plms,
    "UniPC": unipc.unipc,
    "LCM": euler.lcm,
}


def step_count(name: str, sigmas: Sequence[float]) -> int:
    """The number that the sampler will report last."""
    if name == "Restart":
        return len(second_order.restart_path(sigmas))
    return len(sigmas) - 1
