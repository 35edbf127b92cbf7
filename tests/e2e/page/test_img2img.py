"""What begins with a picture: img2img, inpainting with a drawn and an uploaded mask, upscaling, PNG info."""

import base64
import re

import numpy as np
import pytest
from browsing import Visit, encoded, pixels_of
from page_pod import Place
from PIL import Image
from playwright.sync_api import expect
from shapes import agreement, ask, pixels

PROMPT = "a large red circle on a white background"
OTHER = "a large blue circle on a white background"
UPSCALER = "realesr-animevideov3-x4"


@pytest.fixture(scope="module")
def first(place: Place) -> str:
    """A picture by the API, in base64."""
    return str(place.call("/sdapi/v1/txt2img", ask(PROMPT))["images"][0])


def decoded(picture: str) -> bytes:
    """The picture's file."""
    return base64.b64decode(picture)


def test_img2img_begins_with_the_picture(seen: Visit, place: Place, first: str) -> None:
    seen.go("img2img")
    seen.give(decoded(first), seen.part("init_images"))
    seen.small(OTHER)
    seen.enter("Denoising strength", 0.7)
    (picture,) = seen.generate()
    body = ask(OTHER, init_images=[first], denoising_strength=0.7)
    (wanted,) = place.call("/sdapi/v1/img2img", body)["images"]
    assert np.array_equal(pixels_of(picture), pixels(wanted))


def test_only_what_was_drawn_over_is_drawn_anew(seen: Visit, first: str) -> None:
    seen.go("img2img")
    seen.inner("Inpaint")
    seen.give(decoded(first), seen.part("inpaint"))
    seen.small("a large blue star on a white background")
    seen.fill(Denoising_strength=0.95, Mask_blur=0)
    seen.draw(seen.part("inpaint"), [(0.75, 0.2), (0.75, 0.8)], side=64, radius=6)
    (picture,) = seen.generate()
    change = np.abs(pixels_of(picture) - pixels(first)).max(axis=2)
    assert change[:, 44:].mean() > 5
    assert change[:, :28].max() <= 1


def test_only_an_uploaded_masks_white_is_drawn_anew(seen: Visit, place: Place, first: str) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (40, 0, 64, 64))
    seen.go("img2img")
    seen.inner("Inpaint upload")
    seen.give(decoded(first), seen.part("upload-image"))
    seen.give(mask, seen.part("upload-mask"))
    seen.small("a large blue star on a white background")
    seen.fill(Denoising_strength=0.9, Mask_blur=0)
    (picture,) = seen.generate()
    change = np.abs(pixels_of(picture) - pixels(first)).max(axis=2)
    assert change[:, :40].max() <= 1
    assert change[:, 44:].mean() > 5


def test_extras_make_a_picture_larger(seen: Visit, place: Place, first: str) -> None:
    seen.go("Extras")
    seen.give(decoded(first), seen.part("image"))
    seen.choose("Upscaler 1", UPSCALER)
    seen.enter("Resize", 4)
    (picture,) = seen.generate()
    body = {"image": first, "upscaler_1": UPSCALER, "upscaling_resize": 4}
    assert picture.size == (256, 256)
    assert np.array_equal(
        pixels_of(picture), pixels(place.call("/sdapi/v1/extra-single-image", body)["image"])
    )


def test_png_info_is_read_and_sent_to_txt2img(seen: Visit, place: Place) -> None:
    body = ask(
        PROMPT, seed=11, steps=9, cfg_scale=4, negative_prompt="blue", width=96, sampler_name="DPM++ 2M"
    )
    (made,) = place.call("/sdapi/v1/txt2img", body | {"scheduler": "Karras"})["images"]
    seen.go("PNG info")
    seen.give(decoded(made), seen.part("image"))
    expect(seen.parameters()).to_have_value(re.compile(r"Steps: 9, Sampler: DPM\+\+ 2M"))
    seen.press("Send to txt2img")
    seen.tab = "txt2img"
    wanted = {"Prompt": PROMPT, "Negative prompt": "blue", "Sampling steps": "9", "CFG scale": "4"}
    wanted |= {
        "Width": "96",
        "Height": "64",
        "Seed": "11",
        "Sampling method": "DPM++ 2M",
        "Schedule type": "Karras",
    }
    for label, value in wanted.items():
        expect(seen.labelled(label)).to_have_value(value)
    (picture,) = seen.generate()
    assert np.array_equal(pixels_of(picture), pixels(made))


def test_a_picture_is_sent_on_to_the_other_tabs(seen: Visit) -> None:
    seen.small(PROMPT)
    seen.generate()
    for name, tab, part in (
        ("Send to img2img", "img2img", "init_images"),
        ("Send to inpaint", "img2img", "inpaint"),
        ("Send to extras", "extras", "image"),
        ("Send to PNG info", "png-info", "image"),
    ):
        seen.go("txt2img")
        seen.press(name)
        seen.tab = tab
        expect(seen.part(part).locator("img, canvas").filter(visible=True).first).to_be_visible()
    expect(seen.parameters()).to_have_value(re.compile("Steps: 20, Sampler: Euler"))
    seen.go("img2img")
    expect(seen.labelled("Prompt")).to_have_value(PROMPT)


def test_the_gallery_keeps_this_visits_pictures_and_how_they_were_made(seen: Visit) -> None:
    seen.small(PROMPT)
    seen.generate()
    seen.small(OTHER, Seed=2)
    seen.generate()
    seen.go("Gallery")
    thumbnails = seen.part("gallery").get_by_role("button", name="Thumbnail").filter(visible=True)
    expect(thumbnails).to_have_count(2)
    kept = seen.pictures_of_gallery()
    assert all(each["colour"] for each in agreement([encoded(each) for each in kept], [OTHER, PROMPT]))
    thumbnails.last.click()
    expect(seen.parameters()).to_have_value(re.compile(f"^{PROMPT}\n.*Steps: 20, Sampler: Euler.*Seed: 1,"))


def test_a_file_that_is_no_picture_is_told_of_at_once(seen: Visit) -> None:
    told = "The file is not a picture that can be read."
    seen.go("img2img")
    seen.give(b"just a text", seen.part("init_images"))
    expect(seen.part("pictures-alert")).to_have_text(re.compile(told))
    seen.inner("Inpaint")
    seen.give(b"just a text", seen.part("inpaint"))
    beside = seen.panel.get_by_role("alert").filter(visible=True, has_text=told)
    expect(beside).to_have_count(1)
    seen.give(Image.new("RGB", (64, 64), "red"), seen.part("inpaint"))
    expect(beside).to_have_count(0)
