"""How request fields are treated: every one has a mark, and what is not served is refused by name."""

import pytest
from pydantic import ValidationError

from sd_runtime.a1111 import fields
from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest
from sd_runtime.a1111.scripts import ScriptNotFound
from sd_runtime.errors import UnsupportedError

#: What clients send that fill in every field, nulls and legacy values included.
COMMON = {
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
    "force_task_id": None,
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
    "infotext": None,
}
OF_TXT2IMG = {
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
}
OF_IMG2IMG = {
    "init_images": ["(a picture)"],
    "resize_mode": 0,
    "image_cfg_scale": 1.5,
    "mask": None,
    "mask_blur": None,
    "mask_blur_x": 4,
    "mask_blur_y": 4,
    "mask_round": True,
    "inpainting_fill": 0,
    "inpaint_full_res": True,
    "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": 0,
    "initial_noise_multiplier": None,
    "latent_mask": None,
    "include_init_images": False,
}
SCHEMAS = [(Txt2ImgRequest, COMMON | OF_TXT2IMG), (Img2ImgRequest, COMMON | OF_IMG2IMG)]


@pytest.mark.parametrize(("schema", "every"), SCHEMAS, ids=["txt2img", "img2img"])
def test_every_field_has_exactly_one_mark_and_is_among_those_that_clients_send(schema, every):
    assert [name for name, field in schema.model_fields.items() if not fields.mark_of(field)] == []
    assert set(schema.model_fields) == set(every)


@pytest.mark.parametrize("schema", [Txt2ImgRequest, Img2ImgRequest])
def test_the_defaults_are_those_of_a1111(schema):
    request = schema()
    assert (request.steps, request.width, request.height, request.cfg_scale) == (50, 512, 512, 7.0)
    assert (request.sampler_name, request.sampler_index, request.seed) == (None, "Euler", -1)
    assert (request.denoising_strength, request.batch_size, request.n_iter) == (0.75, 1, 1)


def test_the_defaults_of_inpainting_are_those_of_a1111():
    request = Img2ImgRequest()
    assert (request.inpainting_fill, request.inpaint_full_res, request.inpaint_full_res_padding) == (
        0,
        True,
        0,
    )
    assert (request.mask_blur_x, request.mask_round, request.inpainting_mask_invert) == (4, True, 0)


@pytest.mark.parametrize("schema", [Txt2ImgRequest, Img2ImgRequest])
def test_every_neutral_value_and_every_default_is_accepted(schema):
    for name, field in schema.model_fields.items():
        mark = fields.mark_of(field)
        if isinstance(mark, fields.NeutralOnly):
            assert fields.is_neutral(field.default, mark), name
            for value in mark.values:
                fields.refuse_unserved(schema.model_validate({name: value}))


def test_a_client_that_sends_every_field_is_served(desk):
    desk.txt2img(**COMMON, **OF_TXT2IMG)
    desk.img2img(**COMMON, **OF_IMG2IMG)


@pytest.mark.parametrize(("schema", "every"), SCHEMAS, ids=["txt2img", "img2img"])
def test_a_client_that_sends_null_for_every_field_gets_the_defaults(schema, every):
    assert schema.model_validate(dict.fromkeys(every)) == schema()


def test_unknown_keys_are_ignored(desk):
    desk.txt2img(forge_preset="sd", distilled_cfg_scale=3.5, whatever=[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restore_faces", True),
        ("script_args", [1]),
        ("firstphase_width", 512),
        ("comments", {"a": "b"}),
        ("styles", ["anime"]),
    ],
)
def test_what_is_not_served_is_refused_by_field_and_value(desk, field, value):
    with pytest.raises(UnsupportedError) as caught:
        desk.txt2img(**{field: value})
    assert caught.value.field == field
    assert caught.value.value in (value, "anime")


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"script_name": "X/Y/Z plot"}, "none"),
        ({"alwayson_scripts": {"ADetailer": {"args": []}}}, "ControlNet"),
        ({"alwayson_scripts": {"a": 1, "b": 2}}, "ControlNet"),
        ({"alwayson_scripts": {"controlnet": {"args": []}, "a": 1}}, "ControlNet"),
    ],
)
def test_a_script_that_is_not_served_is_not_found(desk, body, allowed):
    with pytest.raises(
        ScriptNotFound, match=rf"^Script '(X/Y/Z plot|ADetailer|a)' not found \(\w+; allowed: {allowed}"
    ):
        desk.txt2img(**body)


@pytest.mark.parametrize("name", ["None", "none", ""])
def test_no_script_may_be_named_as_none(desk, name):
    desk.txt2img(script_name=name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("width", 500),
        ("width", 56),
        ("height", 1_000_000),
        ("cfg_scale", -1),
        ("seed", -2),
        ("subseed_strength", 1.5),
        ("denoising_strength", 1.01),
        ("s_churn", -1),
        ("refiner_switch_at", 2),
        ("resize_mode", 4),
        ("inpainting_fill", 4),
        ("inpainting_mask_invert", 2),
        ("mask_blur", -1),
        ("init_images", "a picture"),
    ],
)
def test_a_value_out_of_range_is_refused_by_field(field, value):
    with pytest.raises(ValidationError) as caught:
        Img2ImgRequest.model_validate({field: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [field]
