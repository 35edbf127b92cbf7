"""How request fields are treated: every one has a mark, and what is not served is refused by name."""

import time
from random import Random

import pytest

from sd_runtime.a1111 import compatibility, coverage, fields, options
from sd_runtime.a1111.options import Values
from sd_runtime.a1111.planning import in_clients_words, plan_txt2img
from sd_runtime.a1111.schemas import Txt2ImgRequest
from sd_runtime.errors import GenerationError, UnsupportedError

#: What clients send that fill in every field, nulls and legacy values included.
EVERY_FIELD = {
    "prompt": "a cat",
    "negative_prompt": "",
    "styles": [],
    "seed": 5,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": 0,
    "seed_resize_from_w": 0,
    "sampler_name": "Euler a",
    "sampler_index": "Euler",
    "scheduler": "automatic",
    "batch_size": 1,
    "n_iter": 1,
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "restore_faces": False,
    "tiling": False,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "eta": 1.0,
    "denoising_strength": 0,
    "s_min_uncond": 0,
    "s_churn": 0,
    "s_tmax": 0,
    "s_tmin": 0,
    "s_noise": 1,
    "override_settings": {},
    "override_settings_restore_afterwards": True,
    "refiner_checkpoint": "None",
    "refiner_switch_at": 0.8,
    "disable_extra_networks": False,
    "comments": {},
    "firstpass_image": None,
    "enable_hr": False,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2,
    "hr_upscaler": "Latent",
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_checkpoint_name": None,
    "hr_sampler_name": None,
    "hr_scheduler": None,
    "hr_prompt": "",
    "hr_negative_prompt": "",
    "force_task_id": None,
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
    "infotext": None,
}


def plan(**given):
    return plan_txt2img(Txt2ImgRequest.model_validate(given), Values(), Random(1))


def test_every_field_has_exactly_one_mark():
    assert [name for name, field in Txt2ImgRequest.model_fields.items() if not fields.mark_of(field)] == []


def test_the_defaults_are_those_of_a1111():
    request = Txt2ImgRequest()
    assert (request.steps, request.width, request.height, request.cfg_scale) == (50, 512, 512, 7.0)
    assert (request.sampler_name, request.sampler_index, request.seed) == (None, "Euler", -1)


def test_every_neutral_value_and_every_default_is_accepted():
    for name, field in Txt2ImgRequest.model_fields.items():
        mark = fields.mark_of(field)
        if isinstance(mark, fields.NeutralOnly):
            assert fields.is_neutral(field.default, mark), name
            for value in mark.values:
                plan(**{name: value})


def test_a_client_that_sends_every_field_is_served():
    assert set(EVERY_FIELD) == set(Txt2ImgRequest.model_fields)
    plan(**EVERY_FIELD)


def test_a_client_that_sends_null_for_every_field_gets_the_defaults():
    planned = plan(**dict.fromkeys(EVERY_FIELD))
    assert planned.request == Txt2ImgRequest()


def test_unknown_keys_are_ignored():
    plan(forge_preset="sd", whatever=[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enable_hr", True),
        ("styles", ["anime"]),
        ("alwayson_scripts", {"controlnet": {"args": []}}),
        ("restore_faces", True),
        ("tiling", True),
        ("subseed_strength", 0.1),
        ("refiner_checkpoint", "xl.safetensors"),
        ("seed_resize_from_w", 512),
        ("script_name", "x/y/z plot"),
        ("script_args", [1]),
        ("infotext", "Steps: 3"),
        ("s_churn", 1.0),
        ("s_noise", 0.5),
        ("firstphase_width", 512),
        ("styles", ["", ""]),
        ("comments", {"a": "b"}),
        ("firstpass_image", "aGk="),
    ],
)
def test_what_is_not_served_is_refused_by_field_and_value(field, value):
    with pytest.raises(UnsupportedError) as caught:
        plan(**{field: value})
    assert (caught.value.field, caught.value.value) == (field, value)


def test_overrides_that_should_last_are_refused_and_none_may_be_said_to():
    plan(override_settings_restore_afterwards=False)
    with pytest.raises(UnsupportedError, match="override_settings_restore_afterwards: False"):
        plan(override_settings_restore_afterwards=False, override_settings={"samples_save": True})


def test_names_that_are_all_empty_mean_the_first_sampler():
    assert plan(sampler_name="", sampler_index="", scheduler="").choice.sampler.name == "DPM++ 2M"


@pytest.mark.parametrize(
    ("sampler", "eta", "served"), [("Euler a", 0, False), ("Euler a", 1, True), ("Euler", 0, True)]
)
def test_eta_is_refused_only_where_it_would_count(sampler, eta, served):
    if served:
        plan(sampler_name=sampler, eta=eta)
    else:
        with pytest.raises(UnsupportedError, match="eta"):
            plan(sampler_name=sampler, eta=eta)


def test_pictures_are_laid_out_in_iterations_with_consecutive_seeds():
    planned = plan(seed=10, n_iter=2, batch_size=3, width=64, height=128, sampler_name="DPM++ 2M Karras")
    assert [[task.seed for task in tasks] for tasks in planned.iterations] == [[10, 11, 12], [13, 14, 15]]
    task = planned.iterations[0][0]
    assert (task.width, task.height, task.sampler, task.scheduler) == (64, 128, "DPM++ 2M", "karras")


def test_the_pixels_of_a_request_are_limited_together():
    plan(width=1024, height=1024, batch_size=8, n_iter=8)
    with pytest.raises(UnsupportedError, match="n_iter"):
        plan(width=1024, height=1024, batch_size=8, n_iter=9)


def test_a_prompt_is_judged_once_for_all_pictures_of_a_request():
    slow = "(" * 32 + "(a)" * 5400 + ":1)" * 32  # tens of milliseconds each time
    began = time.perf_counter()
    plan(prompt=slow, batch_size=8, n_iter=16, width=64, height=64)
    assert time.perf_counter() - began < 1.5


def test_a_drawn_seed_is_told():
    planned = plan(seed=-1, batch_size=2)
    assert planned.seeds[0] >= 0
    assert [task.seed for task in planned.iterations[0]] == list(planned.seeds)


def test_extra_networks_are_refused_unless_the_request_leaves_them_out():
    with pytest.raises(UnsupportedError, match="<lora:x:1>"):
        plan(prompt="a cat <lora:x:1>")
    planned = plan(prompt="a cat <lora:x:1>", disable_extra_networks=True)
    assert planned.iterations[0][0].prompt == "a cat "
    assert planned.request.prompt == "a cat <lora:x:1>"


@pytest.mark.parametrize(
    ("save_samples", "save_images", "do_not_save_samples", "saves"),
    [
        (True, False, False, True),
        (True, False, True, False),
        (True, True, True, True),
        (False, True, False, False),
    ],
)
def test_when_pictures_are_saved(save_samples, save_images, do_not_save_samples, saves):
    request = Txt2ImgRequest(save_images=save_images, do_not_save_samples=do_not_save_samples)
    assert plan_txt2img(request, Values(save_samples=save_samples), Random(1)).saves is saves


def test_a_refusal_of_the_engine_is_told_in_the_clients_words():
    told = in_clients_words(UnsupportedError("clip_skip", 12, "1 to 2"))
    assert isinstance(told, UnsupportedError)
    assert (told.field, told.value, told.allowed) == ("CLIP_stop_at_last_layers", 12, "1 to 2")
    other = GenerationError("x")
    assert in_clients_words(other) is other


def test_the_compatibility_table_names_every_field_option_and_route():
    table = compatibility.markdown()
    for name in [*Txt2ImgRequest.model_fields, *options.CHANGEABLE, *options.FIXED, options.CHECKPOINT]:
        assert f"| `{name}` |" in table
    for route in [*coverage.SERVED, *coverage.NOT_SERVED]:
        assert route.split(" ")[1] in table
