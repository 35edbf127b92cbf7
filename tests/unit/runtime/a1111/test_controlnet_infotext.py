"""Units of ControlNet in infotext: as sd-webui-controlnet writes them, and read back into a request."""

import pytest
from control_units import SMALL, scripts, unit
from fake_plugins import FakePlugins

from sd_runtime.a1111 import infotext
from sd_runtime.a1111.answer import Account
from sd_runtime.a1111.controlnet import telling
from sd_runtime.errors import UnsupportedError

OF_THE_EXTENSION = (
    "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, "
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [e3b0c442], Weight: 0.8, '
    "Resize Mode: Resize and Fill, Processor Res: 768, Threshold A: 50.0, Threshold B: 150.0, "
    "Guidance Start: 0.1, Guidance End: 0.9, Pixel Perfect: True, "
    'Control Mode: ControlNet is more important", Version: v1.10.1'
)


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    desk.put_controlnet("control_v11p_sd15_canny")
    desk.put_controlnet("odd, name: one")
    return desk


def text_of(plan, picture, served):
    account = Account(plan=plan, checkpoint=served, pictures=(picture(0),), accepted=None, hashes={})
    return account.infotexts()[0]


def told(plan, number=0):
    return telling.pairs(plan.controls)[f"ControlNet {number}"]


def test_a_unit_is_told_as_the_extension_tells_it(desk):
    given = unit(module="Canny", weight=0.5, threshold_a=50, guidance_end=0.5, control_mode=1, resize_mode=0)
    assert told(desk.txt2img(**SMALL, **scripts(given))) == (
        "Module: canny, Model: control_v11p_sd15_canny [e3b0c442], Weight: 0.5, Resize Mode: Just Resize, "
        "Processor Res: 512, Threshold A: 50, Threshold B: 200, Guidance Start: 0.0, Guidance End: 0.5, "
        "Pixel Perfect: False, Control Mode: My prompt is more important"
    )


def test_numbers_that_the_module_has_not_are_not_told(desk):
    text = told(desk.txt2img(**SMALL, **scripts(unit(processor_res=640, threshold_a=3))))
    assert "Processor" not in text and "Threshold" not in text


def test_a_weight_of_0_is_told_without_a_sign(desk):
    assert "Weight: 0.0," in told(desk.txt2img(**SMALL, **scripts(unit(weight=-0.0))))


def test_units_that_are_on_are_numbered_from_0(desk):
    plan = desk.txt2img(**SMALL, **scripts({"enabled": False}, unit(weight=0.1), unit(weight=0.2)))
    assert "Weight: 0.1" in told(plan, 0) and "Weight: 0.2" in told(plan, 1)


def test_units_are_among_what_a1111_calls_extra_generation_params(desk, picture):
    plan = desk.txt2img(**SMALL, **scripts(unit()))
    account = Account(plan=plan, checkpoint=desk.served, pictures=(picture(0),), accepted=None, hashes={})
    assert account._extras()["ControlNet 0"] == told(plan)


GIVEN = [
    {},
    {"module": "canny", "processor_res": 640, "threshold_a": 20, "threshold_b": 40},
    {"module": "blur_gaussian", "threshold_a": 2.5, "pixel_perfect": True},
    {"weight": 1.35, "guidance_start": 0.25, "guidance_end": 0.75},
    *({"control_mode": mode} for mode in range(3)),
    *({"resize_mode": mode} for mode in range(3)),
    {"hr_option": "High res only"},
    {"inpaint_crop_input_image": False},
    {"model": "odd, name: one"},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_what_infotext_tells_is_read_back(desk, picture, given):
    plan = desk.txt2img(**SMALL, **scripts(unit(**given)), enable_hr=True)
    text = text_of(plan, picture, desk.served)
    again = desk.txt2img(infotext=text, **scripts({"image": "64x64:9"}))
    assert told(again) == told(plan)
    (one,), (other,) = (each.controls for each in (plan, again))
    for name in ("network", "weight", "start", "end", "mode", "resize_mode", "first_pass", "second_pass"):
        assert getattr(one.controls[0], name) == getattr(other.controls[0], name)
    assert one.numbers == other.numbers
    assert text_of(again, picture, desk.served) == text


def test_several_units_are_read_back_in_their_order(desk, picture):
    plan = desk.txt2img(**SMALL, **scripts(unit(weight=0.1), unit(weight=0.2, module="canny")))
    images = scripts({"image": "64x64:9"}, {"image": "64x64:8"})
    again = desk.txt2img(infotext=text_of(plan, picture, desk.served), **images)
    assert [told(again, number) for number in (0, 1)] == [told(plan, number) for number in (0, 1)]


def test_what_the_extension_wrote_fills_a_unit_but_for_its_picture(desk):
    (found,) = desk.txt2img(infotext=OF_THE_EXTENSION, **scripts({"image": "64x64"})).controls
    assert found.numbers == {"resolution": 768, "low": 50, "high": 150}
    assert (found.unit.weight, found.unit.guidance_start, found.unit.pixel_perfect) == (0.8, 0.1, True)
    assert (found.unit.control_mode, found.unit.resize_mode) == (2, 2)


@pytest.mark.parametrize(
    "own", [{"guidance": 0.3, "weight": 0.1}, {"guidance_end": 0.3, "weight": 0.1, "model": None}]
)
def test_what_a_unit_says_itself_counts(desk, own):
    (found,) = desk.txt2img(infotext=OF_THE_EXTENSION, **scripts({"image": "64x64"} | own)).controls
    assert (found.unit.guidance_end, found.unit.weight) == (0.3, 0.1)
    assert found.module.name == "canny"


def test_a_control_type_of_the_units_own_counts_more_than_infotexts_module_and_model(desk):
    own = {"image": "64x64", "control_type": "Canny", "module": "invert"}
    (found,) = desk.txt2img(infotext=OF_THE_EXTENSION, **scripts(own)).controls
    assert found.module.name == "invert"


def test_without_a_picture_of_the_requests_own_the_unit_is_refused_by_name(desk):
    with pytest.raises(UnsupportedError, match=r"controlnet\.args\.0\.image"):
        desk.txt2img(infotext=OF_THE_EXTENSION)
    assert desk.img2img(infotext=OF_THE_EXTENSION).controls


def test_a_unit_that_is_said_to_be_off_stays_so(desk):
    assert desk.txt2img(infotext=OF_THE_EXTENSION, **scripts({"enabled": False})).controls == ()


@pytest.mark.parametrize("text", ["nothing of use", "Weight: 1.0"])
def test_a_unit_that_tells_no_model_is_refused_as_infotext(desk, text):
    with pytest.raises(UnsupportedError, match=r"^infotext.*ControlNet 0"):
        desk.txt2img(infotext=f'a cat\nSteps: 20, Sampler: Heun, Seed: 1, ControlNet 0: "{text}"')


def test_the_fields_are_told_apart_where_infotext_is_read(desk):
    fields = telling.fields_of(infotext.read(OF_THE_EXTENSION))
    assert fields["ControlNet 0 module"] == "canny"
    assert fields["ControlNet 0 control_mode"] == "ControlNet is more important"
    assert len(fields) == 11
