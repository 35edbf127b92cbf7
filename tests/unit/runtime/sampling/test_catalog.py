import subprocess
import sys

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling import catalog, samplers, schedules


def test_every_sampler_listed_exists_and_none_is_hidden() -> None:
    assert {info.name for info in catalog.SAMPLERS} == set(samplers.WALKS)


def test_every_schedule_listed_exists_and_none_is_hidden() -> None:
    assert {info.name for info in catalog.SCHEDULERS} == {catalog.AUTOMATIC, *schedules.SCHEDULES}


def test_all_of_a1111s_samplers_and_schedules_are_there() -> None:
    assert (len(catalog.SAMPLERS), len(catalog.SCHEDULERS)) == (20, 12)


def test_what_automatic_means_exists() -> None:
    spacings = {catalog.resolve_scheduler(info, catalog.AUTOMATIC) for info in catalog.SAMPLERS}
    assert spacings <= {*schedules.SCHEDULES, *schedules.OWN}


def test_no_two_samplers_share_a_name() -> None:
    names = [name.lower() for info in catalog.SAMPLERS for name in {info.name.lower(), *info.aliases}]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["DPM++ 2M", "dpm++ 2m", "k_dpmpp_2m"])
def test_a_sampler_is_found_by_name_in_any_case_and_by_alias(name: str) -> None:
    assert catalog.find_sampler(name).name == "DPM++ 2M"


@pytest.mark.parametrize("name", ["sgm_uniform", "SGM Uniform", "SGMUniform"])
def test_a_schedule_is_found_by_name_label_and_alias(name: str) -> None:
    assert catalog.find_scheduler(name).name == "sgm_uniform"


def test_an_unserved_sampler_is_refused_with_what_is_served() -> None:
    with pytest.raises(UnsupportedError, match=r"sampler: 'SA Solver'.*Euler a.*Heun"):
        catalog.find_sampler("SA Solver")


@pytest.mark.parametrize("name", ["turbo", "lcm", ""])
def test_an_unserved_schedule_is_refused_with_what_is_served(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"scheduler: '{name}'.*karras"):
        catalog.find_scheduler(name)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "used"),
    [
        ("DPM++ 2M", "automatic", "karras"),
        ("Euler", "automatic", "uniform"),
        ("Heun", "Automatic", "uniform"),
        ("DDIM", "automatic", "ddim"),
        ("UniPC", "automatic", "sgm_uniform"),
        ("LCM", "automatic", "lcm"),
        ("LCM", "simple", "simple"),
        ("DPM++ 3M SDE", "automatic", "exponential"),
        ("DPM++ 2M", "exponential", "exponential"),
    ],
)
def test_automatic_is_the_default_of_the_sampler(sampler: str, scheduler: str, used: str) -> None:
    assert catalog.resolve_scheduler(catalog.find_sampler(sampler), scheduler) == used


def test_what_the_http_side_imports_does_not_import_torch() -> None:
    code = (
        "import sys, sd_runtime.engine.loop, sd_runtime.tasks.txt2img, sd_runtime.sampling.judging;"
        "sys.exit('torch' in sys.modules)"
    )
    search_path = [path for path in sys.path if path]
    environment = {"PYTHONPATH": ":".join(search_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
