"""Infotext and `info` of pictures that were made: keys, order, and what is told of which request."""

import json
from datetime import datetime

import pytest

from sd_modelfiles.kinds import ModelType
from sd_runtime import __version__
from sd_runtime.a1111 import answer, infotext
from sd_runtime.a1111.answer import Account
from sd_runtime.sampling.settings import NoiseSource

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
#: All keys that A1111's `info` has; clients index them without asking.
INFO_KEYS = {
    *("prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed"),
    *("all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps"),
    *("batch_size", "restore_faces", "face_restoration_model", "sd_model_name", "sd_model_hash"),
    *("sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h", "denoising_strength"),
    *("extra_generation_params", "index_of_first_image", "infotexts", "styles", "job_timestamp", "clip_skip"),
    *("is_using_inpainting_conditioning", "version"),
}
#: A1111's order.
ORDER = [
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash"),
    *("VAE", "Variation seed", "Variation seed strength", "Seed resize from", "Denoising strength"),
    *("Clip skip", "ENSD", "RNG", "Tiling", "Hires upscale", "Hires resize", "Hires steps"),
    *("Hires upscaler", "Hires sampler", "Hires schedule type", "Hires checkpoint", "Hires prompt"),
    *("Hires negative prompt", "Mask blur", "Inpaint area", "Masked area padding", "Masked content"),
    *("Mask mode", "Lora hashes", "TI hashes", "Refiner", "Refiner switch at", "Emphasis", "Version"),
]


def account(desk, plan, *pictures, hashes=None):
    return Account(
        plan=plan,
        checkpoint=desk.served,
        pictures=pictures,
        accepted=datetime(2030, 1, 31, 12, 34, 56),
        hashes=hashes or {},
    )


def last_line(text):
    return text.rpartition("\n")[2]


def test_a_plain_picture_tells_what_it_is_made_with(desk, picture):
    plan = desk.txt2img(**SMALL, negative_prompt="blurry", sampler_name="DPM++ 2M Karras")
    (text,) = account(desk, plan, picture(0)).infotexts()
    assert text == (
        "a cat\nNegative prompt: blurry\n"
        "Steps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 7, Size: 64x64, "
        "Model hash: ab12ab12ab, Model: shapes, RNG: CPU, "
        f"Version: sd-operator {__version__}"
    )


def everything(desk):
    """A plan with all that txt2img can tell of, and its files' hashes."""
    vae = desk.put(ModelType.VAE, "soft.safetensors")
    ink = desk.put(ModelType.LORA, "ink.safetensors")
    glow = desk.put(ModelType.HYPERNETWORK, "glow.pt")
    fine = desk.put(ModelType.CHECKPOINT, "fine.safetensors")
    desk.set(
        clip_skip=2, seed_delta=3, vae="soft.safetensors", randn_source=NoiseSource.NV, emphasis="No norm"
    )
    plan = desk.txt2img(
        **SMALL | {"prompt": "a cat <lora:ink:0.5> <hypernet:glow>"},
        sampler_name="Euler a",
        subseed=9,
        subseed_strength=0.5,
        seed_resize_from_w=128,
        seed_resize_from_h=64,
        tiling=True,
        enable_hr=True,
        hr_second_pass_steps=3,
        hr_sampler_name="Heun",
        hr_scheduler="karras",
        hr_checkpoint_name="fine",
        hr_prompt="a dog",
        hr_negative_prompt="blurry",
        refiner_checkpoint="fine",
        refiner_switch_at=0.8,
    )
    return plan, {vae: "5af7" * 2, ink: "1a2b" * 3, glow: "9999", fine: "f1f2" * 2}


def test_the_keys_stand_in_a1111s_order(desk, picture):
    plan, hashes = everything(desk)
    told = account(desk, plan, picture(0, embeddings=(("goldie", "7777"),)), hashes=hashes).infotexts()[0]
    keys = [key for key, _ in infotext.pairs(last_line(told))]
    assert keys == [key for key in ORDER if key in keys]
    left = set(ORDER) - set(keys)
    assert left == {
        *("Hires resize", "Mask blur", "Inpaint area", "Masked area padding", "Masked content", "Mask mode")
    }


def test_files_are_told_by_name_and_hash(desk, picture):
    plan, hashes = everything(desk)
    told = account(desk, plan, picture(0, embeddings=(("goldie", "7777"),)), hashes=hashes).infotexts()[0]
    read = infotext.read(told)
    assert (read["VAE"], read["VAE hash"]) == ("soft.safetensors", "5af75af7")
    assert (read["Lora hashes"], read["TI hashes"]) == ("ink: 1a2b1a2b1a2b", "goldie: 7777")
    assert (read["Refiner"], read["Hires checkpoint"]) == ("fine.safetensors [f1f2f1f2]",) * 2
    assert read["Prompt"] == "a cat <lora:ink:0.5> <hypernet:glow>"


def test_a_masked_picture_tells_of_its_mask(desk, picture):
    plan = desk.img2img(
        mask=True, **SMALL, inpainting_fill=2, inpaint_full_res_padding=16, inpainting_mask_invert=1
    )
    assert last_line(account(desk, plan, picture(0)).infotexts()[0]).endswith(
        "Denoising strength: 0.75, RNG: CPU, Mask blur: 4, Inpaint area: Only masked, "
        "Masked area padding: 16, Masked content: latent noise, "
        f"Mask mode: Inpaint not masked, Version: sd-operator {__version__}"
    )


@pytest.mark.parametrize(
    ("sampler", "options", "told"),
    [
        (
            "Euler",
            {"eta_ancestral": 0.5, "s_churn": 2.0, "s_tmax": 9.0},
            {"Sigma churn": "2.0", "Sigma tmax": "9.0"},
        ),
        (
            "Euler a",
            {"eta_ancestral": 0.5, "s_churn": 2.0, "s_noise": 1.1},
            {"Eta": "0.5", "Sigma noise": "1.1"},
        ),
        ("DPM++ 2M", {"eta_ancestral": 0.5, "s_churn": 2.0, "s_noise": 1.1}, {}),
        ("DDIM", {"eta_ancestral": 0.5, "eta_ddim": 0.7}, {"Eta DDIM": "0.7"}),
        ("Euler", {"s_min_uncond": 0.5}, {"NGMS": "0.5"}),
        ("Euler", {"sigma_min": 0.1, "rho": 6.0}, {"Schedule min sigma": "0.1", "Schedule rho": "6.0"}),
    ],
)
def test_numbers_of_the_solver_are_told_where_they_count(desk, picture, sampler, options, told):
    desk.set(**options)
    plan = desk.txt2img(**SMALL, sampler_name=sampler)
    read = infotext.read(account(desk, plan, picture(0)).infotexts()[0])
    beginnings = ("Eta", "Sigma", "NGMS", "Schedule m", "Schedule r")
    assert {key: value for key, value in read.items() if key.startswith(beginnings)} == told


@pytest.mark.parametrize(
    ("asked", "options", "told"),
    [
        ({"sampler_name": "Euler a"}, {}, True),
        ({"sampler_name": "Euler"}, {}, False),
        ({"sampler_name": "Euler"}, {"s_churn": 2.0}, True),
        ({"sampler_name": "DDIM"}, {}, False),
        ({"sampler_name": "DDIM"}, {"eta_ddim": 0.8}, True),
        ({"sampler_name": "DDIM", "eta": 0.8}, {}, True),
        ({"sampler_name": "LCM"}, {}, True),
        ({"sampler_name": "Restart"}, {}, True),
        ({"sampler_name": "DPM++ 2M"}, {}, False),
        ({"sampler_name": "DPM++ 2M SDE"}, {}, False),
        ({"sampler_name": "DPM++ 2M", "enable_hr": True, "hr_sampler_name": "Euler a"}, {}, True),
    ],
)
def test_the_seed_delta_is_told_where_further_noise_is_drawn(desk, picture, asked, options, told):
    desk.set(seed_delta=3, **options)
    plan = desk.txt2img(**SMALL, **asked)
    read = infotext.read(account(desk, plan, picture(0)).infotexts()[0])
    assert read.get("ENSD") == ("3" if told else None)


def test_info_has_every_key_and_an_item_for_each_picture(desk, picture):
    plan = desk.txt2img(**SMALL, batch_size=2, n_iter=2, styles=["Crisp"])
    info = json.loads(account(desk, plan, picture(0), picture(2)).info())
    assert set(info) == INFO_KEYS
    assert (info["seed"], info["all_seeds"]) == (7, [7, 9])
    assert info["all_prompts"] == ["a cat, sharp"] * 2
    assert (info["prompt"], info["negative_prompt"]) == ("a cat, sharp", "blurry")
    assert len(info["infotexts"]) == len(info["all_subseeds"]) == len(info["all_negative_prompts"]) == 2
    assert (info["job_timestamp"], info["styles"], info["index_of_first_image"]) == (
        "20300131123456",
        ["Crisp"],
        0,
    )
    assert (info["sd_model_name"], info["sd_model_hash"], info["batch_size"]) == ("shapes", "ab12ab12ab", 2)


def test_info_tells_the_size_of_the_first_pass_and_the_further_parameters(desk, picture):
    plan, hashes = everything(desk)
    info = json.loads(account(desk, plan, picture(0), hashes=hashes).info())
    assert (info["width"], info["height"], info["clip_skip"]) == (64, 64, 2)
    assert (info["sd_vae_name"], info["sd_vae_hash"]) == ("soft.safetensors", "5af75af7")
    extras = info["extra_generation_params"]
    assert (extras["Hires upscaler"], extras["Hires steps"], extras["Emphasis"]) == ("Latent", 3, "No norm")
    assert extras["Lora hashes"] == "ink: 1a2b1a2b1a2b"


def test_a_grid_comes_first_and_has_an_infotext_alone(desk, picture):
    plan = desk.txt2img(**SMALL, batch_size=2)
    info = json.loads(account(desk, plan, picture(0), picture(1)).info(grid=True))
    assert (info["index_of_first_image"], len(info["infotexts"]), info["all_seeds"]) == (1, 3, [7, 8])
    assert info["infotexts"][0] == info["infotexts"][1] != info["infotexts"][2]


def test_a_request_that_made_no_picture_lists_none(desk):
    info = json.loads(account(desk, desk.txt2img(**SMALL)).info())
    assert info["all_seeds"] == info["infotexts"] == info["all_prompts"] == []
    assert info["seed"] == 7


@pytest.mark.parametrize(("included", "told"), [(False, None), (True, ["(a picture)"])])
def test_given_pictures_are_repeated_only_where_wished(desk, included, told):
    plan = desk.img2img(**SMALL, include_init_images=included)
    assert answer.echo(plan)["init_images"] == told
    assert answer.echo(plan)["steps"] == 4
