"""What becomes of a request: its pictures, their seeds, and what they are made with."""

import math
import time

import numpy as np
import pytest
import small_files

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.planning import in_clients_words
from sd_runtime.adapters.uses import AdapterKind
from sd_runtime.errors import GenerationError, UnsupportedError
from sd_runtime.prompt.settings import Emphasis
from sd_runtime.sampling.settings import NoiseSource
from sd_runtime.tasks.recipe import MaskedContent, ResizeMode

SMALL = {"width": 64, "height": 64}


def tasks_of(plan):
    return [task for iteration in plan.iterations for task in iteration]


def test_pictures_are_laid_out_in_iterations_with_consecutive_seeds(desk):
    plan = desk.txt2img(seed=10, n_iter=2, batch_size=3, width=64, height=128, sampler_name="DPM++ 2M Karras")
    assert [[task.noise.seed for task in tasks] for tasks in plan.iterations] == [[10, 11, 12], [13, 14, 15]]
    task = plan.iterations[0][0]
    assert (task.width, task.height) == (64, 128)
    assert (task.guided.sampler, task.guided.scheduler) == ("DPM++ 2M", "karras")


def test_with_a_variation_seed_it_counts_up_and_the_seed_stays(desk):
    plan = desk.txt2img(**SMALL, seed=10, subseed=20, subseed_strength=0.5, batch_size=3)
    noises = [task.noise for task in tasks_of(plan)]
    assert [(noise.seed, noise.subseed, noise.subseed_strength) for noise in noises] == [
        (10, 20, 0.5),
        (10, 21, 0.5),
        (10, 22, 0.5),
    ]
    assert plan.seeds == (10, 10, 10)


def test_drawn_seeds_are_told(desk):
    plan = desk.txt2img(**SMALL, seed=-1, subseed=-1, subseed_strength=0.1, batch_size=2)
    assert min(*plan.seeds, *plan.subseeds) >= 0
    assert [(task.noise.seed, task.noise.subseed) for task in tasks_of(plan)] == list(
        zip(plan.seeds, plan.subseeds, strict=True)
    )


@pytest.mark.parametrize(
    ("width", "height", "size"), [(-1, -1, None), (0, 0, None), (0, -1, None), (512, 768, (512, 768))]
)
def test_seeds_are_resized_from_a_size_that_is_one(desk, width, height, size):
    (task,) = tasks_of(desk.txt2img(**SMALL, seed_resize_from_w=width, seed_resize_from_h=height))
    assert task.noise.resize_from == size


@pytest.mark.parametrize("given", [{"seed_resize_from_w": 512}, {"seed_resize_from_h": 512}])
def test_half_a_size_to_resize_seeds_from_is_refused(desk, given):
    with pytest.raises(UnsupportedError, match="both sides given"):
        desk.txt2img(**SMALL, **given)


@pytest.mark.parametrize(
    ("sampler", "body", "options", "eta"),
    [
        ("Euler a", {}, {}, 1.0),
        ("Euler a", {"eta": 0.5}, {"eta_ancestral": 0.3}, 0.5),
        ("Euler a", {}, {"eta_ancestral": 0.3, "eta_ddim": 0.7}, 0.3),
        ("DDIM", {}, {}, 0.0),
        ("DDIM", {}, {"eta_ancestral": 0.3, "eta_ddim": 0.7}, 0.7),
        ("DDIM", {"eta": 1.0}, {}, 1.0),
    ],
)
def test_eta_is_the_requests_or_else_that_of_the_options(desk, sampler, body, options, eta):
    desk.set(**options)
    (task,) = tasks_of(desk.txt2img(**SMALL, sampler_name=sampler, **body))
    assert task.guided.sampling.eta == eta


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        ({}, {}, (0.0, 0.0, math.inf, 1.0)),
        ({}, {"s_churn": 2.0, "s_tmin": 0.1, "s_tmax": 9.0, "s_noise": 1.1}, (2.0, 0.1, 9.0, 1.1)),
        ({"s_churn": 1, "s_tmax": 0}, {"s_churn": 2.0, "s_tmax": 9.0}, (1.0, 0.0, math.inf, 1.0)),
    ],
)
def test_the_solvers_noise_is_the_requests_or_else_that_of_the_options(desk, body, options, expected):
    desk.set(**options)
    (task,) = tasks_of(desk.txt2img(**SMALL, **body))
    told = task.guided.sampling
    assert (told.s_churn, told.s_tmin, told.s_tmax, told.s_noise) == expected


def test_options_shape_the_request(desk):
    desk.set(
        clip_skip=2,
        emphasis=Emphasis.NO_NORM,
        comma_back_off=5,
        randn_source=NoiseSource.NV,
        seed_delta=31337,
        s_min_uncond=1.5,
        discard_penultimate=True,
        score=7.5,
        negative_score=1.0,
    )
    (task,) = tasks_of(desk.txt2img(**SMALL, tiling=True))
    assert (task.guided.text.score, task.guided.text.negative_score) == (7.5, 1.0)
    assert (task.guided.text.clip_skip, task.guided.text.emphasis) == (2, Emphasis.NO_NORM)
    assert (task.guided.text.comma_back_off, task.guided.s_min_uncond, task.tiling) == (5, 1.5, True)
    assert (task.noise.source, task.noise.seed_delta) == (NoiseSource.NV, 31337)
    assert task.guided.sampling.discard_penultimate


def test_names_that_are_all_empty_mean_the_first_sampler(desk):
    plan = desk.txt2img(**SMALL, sampler_name="", sampler_index="", scheduler="")
    assert plan.choice.sampler.name == "DPM++ 2M"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"steps": 11}, "steps"),
        ({"batch_size": 3}, "batch_size"),
        ({"n_iter": 4}, "n_iter"),
        ({"width": 136}, "width"),
        ({"height": 136}, "height"),
        ({"enable_hr": True, "hr_scale": 3}, "hr_scale (a side of the picture)"),
        ({"enable_hr": True, "hr_resize_x": 136}, "hr_resize_x (a side of the picture)"),
        ({"enable_hr": True, "hr_second_pass_steps": 11}, "hr_second_pass_steps"),
        ({"batch_size": 2, "n_iter": 2}, "batch_size x n_iter x width x height"),
        ({"enable_hr": True, "batch_size": 2}, "batch_size x n_iter x width x height"),
    ],
)
def test_a_server_has_limits_of_its_own(desk, body, field):
    desk.limits = Limits(steps=10, side=128, pixels=3 * 64 * 64, batch_size=2, iterations=3)
    desk.txt2img(**SMALL | {"steps": 10})
    with pytest.raises(UnsupportedError) as caught:
        desk.txt2img(**SMALL | {"steps": 10} | body)
    assert caught.value.field == field


def test_a_prompt_is_judged_once_for_all_pictures_of_a_request(desk):
    slow = "(" * 32 + "(a)" * 5400 + ":1)" * 32  # tens of milliseconds each time
    began = time.perf_counter()
    desk.txt2img(**SMALL, prompt=slow, batch_size=8, n_iter=16)
    assert time.perf_counter() - began < 3


def test_loras_of_the_prompt_become_adapters_and_stay_in_what_is_told(desk):
    ink = desk.put(ModelType.LORA, "style/ink.safetensors")
    glow = desk.put(ModelType.HYPERNETWORK, "glow.pt")
    plan = desk.txt2img(**SMALL, prompt="a cat <lora:ink:0.5:0.8> <hypernet:glow:0.3>")
    (task,) = tasks_of(plan)
    assert task.guided.prompt.strip() == "a cat"
    lora, hypernetwork = task.guided.adapters
    assert (lora.kind, lora.path, lora.text, lora.unet) == (AdapterKind.LORA, ink, 0.5, 0.8)
    assert (hypernetwork.kind, hypernetwork.path) == (AdapterKind.HYPERNETWORK, glow)
    assert hypernetwork.unet == 0.3
    assert plan.words.prompt == "a cat <lora:ink:0.5:0.8> <hypernet:glow:0.3>"


def test_a_lora_that_is_not_here_is_refused_with_those_that_are(desk):
    desk.put(ModelType.LORA, "ink.safetensors")
    with pytest.raises(UnsupportedError) as caught:
        desk.txt2img(**SMALL, prompt="a cat <lora:oil:1>")
    assert (caught.value.field, caught.value.value) == ("prompt", "<lora:oil:1>")
    assert "ink" in caught.value.allowed


def test_extra_networks_may_be_left_out(desk):
    plan = desk.txt2img(**SMALL, prompt="a cat <lora:oil:1>", disable_extra_networks=True)
    assert tasks_of(plan)[0].guided.prompt == "a cat "
    assert tasks_of(plan)[0].guided.adapters == ()
    assert plan.request.prompt == "a cat <lora:oil:1>"


def test_extra_networks_are_refused_in_the_negative_prompt(desk):
    with pytest.raises(UnsupportedError, match="negative_prompt: '<lora:ink:1>'"):
        desk.txt2img(**SMALL, negative_prompt="<lora:ink:1>")


def test_a_lora_of_the_options_is_written_behind_the_prompt(desk):
    desk.put(ModelType.LORA, "ink.safetensors")
    desk.set(lora="ink")
    plan = desk.txt2img(**SMALL, prompt="a cat")
    assert plan.words.prompt == "a cat<lora:ink:1>"
    assert [use.unet for use in tasks_of(plan)[0].guided.adapters] == [1.0]
    plan = desk.txt2img(**SMALL, prompt="a cat <lora:ink:0.5>")
    assert [use.unet for use in tasks_of(plan)[0].guided.adapters] == [0.5]


def test_styles_are_put_around_the_prompts(desk):
    plan = desk.txt2img(**SMALL, prompt="a cat", negative_prompt="dog", styles=["Ink", "", "Crisp"])
    guided = tasks_of(plan)[0].guided
    assert guided.prompt == "ink drawing of a cat, monochrome, sharp"
    assert guided.negative_prompt == "dog, colour, blurry"


@pytest.mark.parametrize(("on", "drawn"), [(True, "a cat"), (False, "a cat # or a dog")])
def test_comments_are_left_out_where_the_option_says_so(desk, on, drawn):
    desk.set(prompt_comments=on)
    plan = desk.txt2img(**SMALL, prompt="a cat # or a dog")
    assert tasks_of(plan)[0].guided.prompt.strip() == drawn


def test_another_checkpoint_may_be_asked_for_and_the_served_one_is_nothing_special(desk):
    other = desk.put(ModelType.CHECKPOINT, "other.safetensors")
    desk.set(checkpoint="other.safetensors")
    plan = desk.txt2img(**SMALL)
    assert (tasks_of(plan)[0].checkpoint, plan.checkpoint.path) == (other, other)
    desk.set(checkpoint="shapes.safetensors")
    assert tasks_of(desk.txt2img(**SMALL))[0].checkpoint is None


@pytest.mark.parametrize(
    ("option", "file"),
    [
        ("Automatic", None),
        ("None", None),
        ("soft.safetensors", "soft.safetensors"),
        ("soft", "soft.safetensors"),
    ],
)
def test_a_vae_is_the_one_that_the_option_names(desk, option, file):
    desk.put(ModelType.VAE, "soft.safetensors")
    desk.set(vae=option)
    (task,) = tasks_of(desk.txt2img(**SMALL))
    assert (task.vae and task.vae.name) == file


@pytest.mark.parametrize(
    ("model_type", "name"),
    [(ModelType.VAE, "shapes.safetensors"), (ModelType.CHECKPOINT, "shapes.vae.safetensors")],
)
def test_automatic_takes_the_vae_that_is_named_after_the_checkpoint(desk, model_type, name):
    path = desk.put(model_type, name)
    assert tasks_of(desk.txt2img(**SMALL))[0].vae == path
    desk.set(vae="None")
    assert tasks_of(desk.txt2img(**SMALL))[0].vae is None


@pytest.mark.parametrize("name", [None, "", "None"])
def test_no_refiner_is_none(desk, name):
    assert tasks_of(desk.txt2img(**SMALL, refiner_checkpoint=name))[0].guided.refiner is None


def test_a_refiner_takes_over_in_the_last_pass(desk):
    path = desk.put(ModelType.CHECKPOINT, "fine.safetensors")
    body = {"refiner_checkpoint": "fine", "refiner_switch_at": 0.8}
    (task,) = tasks_of(desk.txt2img(**SMALL, **body))
    assert (task.guided.refiner.checkpoint, task.guided.refiner.switch_at) == (path, 0.8)
    (task,) = tasks_of(desk.txt2img(**SMALL, **body, enable_hr=True))
    assert task.guided.refiner is None
    assert task.hires.guided.refiner.checkpoint == path


def test_a_checkpoint_that_is_used_anyway_is_not_changed_to(desk):
    body = {"refiner_checkpoint": "shapes", "hr_checkpoint_name": "shapes.safetensors", "enable_hr": True}
    (task,) = tasks_of(desk.txt2img(**SMALL, **body))
    assert (task.checkpoint, task.hires.checkpoint, task.hires.guided.refiner) == (None, None, None)


def test_a_refiner_that_is_not_here_is_refused_with_the_checkpoints_that_are(desk):
    with pytest.raises(UnsupportedError, match=r"refiner_checkpoint: 'fine'.*shapes"):
        desk.txt2img(**SMALL, refiner_checkpoint="fine")


@pytest.mark.parametrize(
    ("served", "further", "goes_on"),
    [
        (Family.SD15, Family.SD15, True),
        (Family.SD15, Family.SD21, True),
        (Family.SDXL, Family.SDXL_REFINER, True),
        (Family.SDXL_REFINER, Family.SDXL, True),
        (Family.SDXL, Family.SD15, False),
        (Family.SD21, Family.SDXL_REFINER, False),
    ],
)
@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("refiner_checkpoint", {"refiner_switch_at": 0.5}),
        ("hr_checkpoint_name", {"enable_hr": True, "hr_upscaler": "Latent"}),
    ],
)
def test_a_checkpoint_that_cannot_go_on_with_the_latents_is_refused_before_it_is_loaded(
    desk, served, further, goes_on, field, fields
):
    desk.served.path.write_bytes(small_files.checkpoint(served))
    desk.put(ModelType.CHECKPOINT, "other.safetensors").write_bytes(small_files.checkpoint(further))
    body = {**SMALL, **fields, field: "other"}
    if goes_on:
        desk.txt2img(**body)
    else:
        says = (
            rf"{field}: 'other \({further}\)'.*checkpoints with the latents of shapes, as {served} has them"
        )
        with pytest.raises(UnsupportedError, match=says):
            desk.txt2img(**body)


def test_a_second_pass_over_pixels_may_have_a_checkpoint_of_any_family_and_its_refiner_follows_that(desk):
    desk.served.path.write_bytes(small_files.checkpoint(Family.SD15))
    for name, family in {"xl": Family.SDXL, "refiner": Family.SDXL_REFINER}.items():
        path = desk.put(ModelType.CHECKPOINT, f"{name}.safetensors")
        path.write_bytes(small_files.checkpoint(family))
    body = {"enable_hr": True, "hr_upscaler": "Lanczos", "refiner_switch_at": 0.5}
    desk.txt2img(**SMALL, **body, hr_checkpoint_name="xl", refiner_checkpoint="refiner")
    with pytest.raises(UnsupportedError, match=r"refiner_checkpoint.*as SD15 has them"):
        desk.txt2img(**SMALL, **body, refiner_checkpoint="refiner")


@pytest.mark.parametrize(
    ("save_samples", "save_images", "do_not_save_samples", "saves"),
    [
        (True, False, False, True),
        (True, False, True, False),
        (True, True, True, True),
        (False, True, False, False),
    ],
)
def test_when_pictures_are_saved(desk, save_samples, save_images, do_not_save_samples, saves):
    desk.set(save_samples=save_samples)
    plan = desk.txt2img(**SMALL, save_images=save_images, do_not_save_samples=do_not_save_samples)
    assert plan.saves is saves


@pytest.mark.parametrize(
    ("save_images", "do_not_save_grid", "wants"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_when_a_grid_is_made(desk, save_images, do_not_save_grid, wants):
    plan = desk.txt2img(**SMALL, save_images=save_images, do_not_save_grid=do_not_save_grid)
    assert plan.wants_grid is wants


def test_a_picture_stands_for_the_first_pass_where_there_is_a_second(desk):
    pixels = np.zeros((64, 64, 3), np.uint8)
    assert tasks_of(desk.txt2img(**SMALL, first_pass=pixels, enable_hr=True))[0].first_pass is pixels
    assert tasks_of(desk.txt2img(**SMALL, first_pass=pixels))[0].first_pass is None


def test_img2img_draws_over_its_picture(desk):
    desk.put(ModelType.UPSCALER, "x4.safetensors")
    desk.set(
        upscaler_for_img2img="x4",
        img2img_fix_steps=True,
        img2img_color_correction=True,
        img2img_background_color="#010203",
    )
    plan = desk.img2img(
        **SMALL, denoising_strength=0.4, resize_mode=2, initial_noise_multiplier=0.9, batch_size=2
    )
    first, second = tasks_of(plan)
    assert first.image[0, 0, 0] == second.image[0, 0, 0] == 1
    assert (first.denoising_strength, first.resize_mode) == (0.4, ResizeMode.FILL)
    assert (first.noise_multiplier, first.exact_steps, first.color_correction) == (0.9, True, True)
    assert (first.background, first.upscaler.name, first.mask) == ((1, 2, 3), "x4", None)


def test_several_pictures_are_drawn_over_one_each_in_every_iteration(desk):
    plan = desk.img2img(images=2, **SMALL, batch_size=1, n_iter=2, seed=5)
    assert [task.image[0, 0, 0] for task in tasks_of(plan)] == [1, 2, 1, 2]
    assert plan.batch_size == 2
    assert plan.seeds == (5, 6, 7, 8)


def test_more_pictures_than_asked_for_are_refused(desk):
    with pytest.raises(UnsupportedError, match="init_images: '3 pictures'"):
        desk.img2img(images=3, **SMALL, batch_size=2)


def test_a_mask_says_what_is_drawn_anew(desk):
    plan = desk.img2img(
        mask=True,
        **SMALL,
        mask_blur_x=3,
        mask_blur_y=5,
        inpainting_fill=2,
        inpaint_full_res=True,
        inpaint_full_res_padding=16,
        inpainting_mask_invert=1,
        mask_round=False,
    )
    mask = tasks_of(plan)[0].mask
    assert (mask.blur_x, mask.blur_y, mask.content) == (3, 5, MaskedContent.LATENT_NOISE)
    assert (mask.only_masked, mask.padding, mask.invert, mask.round) == (True, 16, True, False)


def test_one_blur_stands_for_both_axes(desk):
    mask = tasks_of(desk.img2img(mask=True, **SMALL, mask_blur=7, mask_blur_x=3))[0].mask
    assert (mask.blur_x, mask.blur_y) == (7, 7)


def test_a_refusal_of_the_engine_is_told_in_the_clients_words():
    told = in_clients_words(UnsupportedError("clip_skip", 12, "1 to 2"))
    assert isinstance(told, UnsupportedError)
    assert (told.field, told.value, told.allowed) == ("CLIP_stop_at_last_layers", 12, "1 to 2")
    other = GenerationError("x")
    assert in_clients_words(other) is other
