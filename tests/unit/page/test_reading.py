"""What the interface's answers mean to the page."""

import base64
import json
from typing import Any

import pytest

from sd_page import reading

TITLES = ["a.safetensors [1111111111]", "sub/b.safetensors [2222222222]", "new.safetensors"]


@pytest.mark.parametrize(
    ("parameters", "values"),
    [
        ({}, {}),
        (
            {"Prompt": "a cat", "Steps": "7", "CFG scale": "2.5", "Seed": "9", "Size-1": "64",
             "Size-2": "96"},
            {"prompt": "a cat", "negative_prompt": "", "steps": 7, "cfg_scale": 2.5, "seed": 9, "width": 64,
             "height": 96, "enable_hr": False},
        ),
        (
            {"Hires upscale": "2", "Hires upscaler": "Latent", "Denoising strength": "0.4"},
            {"hr_scale": 2.0, "hr_upscaler": "Latent", "denoising_strength": 0.4, "enable_hr": True},
        ),
        ({"Steps": "many", "Seed": "3"}, {"seed": 3, "enable_hr": False}),
        (
            {"Clip skip": "2", "VAE": "x.safetensors"},
            {"override_settings.CLIP_stop_at_last_layers": 2, "override_settings.sd_vae": "x.safetensors",
             "enable_hr": False},
        ),
        ({"Masked content": "latent noise"}, {"inpainting_fill": 2}),
        ({"Inpaint area": "Only masked"}, {"inpaint_full_res": True}),
        ({"Inpaint area": "Whole picture"}, {"inpaint_full_res": False}),
        ({"Model": "b"}, {"override_settings.sd_model_checkpoint": TITLES[1]}),
        ({"Model": "unknown here", "Model hash": "3333333333"}, {}),
    ],
)  # fmt: skip
def test_what_a_picture_tells_fills_the_form(parameters: dict[str, str], values: dict[str, Any]) -> None:
    assert reading.form_values(parameters, TITLES) == values


@pytest.mark.parametrize(
    ("parameters", "title"),
    [
        ({"Model hash": "2222222222", "Model": "a"}, TITLES[1]),
        ({"Model": "new"}, TITLES[2]),
        ({"Model": ""}, None),
    ],
)
def test_a_checkpoint_is_known_by_its_hash_before_its_name(
    parameters: dict[str, str], title: str | None
) -> None:
    assert reading.title_of(parameters, TITLES) == title


@pytest.mark.parametrize(
    ("told", "values", "too_large"),
    [
        ({"Seed": str(2**53 - 1)}, {"seed": 2**53 - 1}, []),
        ({"Seed": str(2**53)}, {}, ["seed"]),
        ({"Seed": "-9007199254740993"}, {}, ["seed"]),
        ({"Seed": "000000000000000000012"}, {"seed": 12}, []),
        ({"Seed": "9" * 23, "Steps": "20"}, {"steps": 20}, ["seed"]),
        ({"Size-1": "9" * 6000}, {}, ["width"]),
        ({"CFG scale": "1e999"}, {}, []),
        ({"CFG scale": "nan"}, {}, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_numbers_that_no_browser_can_show_are_left_out_and_told_of(
    told: dict[str, str], values: dict[str, Any], too_large: list[str]
) -> None:
    read = reading.form_values(told)
    read.pop("enable_hr", None)
    assert read == values
    assert reading.too_large(told) == too_large


@pytest.mark.parametrize(
    ("infotext", "seed"),
    [
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 12, Size: 64x64", 12),
        ("Seed: 1, the prompt says\nSteps: 20, Seed: 12", 12),
        ("a cat", None),
        ("", None),
    ],
)
def test_the_seed_is_read_off_the_infotext(infotext: str, seed: int | None) -> None:
    assert reading.seed_of(infotext) == seed


def test_pictures_have_the_infotext_of_their_place_and_maps_have_none() -> None:
    images = [base64.b64encode(each).decode() for each in (b"one", b"two", b"map")]
    answer = {"images": images, "info": json.dumps({"infotexts": ["first", "second"]})}
    assert [(each.data, each.infotext) for each in reading.pictures(answer)] == [
        (b"one", "first"),
        (b"two", "second"),
        (b"map", ""),
    ]


def test_extras_answer_with_one_picture() -> None:
    (made,) = reading.pictures({"html_info": "", "image": base64.b64encode(b"large").decode()})
    assert made.data == b"large"


@pytest.mark.parametrize(
    ("chosen", "otherwise", "kept"),
    [("b", None, "b"), ("gone", "a", "a"), ("gone", "also gone", "a"), (None, "b", "b"), (None, None, "a")],
)
def test_a_choice_stays_as_long_as_it_is_there(chosen: str | None, otherwise: str | None, kept: str) -> None:
    assert reading.kept(chosen, ["a", "b"], otherwise) == kept
    assert reading.kept(chosen, [], otherwise) is None


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\x89PNG\r\n", "png"),
        (b"\xff\xd8\xff", "jpg"),
        (b"RIFF0000WEBP", "webp"),
        (b"GIF89a", "gif"),
        (b"", "bin"),
    ],
)
def test_a_file_is_named_for_what_it_is(head: bytes, ending: str) -> None:
    assert reading.ending_of(head) == ending


@pytest.mark.parametrize(
    ("family", "side"), [("SD15", 512), ("SDXL", 1024), (None, 512), ("unheard of", 512)]
)
def test_pictures_begin_with_the_familys_size(family: str | None, side: int) -> None:
    assert reading.side_of(family) == side
    assert reading.is_a_default(side, side)
    assert not reading.is_a_default(side, side + 8)


@pytest.mark.parametrize(
    ("count", "told"), [(5, "5 B"), (2048, "2 KiB"), (26137334, "24.9 MiB"), (2**31, "2 GiB")]
)
def test_sizes_are_told_in_a_few_digits(count: int, told: str) -> None:
    assert reading.size_in_words(count) == told
