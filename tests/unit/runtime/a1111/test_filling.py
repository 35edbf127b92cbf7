"""The field infotext: what it fills, what counts for more, and what it is read back as."""

import pytest

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import filling
from sd_runtime.a1111.answer import Account
from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.sampling.settings import NoiseSource

WRITTEN_BY_A1111 = """a castle, (stone:1.2)
with towers
Negative prompt: blurry
Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 965400086, Size: 512x768, \
Model hash: 45dee52b, Model: name, Denoising strength: 0.4, Clip skip: 2, ENSD: 31337, \
Hires upscale: 1.5, Hires steps: 9, Hires upscaler: Latent (nearest), Version: v1.10.1"""


def filled(text, **body):
    return filling.filled(Txt2ImgRequest.model_validate({"infotext": text} | body))


def test_it_fills_the_fields_that_a_request_leaves_unset():
    request = filled(WRITTEN_BY_A1111)
    assert (request.prompt, request.negative_prompt) == ("a castle, (stone:1.2)\nwith towers", "blurry")
    assert (request.steps, request.sampler_name, request.scheduler) == (20, "Euler a", "Karras")
    assert (request.cfg_scale, request.seed, request.width, request.height) == (6.5, 965400086, 512, 768)
    assert (request.enable_hr, request.hr_scale, request.hr_second_pass_steps) == (True, 1.5, 9)
    assert (request.hr_upscaler, request.hr_sampler_name, request.denoising_strength) == (
        "Latent (nearest)",
        None,
        0.4,
    )


def test_it_fills_the_options_with_what_a1111_takes_for_said():
    assert filled(WRITTEN_BY_A1111).override_settings == {
        "sd_model_checkpoint": "45dee52b",
        "CLIP_stop_at_last_layers": 2,
        "eta_noise_seed_delta": 31337,
        "randn_source": "GPU",
    }


def test_what_the_request_says_itself_counts():
    request = filled(
        WRITTEN_BY_A1111,
        steps=5,
        override_settings={"CLIP_stop_at_last_layers": 1},
        enable_hr=False,
        prompt="",
    )
    assert (request.steps, request.enable_hr, request.prompt) == (5, False, "")
    assert request.override_settings["CLIP_stop_at_last_layers"] == 1
    assert request.override_settings["eta_noise_seed_delta"] == 31337


@pytest.mark.parametrize("text", [None, ""])
def test_without_infotext_a_request_stays_as_it_is(text):
    assert filled(text, steps=3) == Txt2ImgRequest(infotext=text, steps=3)


def test_text_without_parameters_is_a_prompt():
    assert filled("a cat").prompt == "a cat"


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("Seed: many", "Seed: many"),
        ("Clip skip: x", "Clip skip: x"),
        ("CFG scale: 1e999", "cfg_scale"),
        ("Size: 9x9", "width"),
        ("Tiling: perhaps", "Tiling: perhaps"),
    ],
)
def test_a_value_that_its_field_does_not_take_is_refused_as_infotext(pair, told):
    with pytest.raises(UnsupportedError) as caught:
        filled(f"a cat\nSteps: 20, Sampler: Heun, {pair}")
    assert caught.value.field == "infotext"
    assert told in str(caught.value)


def test_it_fills_the_fields_of_inpainting():
    text = (
        "a cat\nSteps: 20, Sampler: Heun, Seed: 1, Size: 64x64, Denoising strength: 0.3, Mask blur: 6, "
        "Inpaint area: Only masked, Masked area padding: 48, Masked content: latent noise, "
        "Mask mode: Inpaint not masked"
    )
    request = filling.filled(Img2ImgRequest(infotext=text))
    assert (request.mask_blur, request.inpaint_full_res, request.inpaint_full_res_padding) == (6, True, 48)
    assert (request.inpainting_fill, request.inpainting_mask_invert) == (2, 1)


def infotext_of(plan, picture, served):
    return Account(
        plan=plan, checkpoint=served, pictures=(picture(0),), accepted=None, hashes={}
    ).infotexts()[0]


OPTIONS = {
    "clip_skip": 2,
    "seed_delta": 3,
    "randn_source": NoiseSource.NV,
    "eta_ancestral": 0.5,
    "s_noise": 1.1,
    "s_min_uncond": 0.5,
    "sigma_min": 0.1,
    "discard_penultimate": True,
    "vae": "soft.safetensors",
}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "a cat,\nand more", "negative_prompt": "a: b", "cfg_scale": 3.5, "tiling": True},
        {"subseed": 9, "subseed_strength": 0.25, "seed_resize_from_w": 128, "seed_resize_from_h": 64},
        {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 3, "hr_upscaler": "Lanczos"},
        {"enable_hr": True, "hr_resize_x": 96, "hr_resize_y": 128, "denoising_strength": 0.3},
        {"enable_hr": True, "hr_resize_x": 96, "hr_sampler_name": "Heun", "hr_scheduler": "exponential"},
        {"enable_hr": True, "firstphase_width": 64, "firstphase_height": 64, "width": 128, "height": 128},
        {"enable_hr": True, "hr_prompt": "a dog: x, y", "hr_negative_prompt": "z", "prompt": "a cat"},
        {"refiner_checkpoint": "fine", "refiner_switch_at": 0.75},
        {"enable_hr": True, "hr_checkpoint_name": "fine"},
    ],
)
def test_a_picture_is_made_anew_from_what_is_written_in_it(desk, picture, body):
    desk.put(ModelType.CHECKPOINT, "fine.safetensors")
    desk.put(ModelType.VAE, "soft.safetensors")
    desk.set(**OPTIONS)
    small = {"width": 64, "height": 64, "steps": 4, "seed": 7, "sampler_name": "Euler a"}
    plan = desk.txt2img(**small | body)
    text = infotext_of(plan, picture, desk.served)
    again = desk.txt2img(infotext=text)
    assert again.iterations == plan.iterations
    assert again.request.override_settings == {
        "sd_model_checkpoint": "ab12ab12ab",
        "sd_vae": "soft.safetensors",
        "CLIP_stop_at_last_layers": 2,
        "eta_noise_seed_delta": 3,
        "randn_source": "NV",
        "eta_ancestral": 0.5,
        "s_noise": None,
        "s_min_uncond": 0.5,
        "sigma_min": 0.1,
        "always_discard_next_to_last_sigma": True,
    } | {"s_noise": 1.1}


@pytest.mark.parametrize(
    "body",
    [
        {"inpainting_fill": 1},
        {"inpainting_fill": 3, "inpaint_full_res": False, "inpaint_full_res_padding": 32},
        {"inpaint_full_res_padding": 8, "mask_blur": 2, "inpainting_mask_invert": 1},
    ],
)
def test_a_masked_picture_is_made_anew_from_what_is_written_in_it(desk, picture, body):
    small = {"width": 64, "height": 64, "steps": 4, "seed": 7, "denoising_strength": 0.5}
    plan = desk.img2img(mask=True, **small | body)
    again = desk.img2img(mask=True, infotext=infotext_of(plan, picture, desk.served))
    first, second = plan.iterations[0][0], again.iterations[0][0]
    for name in ("blur_x", "blur_y", "content", "only_masked", "padding", "invert"):
        assert getattr(first.mask, name) == getattr(second.mask, name)
    assert (first.guided, first.noise, first.denoising_strength) == (
        second.guided,
        second.noise,
        second.denoising_strength,
    )
