"""ControlNet's units on the page: a control type fills in the rest, the map is shown and obeyed."""

import re

import numpy as np
import torch
from browsing import Visit
from page_pod import Place
from PIL import Image
from playwright.sync_api import Locator, expect

from demo.draw import control
from demo.judge import edges
from demo.train import controlnet

#: Of the ids of a unit's elements.
PART = "alwayson_scripts-controlnet-args"


def drawn() -> tuple[Image.Image, str]:
    """A figure turned and moved, and a prompt that does not say where it is."""
    figures, shown = controlnet.control_pictures(1, seed=900_002)
    return Image.fromarray(figures[0].permute(1, 2, 0).numpy()), controlnet.prompt(shown[0])


def unit(seen: Visit, number: int = 1) -> Locator:
    """The unit's part of the tab, open and enabled."""
    seen.unfold("ControlNet")
    seen.page.get_by_role("tab", name=f"Unit {number}").filter(visible=True).click()
    found = seen.part(f"{PART}-{number - 1}-tab")
    seen.tick("Enable", found)
    return found


def followed(picture: Image.Image, source: Image.Image) -> float:
    """F1 of the picture's edges against those of the source."""
    shown, asked = (np.array(each.convert("RGB")) for each in (picture, source))
    return edges.agreement(torch.from_numpy(shown).permute(2, 0, 1), torch.from_numpy(control.canny(asked)))


def test_a_control_type_fills_in_preprocessor_and_model(seen: Visit) -> None:
    first = unit(seen)
    seen.choose("Control type", re.compile("^(✓ )?Canny"), first)
    expect(seen.labelled("Preprocessor", first)).to_have_value(re.compile("canny", re.I))
    expect(seen.labelled("Model", first)).to_have_value(re.compile("demo-canny"))


def test_a_button_shows_what_the_preprocessor_makes(seen: Visit) -> None:
    source, _ = drawn()
    first = unit(seen)
    seen.give(source, seen.part(f"{PART}-0-image"))
    seen.choose("Control type", re.compile("^(✓ )?Canny"), first)
    seen.enter("Resolution", 64, first)
    seen.press("Run preprocessor", first)
    preview = seen.part(f"{PART}-0-preview").locator("button img").first
    expect(preview).to_be_visible(timeout=60_000)
    shown = np.asarray(seen.open(str(preview.get_attribute("src"))).convert("L")) > 127
    assert 0.01 < shown.mean() < 0.3


def test_the_picture_obeys_the_edges(seen: Visit, place: Place) -> None:
    source, prompt = drawn()
    first = unit(seen)
    seen.give(source, seen.part(f"{PART}-0-image"))
    seen.choose("Control type", re.compile("^(✓ )?Canny"), first)
    seen.tick("Pixel perfect", first)
    seen.small(prompt)
    made = seen.generate(2)
    (picture,) = [each for each in made if "parameters" in each.info]
    assert followed(picture, source) >= 0.8
    assert 'ControlNet 0: "Module: canny, Model: demo-canny [' in picture.info["parameters"]
    seen.enter("Control weight", 0, first)
    without = seen.generate()[0]
    assert followed(without, source) < 0.7
