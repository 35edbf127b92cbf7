"""Units in infotext that others wrote: sd-webui-controlnet in its older versions, and clients of its API."""

import time

import pytest
from control_units import SMALL, scripts, unit
from fake_plugins import FakePlugins

from sd_runtime.a1111 import infotext
from sd_runtime.a1111.controlnet import telling
from sd_runtime.errors import UnsupportedError

#: Of A1111 1.6.0 to 1.8.0.
OF_2023_AND_2024 = (
    "Module: canny, Model: control_v11p_sd15_canny [e3b0c442], Weight: 0.25, Resize Mode: Resize and Fill, "
    "Low Vram: False, Processor Res: 512, Threshold A: 30, Threshold B: 90, Guidance Start: 0, "
    "Guidance End: 0.9, Pixel Perfect: False, Control Mode: My prompt is more important, "
    "Hr Option: High res only, Save Detected Map: True"
)
#: Of A1111 1.2 to 1.5.
OLDER = (
    "preprocessor: canny, model: control_v11p_sd15_canny [e3b0c442], weight: 0.25, "
    "starting/ending: (0, 0.9), resize mode: Resize and Fill, pixel perfect: False, "
    "control mode: My prompt is more important, preprocessor params: (512, 30, 90)"
)
#: Of a unit that came over the API.
OF_THE_API = (
    "Module: canny, Model: control_v11p_sd15_canny, Weight: 0.25, Resize Mode: ResizeMode.OUTER_FIT, "
    "Low Vram: False, Processor Res: 512, Threshold A: 30, Threshold B: 90, Guidance Start: 0.0, "
    "Guidance End: 0.9, Pixel Perfect: False, Control Mode: 1, Hr Option: HiResFixOption.HIGH_RES_ONLY"
)
WITH_IMAGE = scripts({"image": "64x64:9"})


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    desk.put_controlnet("control_v11p_sd15_canny")
    return desk


def text(*units, keys="ControlNet {}"):
    told = (f'{keys.format(number)}: "{each}"' for number, each in enumerate(units))
    return f"a cat\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 64x64, {', '.join(told)}, Version: v1.6.1"


@pytest.mark.parametrize("told", [OF_2023_AND_2024, OLDER, OF_THE_API])
def test_each_form_is_read(desk, told):
    (found,) = desk.txt2img(infotext=text(told), **WITH_IMAGE).controls
    assert (found.module.name, found.network.path.stem) == ("canny", "control_v11p_sd15_canny")
    assert found.numbers == {"resolution": 512, "low": 30, "high": 90}
    said = found.unit
    assert (said.weight, said.guidance_start, said.guidance_end) == (0.25, 0, 0.9)
    assert (said.resize_mode, said.control_mode, said.pixel_perfect) == (2, 1, False)
    assert said.hr_option == ("Both" if told is OLDER else "High res only")


@pytest.mark.parametrize("key", ["ControlNet", "Controlnet 0", "ControlNet 0"])
def test_the_only_unit_may_have_no_number(desk, key):
    (found,) = desk.txt2img(infotext=text(OLDER, keys=key), **WITH_IMAGE).controls
    assert found.unit.weight == 0.25


def test_what_another_tool_calls_controlnet_is_not_taken_for_a_unit(desk):
    assert not desk.txt2img(infotext=text("True", keys="ControlNet")).controls


def test_numbers_that_the_older_form_leaves_open_are_the_modules(desk):
    told = OLDER.replace("(512, 30, 90)", "(1024, None, None)")
    (found,) = desk.txt2img(infotext=text(told), **WITH_IMAGE).controls
    assert found.numbers == {"resolution": 1024, "low": 100, "high": 200}


def test_what_is_no_field_of_a_picture_is_left_out_where_infotext_is_read():
    fields = telling.fields_of(infotext.read(text(OF_2023_AND_2024 + ", Some Later Field: 3")))
    assert fields["ControlNet 0 resize_mode"] == "Resize and Fill"
    assert fields["ControlNet 0 hr_option"] == "High res only"
    assert not any("vram" in each or "map" in each or "later" in each for each in fields)


@pytest.mark.parametrize(
    "name", ["weird, Model: x [12345678]-canny", "odd, Weight: 3", "a [12345678], Weight: 2", "model: b"]
)
def test_a_files_name_may_look_like_a_units_text(desk, name):
    path = desk.put_controlnet(name)
    plan = desk.txt2img(**SMALL, **scripts(unit(model=name, weight=0.5)))
    said = telling.pairs(plan.controls)["ControlNet 0"]
    (found,) = desk.txt2img(infotext=text(said), **WITH_IMAGE).controls
    assert (found.network.path, found.unit.weight) == (path, 0.5)


def test_a_long_text_is_read_in_a_moment():
    before = time.process_time()
    for part in (", model: x", " [12345678]", ", a: b", ",  ", "model: [12345678] "):
        telling.read("Model: " + part * (64 * 1024 // len(part)))
    assert time.process_time() - before < 2


OFF, IMAGE = {"enabled": False}, {"image": "64x64:9"}


@pytest.mark.parametrize(
    ("own", "count", "weights"),
    [
        ((OFF, IMAGE), 1, {1: 0.1}),
        ((None, IMAGE), 1, {1: 0.1}),
        (({"enabled": None}, IMAGE), 1, {1: 0.1}),
        (({"enabled": "false"}, IMAGE), 1, {1: 0.1}),
        ((OFF, IMAGE, OFF, IMAGE), 2, {1: 0.1, 3: 0.2}),
        ((IMAGE, IMAGE), 2, {0: 0.1, 1: 0.2}),
        # Fewer are on than infotext tells of: one was turned off.
        ((OFF, IMAGE), 2, {1: 0.2}),
        ((OFF,), 1, {}),
    ],
)
def test_units_of_infotext_are_those_that_are_on(desk, own, count, weights):
    told = [OF_2023_AND_2024.replace("0.25", weight) for weight in ("0.1", "0.2")[:count]]
    controls = desk.txt2img(infotext=text(*told), **scripts(*own)).controls
    assert {each.index: each.unit.weight for each in controls} == weights


def test_a_request_with_a_unit_that_is_off_is_answered_with_infotext_that_fits_it(desk):
    given = (OFF, unit(weight=0.3))
    plan = desk.txt2img(**SMALL, **scripts(*given))
    said = telling.pairs(plan.controls)["ControlNet 0"]
    (again,) = desk.txt2img(infotext=text(said), **scripts(OFF, IMAGE)).controls
    assert (again.index, again.unit.weight) == (1, 0.3)


def test_a_unit_of_weight_0_is_told_as_the_extension_tells_it(desk):
    plan = desk.txt2img(**SMALL, **scripts(unit(weight=0)))
    assert "Weight: 0.0" in telling.pairs(plan.controls)["ControlNet 0"]


def test_a_numbered_unit_that_tells_nothing_is_refused(desk):
    with pytest.raises(UnsupportedError, match=r"^infotext.*ControlNet 0"):
        desk.txt2img(infotext=text("Low Vram: False"))
