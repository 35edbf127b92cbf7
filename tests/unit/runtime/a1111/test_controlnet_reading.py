"""Units of ControlNet as clients spell them: what is understood, and what is refused under which name."""

import json

import pytest

from sd_runtime.a1111.controlnet import reading
from sd_runtime.a1111.controlnet.reading import Sent
from sd_runtime.a1111.schemas.unit import CONTROL_MODES, RESIZE_MODES
from sd_runtime.errors import UnsupportedError
from sd_runtime.tasks.control import ControlMode
from sd_runtime.tasks.recipe import ResizeMode

ARGS = "alwayson_scripts.controlnet.args"


def units(*args, name="controlnet"):
    return reading.units({name: {"args": list(args)}})


def unit(**fields):
    (found,) = units(fields)
    return found


def refused(*args):
    with pytest.raises(UnsupportedError) as caught:
        units(*args)
    return caught.value


@pytest.mark.parametrize("name", ["controlnet", "ControlNet", "CONTROLNET"])
def test_the_scripts_name_may_be_written_in_any_case(name):
    assert len(units({"model": "a"}, name=name)) == 1


@pytest.mark.parametrize("scripts", [{}, {"controlnet": {}}, {"controlnet": {"args": None}}, {"other": 1}])
def test_without_args_there_are_no_units(scripts):
    assert reading.units(scripts) == ()


def test_a_script_that_says_something_but_no_args_is_refused():
    with pytest.raises(UnsupportedError, match=r'^alwayson_scripts\.controlnet: .* allowed: {"args": '):
        reading.units({"controlnet": {"arg": [{"model": "a"}]}})


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"guidance": 0.5}, "guidance_end", 0.5),
        ({"lowvram": True}, "low_vram", True),
        ({"input_image": "abc"}, "image", "abc"),
        ({"mask_image": "abc"}, "mask", "abc"),
        ({"weight": "0.5"}, "weight", 0.5),
        ({"processor_res": 512.0}, "processor_res", 512),
        ({"pixel_perfect": None}, "pixel_perfect", False),
        ({"hr_option": "high res only"}, "hr_option", "High res only"),
        *(({"resize_mode": int(mode)}, "resize_mode", mode) for mode in RESIZE_MODES),
        *(({"resize_mode": name}, "resize_mode", mode) for mode, name in RESIZE_MODES.items()),
        ({"resize_mode": "Scale to Fit (Inner Fit)"}, "resize_mode", ResizeMode.CROP),
        ({"resize_mode": "Inner Fit (Scale to Fit)"}, "resize_mode", ResizeMode.CROP),
        ({"resize_mode": "Envelope (Outer Fit)"}, "resize_mode", ResizeMode.FILL),
        ({"resize_mode": "Outer Fit (Shrink to Fit)"}, "resize_mode", ResizeMode.FILL),
        *(({"control_mode": int(mode)}, "control_mode", mode) for mode in CONTROL_MODES),
        *(({"control_mode": name}, "control_mode", mode) for mode, name in CONTROL_MODES.items()),
        ({"control_mode": "my prompt is more important"}, "control_mode", ControlMode.PROMPT),
        ({"advanced": 1, "batch_mask_gallery": [], "weight": 1}, "weight", 1),
    ],
)
def test_every_spelling_of_a_field_is_understood(given, field, value):
    assert getattr(unit(**given), field) == value


@pytest.mark.parametrize(
    ("given", "is_active"),
    [
        ({"model": "a"}, True),
        ({"model": "a", "enabled": None}, True),
        ({"model": "a", "enabled": True}, True),
        ({"model": "a", "enabled": False}, False),
        ({}, False),
        ({"a key that nobody knows": 1}, True),
        ({"Module": "canny"}, True),
        ({"a key that nobody knows": None}, False),
        (None, False),
    ],
)
def test_a_unit_is_on_where_it_says_anything_and_not_that_it_is_off(given, is_active):
    assert units(given)[0].is_active is is_active


@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"weight": 2.5}, "weight", "2.5"),
        ({"weight": -0.1}, "weight", "-0.1"),
        ({"weight": "much"}, "weight", "'much'"),
        ({"weight": float("nan")}, "weight", "nan"),
        ({"guidance_start": 1.5}, "guidance_start", "1.5"),
        ({"guidance": -1}, "guidance_end", "-1"),
        ({"resize_mode": 3}, "resize_mode", "Resize and Fill"),
        ({"resize_mode": "Zoom"}, "resize_mode", "Crop and Resize"),
        ({"resize_mode": True}, "resize_mode", "Crop and Resize"),
        ({"control_mode": "mine"}, "control_mode", "Balanced"),
        ({"control_mode": {}}, "control_mode", "Balanced"),
        ({"hr_option": 1}, "hr_option", "Low res only"),
        ({"module": 5}, "module", "5"),
        ({"pixel_perfect": "perhaps"}, "pixel_perfect", "perhaps"),
        ({"guidance": 1, "guidance_end": 1}, "guidance_end", "not both"),
        ({"input_image": "a", "image": "b"}, "image", "not both"),
        ({"model": "\ud800"}, "model", "surrogate"),
    ],
)
def test_a_wrong_value_is_refused_under_its_place(given, field, told):
    error = refused({}, given)
    assert error.field == f"{ARGS}.1.{field}"
    assert told in str(error)


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["canny"], f"{ARGS}.0"),
        ([True, "canny", 1.0], f"{ARGS}.0"),
        ([{}, ["canny"]], f"{ARGS}.1"),
        ([{}] * 11, ARGS),
    ],
)
def test_what_is_no_unit_is_refused(args, field):
    assert refused(*args).field == field


@pytest.mark.parametrize(
    "scripts",
    [
        {"controlnet": []},
        {"controlnet": None},
        {"controlnet": {"args": {"model": "a"}}},
        {"controlnet": {"args": "a"}},
        {"controlnet": {"args": []}, "ControlNet": {"args": []}},
    ],
)
def test_a_script_of_another_form_is_refused(scripts):
    with pytest.raises(UnsupportedError, match=r"^alwayson_scripts"):
        reading.units(scripts)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"image": "a"}, [("image", "a", "mask", None)]),
        ({"image": "a", "mask": "m"}, [("image", "a", "mask", "m")]),
        ({"image": "", "mask": ""}, []),
        ({"image": None}, []),
        ({"image": {"image": "a", "mask": "m"}}, [("image.image", "a", "image.mask", "m")]),
        ({"image": {"image": "a"}}, [("image.image", "a", "image.mask", None)]),
        ({"image": ["a", "m"]}, [("image.0", "a", "image.1", "m")]),
        ({"image": ["a", None]}, [("image.0", "a", "image.1", None)]),
        (
            {"image": [{"image": "a"}, {"image": "b", "mask": "m"}]},
            [("image.0.image", "a", "image.0.mask", None), ("image.1.image", "b", "image.1.mask", "m")],
        ),
        (
            {"image": [["a", None], {"image": "b"}]},
            [("image.0.0", "a", "image.0.1", None), ("image.1.image", "b", "image.1.mask", None)],
        ),
    ],
)
def test_every_spelling_of_pictures_is_understood(given, sent):
    at = f"{ARGS}.0"
    expected = [Sent(f"{at}.{f}", image, f"{at}.{m}", mask) for f, image, m, mask in sent]
    assert list(reading.sent(0, unit(**given))) == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"image": 5}, "image"),
        ({"image": []}, "image"),
        ({"image": ["a"]}, "image"),
        ({"image": ["a", "b", "c"]}, "image"),
        ({"image": ["a", 5]}, "image.1"),
        ({"image": {}}, "image.image"),
        ({"image": {"mask": "m"}}, "image.image"),
        ({"image": {"image": {"image": "a"}}}, "image.image"),
        ({"image": [{"image": "a"}, "b"]}, "image.1"),
        ({"image": [[["a"]]]}, "image.0"),
        ({"image": {"image": "a"}, "mask": "m"}, "mask"),
        ({"mask": "m"}, "mask"),
        ({"image": [{"image": "a"}] * 257}, "image"),
    ],
)
def test_pictures_of_another_form_are_refused_under_their_place(given, field):
    with pytest.raises(UnsupportedError) as caught:
        reading.sent(0, unit(**given))
    assert caught.value.field == f"{ARGS}.0.{field}"


def test_an_answer_repeats_units_as_they_were_understood_but_for_their_pictures():
    args = [
        {"input_image": "a", "module": "canny", "control_mode": "Balanced", "unknown": ["\ud800"]},
        {"enabled": False, "batch_images": ["\ud800"], "image": {"image": "b"}},
    ]
    scripts = {"ControlNet": {"args": args, "more": 1}}
    told = reading.without_pictures(scripts, reading.units(scripts))
    assert told == {
        "ControlNet": {
            "args": [
                {"image": None, "module": "canny", "control_mode": 0},
                {"enabled": False, "image": None},
            ]
        }
    }
    json.dumps(told).encode()


def test_a_request_without_units_is_repeated_as_it_is():
    assert reading.without_pictures({}, ()) == {}
    assert reading.without_pictures({"controlnet": {"args": []}}, ()) == {"controlnet": {"args": []}}
