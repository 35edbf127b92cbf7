"""Units go to the interface as it takes them, and come back from infotext as they were."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd_page import units
from sd_page.units import place
from sd_runtime.a1111.controlnet import reading


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two pictures, as they were uploaded."""
    for name in ("first.png", "second.png"):
        Image.new("RGB", (8, 8), "red" if name == "first.png" else "blue").save(tmp_path / name)
    return [str(tmp_path / "first.png"), str(tmp_path / "second.png")]


def _values(unit: int = 0, **fields: Any) -> dict[str, Any]:
    usual = {
        "enabled": True,
        "module": "canny",
        "model": "demo-canny [e4d3f11f]",
        "weight": 0.7,
        "guidance_start": 0.1,
        "guidance_end": 0.8,
        "control_mode": 2,
        "resize_mode": 2,
        "pixel_perfect": True,
        "processor_res": 512,
        "threshold_a": 50,
        "threshold_b": -1,
        "hr_option": "Low res only",
        "source": units.SINGLE,
        "image": None,
        "image_set": None,
        "mask": None,
    }
    return {place(unit, field): value for field, value in (usual | fields).items()}


def _read(args: list[dict[str, Any]]) -> tuple[Any, ...]:
    return reading.units({"controlnet": {"args": args}})


def _colour(text: str) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB").getpixel((0, 0))


def test_the_interface_understands_every_field(files: list[str]) -> None:
    (unit,) = _read(units.args(_values(image=files[0])))
    assert (unit.is_active, unit.module, unit.model) == (True, "canny", "demo-canny [e4d3f11f]")
    assert (unit.weight, unit.guidance_start, unit.guidance_end) == (0.7, 0.1, 0.8)
    assert (unit.control_mode, unit.resize_mode, unit.hr_option) == (2, 2, "Low res only")
    assert (unit.pixel_perfect, unit.processor_res, unit.threshold_a, unit.threshold_b) == (True, 512, 50, -1)


def test_one_picture_goes_with_its_mask(files: list[str]) -> None:
    (unit,) = _read(units.args(_values(image=files[0], mask=files[1])))
    (sent,) = reading.sent(0, unit)
    assert sent.mask is not None
    assert (_colour(sent.image), _colour(sent.mask)) == ((255, 0, 0), (0, 0, 255))


def test_a_set_goes_in_its_order_and_leaves_single_picture_and_mask_out(files: list[str]) -> None:
    shown = [(files[1], None), (files[0], "a caption")]
    values = _values(source=units.SET, image_set=shown, image=files[0], mask=files[0])
    (unit,) = _read(units.args(values))
    sent = reading.sent(0, unit)
    assert [_colour(each.image) for each in sent] == [(0, 0, 255), (255, 0, 0)]
    assert [each.mask for each in sent] == [None, None]


@pytest.mark.parametrize("source", [units.SINGLE, units.SET])
def test_a_unit_without_picture_leaves_it_to_the_interface(source: str) -> None:
    (unit,) = _read(units.args(_values(source=source)))
    assert unit.is_active
    assert reading.sent(0, unit) == ()


def test_units_keep_their_numbers_in_refusals() -> None:
    values = _values(0, enabled=False) | _values(1) | _values(2, enabled=False)
    assert [unit.is_active for unit in _read(units.args(values))] == [False, True]


def test_nothing_is_sent_of_units_that_are_all_off() -> None:
    assert units.args(_values(0, enabled=False) | _values(3, enabled=False)) == []


def test_the_preview_is_of_every_picture_of_a_set(files: list[str]) -> None:
    body = units.detection(1, _values(1, source=units.SET, image_set=files))
    assert [_colour(each) for each in body["controlnet_input_images"]] == [(255, 0, 0), (0, 0, 255)]
    assert (body["controlnet_module"], body["controlnet_processor_res"]) == ("canny", 512)
    assert "controlnet_masks" not in body


def test_the_preview_is_given_the_mask_of_a_picture(files: list[str]) -> None:
    body = units.detection(0, _values(image=files[0], mask=files[1]))
    assert [_colour(each) for each in body["controlnet_masks"]] == [(0, 0, 255)]


_TEXT = (
    "Module: canny, Model: demo, with Weight [e4d3f11f], Weight: 0.7, Resize Mode: Resize and Fill, "
    "Processor Res: 512, Threshold A: 50, Threshold B: 200, Guidance Start: 0.1, Guidance End: 0.8, "
    "Pixel Perfect: True, Control Mode: ControlNet is more important, Hr Option: Low res only"
)


def test_infotext_sets_every_field() -> None:
    values = units.of_infotext({"Steps": "20", "ControlNet 1": _TEXT})
    told = {field: values[place(1, field)] for field in ("enabled", *units.TOLD)}
    assert told == {
        "enabled": True,
        "module": "canny",
        "model": "demo, with Weight [e4d3f11f]",
        "weight": 0.7,
        "resize_mode": 2,
        "processor_res": 512,
        "threshold_a": 50,
        "threshold_b": 200,
        "guidance_start": 0.1,
        "guidance_end": 0.8,
        "pixel_perfect": True,
        "control_mode": 2,
        "hr_option": "Low res only",
    }


def test_units_that_infotext_does_not_tell_of_are_off() -> None:
    values = units.of_infotext({"ControlNet 1": _TEXT})
    assert [values[place(unit, "enabled")] for unit in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Module: none, Weight: heavy", "weight"),
        ("Module: none, Resize Mode: Sideways", "resize_mode"),
        ("", "module"),
    ],
)
def test_what_cannot_be_read_of_infotext_is_left_as_it_is(text: str, field: str) -> None:
    values = units.of_infotext({"ControlNet 0": text})
    assert place(0, field) not in values


def test_units_beyond_all_bounds_are_passed_over() -> None:
    values = units.of_infotext({"ControlNet 10": _TEXT, "ControlNet": _TEXT})
    assert not any(values.values())
