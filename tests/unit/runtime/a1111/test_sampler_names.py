"""Which sampler and schedule the three fields of a request mean."""

import pytest

from sd_runtime.a1111 import sampler_names
from sd_runtime.errors import UnsupportedError


@pytest.mark.parametrize(
    ("name", "index", "scheduler", "sampler", "schedule", "label"),
    [
        (None, "Euler", None, "Euler", "automatic", "Automatic"),
        ("", "Heun", None, "Heun", "automatic", "Automatic"),
        ("Euler a", "Heun", None, "Euler a", "automatic", "Automatic"),
        ("k_euler_ancestral", "", None, "Euler a", "automatic", "Automatic"),
        ("euler A", "", "KARRAS", "Euler a", "karras", "Karras"),
        ("DPM++ 2M", "", None, "DPM++ 2M", "automatic", "Karras"),
        ("DPM++ 2M", "", "automatic", "DPM++ 2M", "automatic", "Karras"),
        ("DPM++ 2M Karras", "", None, "DPM++ 2M", "karras", "Karras"),
        ("DPM++ 2M Karras", "", "automatic", "DPM++ 2M", "karras", "Karras"),
        ("DPM++ 2M", "", "karras", "DPM++ 2M", "karras", "Karras"),
        ("Euler SGM Uniform", "", None, "Euler", "sgm_uniform", "SGM Uniform"),
        ("Euler", "", "SGM Uniform", "Euler", "sgm_uniform", "SGM Uniform"),
        ("Euler", "", "uniform", "Euler", "uniform", "Uniform"),
        (None, "", None, "DPM++ 2M", "automatic", "Karras"),
        ("", "", "exponential", "DPM++ 2M", "exponential", "Exponential"),
        (None, "DPM++ 2M Exponential", None, "DPM++ 2M", "exponential", "Exponential"),
        ("DPM++ 2M SDE Heun", "", None, "DPM++ 2M SDE Heun", "automatic", "Exponential"),
        ("DPM++ 2M SDE Heun Karras", "", None, "DPM++ 2M SDE Heun", "karras", "Karras"),
        ("DPM++ 2M SDE Karras", "", None, "DPM++ 2M SDE", "karras", "Karras"),
        ("DPM++ 2S a Align Your Steps", "", None, "DPM++ 2S a", "align_your_steps", "Align Your Steps"),
        ("DDIM", "", None, "DDIM", "automatic", "Automatic"),
        ("DDIM CFG++", "", "ddim", "DDIM CFG++", "ddim", "DDIM"),
        ("PLMS Karras", "", None, "PLMS", "karras", "Karras"),
        ("Euler DDIM", "", None, "Euler", "ddim", "DDIM"),
    ],
)
def test_names(name, index, scheduler, sampler, schedule, label):
    choice = sampler_names.choose(sampler_name=name, sampler_index=index, scheduler=scheduler)
    assert (choice.sampler.name, choice.scheduler.name, choice.schedule_label) == (sampler, schedule, label)


@pytest.mark.parametrize(
    ("name", "index", "scheduler", "field", "value"),
    [
        ("SA Solver", "Euler", None, "sampler_name", "SA Solver"),
        ("SA Solver Karras", "Euler", None, "sampler_name", "SA Solver Karras"),
        (None, "string", None, "sampler_index", "string"),
        ("Karras", "Euler", None, "sampler_name", "Karras"),
        ("Euler", "Euler", "turbo", "scheduler", "turbo"),
        ("Euler Karras", "Euler", "exponential", "scheduler", "exponential"),
    ],
)
def test_unknown_or_contradicting_names_are_refused_by_field_and_value(name, index, scheduler, field, value):
    with pytest.raises(UnsupportedError) as caught:
        sampler_names.choose(sampler_name=name, sampler_index=index, scheduler=scheduler)
    assert (caught.value.field, caught.value.value) == (field, value)
