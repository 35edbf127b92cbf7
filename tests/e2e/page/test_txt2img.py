"""txt2img on the page: what one enters is what the API beside it is asked for."""

import re

import numpy as np
from browsing import Visit, encoded, pixels_of
from page_pod import Place
from playwright.sync_api import expect
from shapes import agreement, ask, image, pixels

PROMPT = "a large red circle on a white background"
UPSCALER = "realesr-animevideov3-x4"


def test_a_prompt_is_followed(seen: Visit) -> None:
    prompts = [PROMPT, "a small blue star on a white background", "a large green square on a gray background"]
    pictures = []
    for prompt in prompts:
        seen.small(prompt)
        pictures += seen.generate()
    shown = [each["all"] for each in agreement(list(map(encoded, pictures)), prompts)]
    print(f"{sum(shown)} of {len(shown)} pictures show what was asked for")
    assert all(shown)


def test_every_value_reaches_the_api(seen: Visit, place: Place) -> None:
    seen.small(PROMPT, Negative_prompt="blue", Width=96, Sampling_steps=12, CFG_scale=4.5, Seed=7)
    seen.choose("Sampling method", "DPM++ 2M")
    seen.choose("Schedule type", "Karras")
    (picture,) = seen.generate()
    body = ask(PROMPT, negative_prompt="blue", width=96, steps=12, cfg_scale=4.5, seed=7)
    (wanted,) = place.call("/sdapi/v1/txt2img", body | {"sampler_name": "DPM++ 2M", "scheduler": "Karras"})[
        "images"
    ]
    assert picture.info["parameters"] == image(wanted).info["parameters"]
    assert np.array_equal(pixels_of(picture), pixels(wanted))


def test_a_vae_and_clip_skip_are_this_requests(seen: Visit, place: Place) -> None:
    seen.small(PROMPT)
    seen.choose("VAE", re.compile("demo-vae"), seen.page.locator("body"))
    seen.enter("Clip skip", 2, seen.page.locator("body"))
    (picture,) = seen.generate()
    options = {"sd_vae": "demo-vae.safetensors", "CLIP_stop_at_last_layers": 2}
    (wanted,) = place.call("/sdapi/v1/txt2img", ask(PROMPT, override_settings=options))["images"]
    assert np.array_equal(pixels_of(picture), pixels(wanted))
    assert place.call("/sdapi/v1/options")["CLIP_stop_at_last_layers"] == 1


def test_the_seed_of_the_last_picture_is_used_again(seen: Visit) -> None:
    seen.small(PROMPT)
    seen.press("Random seed")
    expect(seen.labelled("Seed")).to_have_value("-1")
    first, second = seen.generate()[0], seen.generate()[0]
    assert not np.array_equal(pixels_of(first), pixels_of(second))
    seen.press("Reuse seed")
    expect(seen.labelled("Seed")).not_to_have_value("-1")
    assert f"Seed: {seen.labelled('Seed').input_value()}," in second.info["parameters"]
    (again,) = seen.generate()
    assert np.array_equal(pixels_of(second), pixels_of(again))


def test_a_batch_of_two_by_two_is_four_pictures_of_four_seeds(seen: Visit) -> None:
    seen.small(PROMPT, Batch_count=2, Batch_size=2)
    pictures = seen.generate(4)
    told = sorted(picture.info["parameters"].partition("Seed: ")[2].partition(",")[0] for picture in pictures)
    assert told == ["1", "2", "3", "4"]


def test_width_and_height_change_places(seen: Visit) -> None:
    seen.small(PROMPT, Width=64, Height=96)
    seen.press("Swap width and height")
    expect(seen.labelled("Width")).to_have_value("96")
    (picture,) = seen.generate()
    assert picture.size == (96, 64)


def test_hires_fix_makes_the_picture_larger(seen: Visit, place: Place) -> None:
    seen.small(PROMPT)
    seen.tick("Hires. fix")
    hires = seen.part("hires")
    seen.choose("Upscaler", UPSCALER, hires)
    for label, value in {"Upscale by": 2, "Hires steps": 8, "Denoising strength": 0.3}.items():
        seen.enter(label, value, hires)
    (picture,) = seen.generate()
    assert picture.size == (128, 128)
    body = ask(PROMPT, enable_hr=True, hr_scale=2, hr_upscaler=UPSCALER, hr_second_pass_steps=8)
    (wanted,) = place.call("/sdapi/v1/txt2img", body | {"denoising_strength": 0.3})["images"]
    assert np.array_equal(pixels_of(picture), pixels(wanted))


def test_what_is_refused_is_told_beside_its_field_and_goes_away(seen: Visit) -> None:
    seen.small(f"{PROMPT} <lora:no-such-file:1>")
    seen.press("Generate")
    expect(seen.part("prompt")).to_contain_text("no-such-file")
    assert "Traceback" not in seen.page.locator("body").inner_text()
    assert seen.shown() == []
    # By its place, as the sentence is part of the field's name now.
    seen.part("prompt").locator("textarea").fill(PROMPT)
    seen.generate()
    expect(seen.part("prompt")).not_to_contain_text("no-such-file")


def test_control_and_enter_generate(seen: Visit) -> None:
    seen.small(PROMPT)
    before = set(seen.shown())
    seen.labelled("Prompt").press("Control+Enter")
    assert len(seen.await_pictures(before)) == 1
