"""Units offer what the server has, and keep what their visitor has set."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import page_answers as answers
import pytest
from gradio.components.base import Component
from PIL import Image

from sd_page import catalogue, units, words, words_cards, words_control
from sd_page.api import Door, Refused
from sd_page.layout import cards, control
from sd_page.layout.control import Units
from sd_page.layout.form import Form, as_text
from sd_page.layout.unit import Unit
from sd_page.units import place


async def _nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nothing is asked here")


class Page:
    """The units of a tab, as the page has them."""

    def __init__(self, tab: str) -> None:
        self.form = Form(tab)
        with gr.Blocks() as self.blocks:
            checkpoint = gr.Dropdown()
            self.units: Units = control.control(self.form, Door(_nobody), checkpoint, most_pixels=64)
            self.cards = cards.cards(tab)

    def blocks_of(self, unit: int) -> Unit:
        """The components of a unit."""
        return self.units._units[unit]

    def of(self, updates: Mapping[Any, Any], field: str, unit: int = 0) -> Any:
        """What is done to a field."""
        return updates.get(self.form[place(unit, field)], {})

    def given(self, unit: int = 0, **chosen: str) -> dict[Component, Any]:
        """What stands in the dropdowns: of one unit what was chosen, of others what they begin with."""
        values: dict[Component, Any] = {part: part.value for part in self.units.inputs}
        return values | {self.form[place(unit, field)]: value for field, value in chosen.items()}


def built(tab: str) -> Page:
    """Gradio begins an event loop, and leaves it open, where it finds none running."""

    async def build() -> Page:
        return Page(tab)

    return asyncio.run(build())


@pytest.fixture(scope="module")
def page() -> Page:
    """That of txt2img; no test changes it."""
    return built("txt2img")


@pytest.mark.parametrize("count", [1, 2, units.MOST])
def test_there_are_as_many_units_as_the_server_takes(page: Page, count: int) -> None:
    updates = page.units.refill(answers.known(units=count), page.given(), "en")
    shown = [update["visible"] for part, update in updates.items() if isinstance(part, gr.Tab)]
    assert shown == [True] * count + [False] * (units.MOST - count)


def test_what_was_chosen_stays_with_its_numbers(page: Page) -> None:
    given = page.given(module="canny", model=answers.CANNY)
    updates = page.units.refill(answers.known(), given, "en")
    assert page.of(updates, "module")["value"] == "canny"
    assert page.of(updates, "model")["value"] == answers.CANNY
    assert page.of(updates, "threshold_a") == {}


def test_what_is_gone_gives_way_to_what_the_type_stands_for(page: Page) -> None:
    given = page.given(module="removed", model="removed [0]")
    updates = page.units.refill(answers.known(), given, "en")
    assert (page.of(updates, "module")["value"], page.of(updates, "model")["value"]) == ("none", "None")
    assert page.of(updates, "threshold_a")["visible"] is False


def test_a_controlnet_that_no_longer_fits_stays_and_says_why(page: Page) -> None:
    given = page.given(module="canny", model=answers.XL)
    updates = page.units.refill(answers.known(), given, "en")
    assert page.of(updates, "model")["value"] == answers.XL
    told = [
        each["value"] for part, each in updates.items() if isinstance(part, gr.Markdown) and each["value"]
    ]
    assert told == ["This ControlNet cannot be used: It is for SDXL; the checkpoint is for SD15."]


_INFOTEXT = f"Module: canny, Model: {answers.CANNY}, Weight: 0.5, Processor Res: 256, Threshold A: 7"


def test_infotext_fills_a_unit_with_its_numbers_in_the_modules_bounds(page: Page) -> None:
    values = units.of_infotext({"ControlNet 0": _INFOTEXT})
    updates = page.units.fill(values, answers.known(), "en")
    assert page.of(updates, "enabled")["value"] is True
    assert page.of(updates, "weight")["value"] == 0.5
    assert page.of(updates, "module")["value"] == "canny"
    resolution, low, high = (page.of(updates, f) for f in ("processor_res", "threshold_a", "threshold_b"))
    assert (resolution["value"], resolution["maximum"]) == (256, 2048)
    assert (low["value"], low["label"]) == (7, "Low Threshold")
    # Infotext says nothing of it: the module's default.
    assert high["value"] == 200


def test_infotext_turns_other_units_off(page: Page) -> None:
    updates = page.units.fill(units.of_infotext({"ControlNet 0": _INFOTEXT}), answers.known(), "en")
    assert page.of(updates, "enabled", unit=1)["value"] is False


def test_a_unit_that_is_on_beyond_what_the_server_takes_can_be_seen(page: Page) -> None:
    updates = page.units.fill(units.of_infotext({"ControlNet 2": _INFOTEXT}), answers.known(units=1), "en")
    assert [each for part, each in updates.items() if isinstance(part, gr.Tab)] == [gr.update(visible=True)]


def _sentences(updates: Mapping[Any, Any]) -> list[str]:
    return [
        each["value"] for part, each in updates.items() if isinstance(part, gr.Markdown) and each["value"]
    ]


@pytest.mark.parametrize(("count", "told"), [(units.MOST, 0), (units.MOST + 4, 1)])
def test_a_page_with_fewer_units_than_the_server_takes_says_so(page: Page, count: int, told: int) -> None:
    updates = page.units.refill(answers.known(units=count), page.given(), "en")
    assert _sentences(updates) == ["This server takes 7 units at a time; this page has 3."] * told


def test_units_of_infotext_that_the_page_does_not_have_are_not_left_out_in_silence(page: Page) -> None:
    values = units.of_infotext({"ControlNet 9": _INFOTEXT})
    (told,) = _sentences(page.units.fill(values, answers.known(), "en"))
    assert "those beyond 3 are left out" in told


def test_updates_are_of_what_was_announced(page: Page) -> None:
    announced = {*page.units.outputs, *page.form.outputs}
    filled = page.units.fill(units.of_infotext({"ControlNet 0": _INFOTEXT}), answers.known(), "en")
    assert set(page.units.refill(answers.known(), page.given(), "en")) <= set(page.units.outputs)
    assert set(filled) <= announced


def test_units_of_img2img_know_nothing_of_hires_fix() -> None:
    assert place(0, "hr_option") not in built("img2img").form


def test_refusals_of_pictures_stand_beside_them(page: Page) -> None:
    form = page.form
    for field in ("image.1.image", "mask", "module", "model"):
        refused = _refused(place(2, field))
        complaint = form.complaint(refused)
        assert complaint is not None
        _, updates = complaint
        ((part, update),) = updates.items()
        assert isinstance(part, gr.Markdown)
        assert update["value"] == as_text(refused.detail)


def test_a_units_picture_that_cannot_be_used_is_told_of_beside_it(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("L", (9, 9)).save(large)
    each = page.blocks_of(0)
    for field, note in (("image", each.image_note), ("mask", each.mask_note)):
        ((part, update),) = control.unusable(page.form, each, {place(0, field): str(large)}, 64, "en").items()
        assert part is note
        assert "9x9 pixels" in update["value"]
    assert control.unusable(page.form, each, {place(0, "image"): str(large)}, 81, "en") == {}


def _refused(field: str) -> Refused:
    return Refused(422, "Unsupported", f"{field}: no", field)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("__type__") == "translation_metadata":
            yield value["key"]
        for each in value.values():
            yield from _keys(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _keys(each)
    elif isinstance(value, gr.i18n.I18nData):
        yield value.key


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_every_label_is_there_in_english_and_chinese(tab: str) -> None:
    used = set(_keys(built(tab).blocks.get_config_file()))
    assert len(used) > 20
    for known in (words_control.EN | words_cards.EN, words_control.ZH | words_cards.ZH):
        assert used <= set(known)


_MARKS = ("R!", "T!", "N!", "C!", "M!")


@pytest.mark.parametrize("part", [words_control, words_cards])
def test_sentences_have_the_same_places_for_values_in_every_language(part: Any) -> None:
    for key in part.SENTENCES:
        english, chinese = (
            part.sentence(language, key, reason="R!", text="T!", name="N!", count="C!", most="M!")
            for language in (words.ENGLISH, words.CHINESE)
        )
        assert [mark in english for mark in _MARKS] == [mark in chinese for mark in _MARKS]
        assert english != chinese


def test_choices_begin_with_what_every_server_has(page: Page) -> None:
    begun = page.given()
    assert {begun[part] for part in page.units.inputs} == {
        catalogue.ALL,
        catalogue.NO_MODULE,
        catalogue.NO_NETWORK,
    }
