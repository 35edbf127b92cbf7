"""Parity with the k-diffusion package, the authority on these samplers: the same network, sigmas and noise.

It runs in an environment of its own (`hack/venv authority`), in one process that is given all cases as
JSON and answers with arrays.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sd_runtime.models.discrete import scaled_linear
from sd_runtime.sampling import samplers, schedules
from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.settings import NoiseSettings, SamplingSettings
from sd_runtime.sampling.walking import Course

ROOT = Path(__file__).parents[4]
SHAPE = (1, 4, 8, 8)
SEED = 2**40 + 7
MOST_DRAWS = 200
#: k-diffusion reckons its coefficients in single precision; most samplers agree to 1e-5.
LIMIT = 3e-4
DISCRETE = scaled_linear(start=0.00085, end=0.012)

#: A stand-in network, nonlinear in x and sigma, of a noise prediction's size. Both sides run this text.
NETWORK = """
def denoise(x, sigma):
    scaled = x / (sigma**2 + 1) ** 0.5
    noise = torch.tanh(scaled * 1.5) + 0.2 * torch.sin(3 * scaled.roll(1, -1)) + 0.05 * sigma**0.5
    return x - sigma * noise
"""
defined: dict[str, Any] = {"torch": torch}
exec(NETWORK, defined)

AUTHORITY = (
    """
import importlib, json, pathlib, site, sys, types, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
# The package's own __init__ wants CLIP and more; its samplers do not.
package = types.ModuleType("k_diffusion")
package.__path__ = [str(pathlib.Path(site.getsitepackages()[0]) / "k_diffusion")]
sys.modules["k_diffusion"] = package
k = importlib.import_module("k_diffusion.sampling")
"""
    + NETWORK
    + """
def model(x, sigma):
    return denoise(x, float(sigma[0]))

folder = pathlib.Path(sys.argv[1])
cases = json.loads((folder / "cases.json").read_text())
given = np.load(folder / "given.npz")
x, noise = torch.from_numpy(given["x"]), torch.from_numpy(given["noise"])

def run(case):
    order = iter(noise)
    k.torch = types.SimpleNamespace(**vars(torch))
    k.torch.randn_like = lambda like: next(order)
    function = getattr(k, case["function"])
    sigmas = torch.tensor(case["sigmas"], dtype=torch.float32)
    options = dict(case["options"], disable=True)
    if case["draws"]:
        options["noise_sampler"] = lambda sigma, after: next(order)
    start = x * sigmas[0]
    if case["function"] == "sample_dpm_fast":
        return function(model, start, float(case["sigma_min"]), float(sigmas[0]), len(sigmas) - 1, **options)
    if case["function"] == "sample_dpm_adaptive":
        return function(model, start, float(case["sigma_min"]), float(sigmas[0]), **options)
    return function(model, start, sigmas, **options)

ends = {case["id"]: run(case).numpy() for case in cases["walks"]}
levels = torch.tensor(cases["brownian"], dtype=torch.float32)
tree = k.BrownianTreeNoiseSampler(x, levels[-1], levels[0], seed=[cases["seed"]])
ends["brownian"] = torch.cat([tree(a, b) for a, b in zip(levels, levels[1:])]).numpy()
for name, values in cases["schedules"].items():
    ends[name] = getattr(k, "get_sigmas_" + name)(*values).numpy()
np.savez(folder / "ends.npz", **ends)
"""
)


def sigmas_of(schedule: str, steps: int) -> list[float]:
    return schedules.build(schedule, steps, DISCRETE)


KARRAS = sigmas_of("karras", 20)
WAYS = {
    "karras": KARRAS,
    "few": sigmas_of("sgm_uniform", 5),
    "part": sigmas_of("uniform", 20)[-9:],
    # Its last steps are many times as long in log(sigma) as those before, which unsettles multistep solvers.
    "uneven": sigmas_of("beta", 20),
}
CHURN = {"s_churn": 9.0, "s_tmin": 0.1, "s_tmax": 5.0, "s_noise": 1.01}
ETA = {"eta": 0.6, "s_noise": 0.97}


def case(
    name: str,
    function: str,
    *,
    draws: bool = False,
    settings: dict[str, float] | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """The sampler over several kinds of way."""
    settings = settings or {}
    for way, sigmas in WAYS.items():
        yield {
            "id": " ".join((name, way, *(f"{key}={value}" for key, value in settings.items()))),
            "name": name,
            "function": f"sample_{function}",
            "sigmas": sigmas,
            "sigma_min": DISCRETE.sigma_min,
            "draws": draws,
            "settings": settings,
            "options": {**settings, **options},
        }


WALKS = [
    *case("Euler", "euler"),
    *case("Euler", "euler", settings=CHURN),
    *case("Euler a", "euler_ancestral", draws=True),
    *case("Euler a", "euler_ancestral", draws=True, settings=ETA),
    *case("Heun", "heun"),
    *case("Heun", "heun", settings=CHURN),
    *case("DPM2", "dpm_2"),
    *case("DPM2", "dpm_2", settings=CHURN),
    *case("DPM2 a", "dpm_2_ancestral", draws=True),
    *case("DPM2 a", "dpm_2_ancestral", draws=True, settings=ETA),
    *case("LMS", "lms"),
    *case("DPM fast", "dpm_fast", draws=True, settings={"eta": 0.0}),
    *case("DPM fast", "dpm_fast", draws=True, settings={"eta": 1.0}),
    *case("DPM fast", "dpm_fast", draws=True, settings=ETA),
    *case("DPM adaptive", "dpm_adaptive", draws=True, settings={"eta": 0.0}),
    *case("DPM adaptive", "dpm_adaptive", draws=True, settings={"eta": 1.0}),
    *case("DPM++ 2S a", "dpmpp_2s_ancestral", draws=True),
    *case("DPM++ 2S a", "dpmpp_2s_ancestral", draws=True, settings=ETA),
    *case("DPM++ SDE", "dpmpp_sde", draws=True),
    *case("DPM++ SDE", "dpmpp_sde", draws=True, settings=ETA),
    *case("DPM++ 2M", "dpmpp_2m"),
    *case("DPM++ 2M SDE", "dpmpp_2m_sde", draws=True),
    *case("DPM++ 2M SDE", "dpmpp_2m_sde", draws=True, settings=ETA),
    *case("DPM++ 2M SDE", "dpmpp_2m_sde", draws=True, settings={"eta": 0.0}),
    *case("DPM++ 2M SDE Heun", "dpmpp_2m_sde", draws=True, solver_type="heun"),
    *case("DPM++ 3M SDE", "dpmpp_3m_sde", draws=True),
    *case("DPM++ 3M SDE", "dpmpp_3m_sde", draws=True, settings=ETA),
]

SCHEDULES = {
    "karras": (17, DISCRETE.sigma_min, DISCRETE.sigma_max, 5.0),
    "exponential": (17, DISCRETE.sigma_min, DISCRETE.sigma_max),
    "polyexponential": (17, DISCRETE.sigma_min, DISCRETE.sigma_max, 0.7),
}


@pytest.fixture(scope="module")
def given() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        "x": torch.randn(SHAPE, generator=generator),
        "noise": torch.randn((MOST_DRAWS, *SHAPE), generator=generator),
    }


@pytest.fixture(scope="module")
def ends(given: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What k-diffusion makes of every case, in one process."""
    folder = tmp_path_factory.mktemp("authority")
    python = subprocess.run(
        [ROOT / "hack/venv", "authority"], check=True, text=True, stdout=subprocess.PIPE
    ).stdout.strip()
    cases = {"walks": WALKS, "brownian": KARRAS[:-1], "seed": SEED, "schedules": SCHEDULES}
    (folder / "cases.json").write_text(json.dumps(cases))
    np.savez(folder / "given.npz", **{name: value.numpy() for name, value in given.items()})
    subprocess.run([python, "-c", AUTHORITY, folder], check=True)
    with np.load(folder / "ends.npz") as loaded:
        return {name: torch.from_numpy(loaded[name]) for name in loaded.files}


@pytest.mark.parametrize("walk", WALKS, ids=[each["id"] for each in WALKS])
def test_a_sampler_ends_where_that_of_k_diffusion_ends(
    walk: dict[str, Any], given: dict[str, torch.Tensor], ends: dict[str, torch.Tensor]
) -> None:
    order = iter(given["noise"])
    course = Course(
        sigmas=walk["sigmas"],
        sigma_min=walk["sigma_min"],
        draw=lambda sigma, after: next(order),
        step_done=lambda done: None,
        settings=SamplingSettings(**walk["settings"]),
        eta=walk["settings"].get("eta", 1.0),
    )
    run = samplers.WALKS[walk["name"]](given["x"] * walk["sigmas"][0], course)
    x, sigma = next(run)
    while True:
        try:
            x, sigma = run.send(Estimate(defined["denoise"](x, sigma)))
        except StopIteration as finished:
            ours: torch.Tensor = finished.value
            break
    theirs = ends[walk["id"]]
    assert theirs.std() > 0.1
    assert float((ours - theirs).abs().max()) <= LIMIT


def test_every_sampler_of_k_diffusion_is_compared() -> None:
    others = {"Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM"}
    assert {walk["name"] for walk in WALKS} == set(samplers.WALKS) - others


def test_brownian_noise_is_that_of_k_diffusion(ends: dict[str, torch.Tensor]) -> None:
    levels = KARRAS[:-1]
    noise = ImageNoise(NoiseSettings(seed=SEED), (4, 8, 8), torch.device("cpu"), 8)
    draw = noise.brownian(levels[-1], levels[0])
    ours = torch.cat([draw(sigma, after) for sigma, after in itertools.pairwise(levels)])
    assert ours.shape == (19, 4, 8, 8)
    assert float((ours - ends["brownian"]).abs().max()) <= 1e-4


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_sigmas_are_those_of_k_diffusion(name: str, ends: dict[str, torch.Tensor]) -> None:
    steps, *_, last = SCHEDULES[name]
    settings = SamplingSettings(rho=last if name != "exponential" else 0.0)
    ours = schedules.build(name, int(steps), DISCRETE, settings)
    assert ours == pytest.approx(ends[name].tolist(), rel=1e-5)
