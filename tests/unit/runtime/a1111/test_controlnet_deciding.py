"""What units of ControlNet become: which module, file and picture they mean, and what is refused before
anything waits for it."""

from dataclasses import replace

import numpy as np
import pytest
import small_files
from control_units import SMALL, scripts, unit
from fake_plugins import MOST_PIXELS, FakePlugins

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.controlnet import making, maps
from sd_runtime.a1111.limits import Limits
from sd_runtime.errors import PluginUnavailable, UnsupportedError
from sd_runtime.tasks.control import ControlMode
from sd_runtime.tasks.recipe import ResizeMode

ARGS = "alwayson_scripts.controlnet.args"


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    desk.put_controlnet("control_v11p_sd15_canny")
    desk.put_controlnet("openpose_sd15")
    desk.put_controlnet("canny_xl", Family.SDXL)
    return desk


def decided(desk, *units, **body):
    return desk.txt2img(**SMALL, **scripts(*units), **body).controls


def refused(desk, *units, **body):
    with pytest.raises(UnsupportedError) as caught:
        decided(desk, *units, **body)
    return caught.value


def test_a_unit_becomes_a_control_of_every_picture(desk):
    given = unit(
        weight=0.7,
        guidance_start=0.1,
        guidance_end=0.9,
        control_mode=2,
        resize_mode=2,
        effective_region_mask="8x8",
    )
    plan = desk.txt2img(**SMALL, **scripts(given), batch_size=2)
    for (control,) in (task.controls for task in plan.iterations[0]):
        assert control.network.name == "control_v11p_sd15_canny.safetensors"
        assert (control.weight, control.start, control.end) == (0.7, 0.1, 0.9)
        assert (control.mode, control.resize_mode) == (ControlMode.CONTROL, ResizeMode.FILL)
        assert control.mask.tolist() == [[255] * 4 + [0] * 4] * 8
        assert (control.hint.get() == 9).all()
    one, other = plan.iterations[0]
    assert one.controls[0].hint is other.controls[0].hint


def test_units_that_are_off_take_no_part(desk):
    plan = desk.txt2img(**SMALL, **scripts({"enabled": False, "module": "no such"}, unit(), {}))
    assert [each.index for each in plan.controls] == [1]


@pytest.mark.parametrize("name", ["canny", "Canny", "CANNY", " canny ", "canny_edges"])
def test_a_module_may_be_named_by_name_label_and_alias(desk, name):
    (found,) = decided(desk, unit(module=name))
    assert found.module.name == "canny"


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"module": "sobel"}, "module", "canny"),
        ({"model": "no such"}, "model", "control_v11p_sd15_canny ["),
        ({"model": "None"}, "model", "a ControlNet of this server"),
        ({"model": ""}, "model", "a ControlNet of this server"),
        ({"control_type": "Painting"}, "control_type", "Canny"),
        ({"image": None}, "image", "a picture"),
        ({"guidance_start": 0.8, "guidance_end": 0.2}, "guidance_start", "guidance_end"),
        ({"advanced_weighting": [1.0] * 13}, "advanced_weighting", "null, []"),
        ({"union_control_type": "Depth"}, "union_control_type", "Unknown"),
        ({"ipadapter_input": ["abc"]}, "ipadapter_input", "null"),
        ({"input_mode": "batch"}, "input_mode", "simple"),
        ({"module": "inpaint_only"}, "mask", "a mask"),
    ],
)
def test_what_cannot_be_is_refused_under_its_place(desk, fields, field, allowed):
    error = refused(desk, {}, unit(**fields))
    assert error.field == f"{ARGS}.1.{field}"
    assert allowed in error.allowed


def test_values_that_leave_a_feature_off_are_taken(desk):
    neutral = {"advanced_weighting": [], "union_control_type": "unknown", "ipadapter_input": None}
    assert decided(desk, unit(**neutral, input_mode="simple", low_vram=True, pulid_mode="Fidelity"))


def test_a_module_that_is_down_is_told_of_with_its_plugin_and_reason(desk):
    with pytest.raises(PluginUnavailable, match=r"poses: .*openpose_full.* nobody listens"):
        decided(desk, unit(module="openpose_full"))
    assert desk.plugins.runs == []


def test_no_more_units_are_on_than_the_option_says(desk):
    desk.set(controlnet_units=2)
    assert len(decided(desk, unit(), unit())) == 2
    assert "control_net_unit_count" in str(refused(desk, unit(), unit(), unit()))


def test_a_controlnet_of_another_family_is_refused_with_both_families(desk):
    desk.served.path.write_bytes(small_files.checkpoint(Family.SD15))
    error = refused(desk, unit(model="canny_xl"))
    assert error.field == f"{ARGS}.0.model"
    assert "SDXL" in str(error) and "SD15" in str(error)


def test_the_second_passs_checkpoint_is_judged_where_the_unit_takes_part_in_it(desk):
    desk.served.path.write_bytes(small_files.checkpoint(Family.SD15))
    desk.put(ModelType.CHECKPOINT, "xl.safetensors").write_bytes(small_files.checkpoint(Family.SDXL))
    hires = {"enable_hr": True, "hr_checkpoint_name": "xl", "hr_upscaler": "Lanczos"}
    assert decided(desk, unit(hr_option="Low res only"), **hires)
    assert decided(desk, unit(model="canny_xl", hr_option="High res only"), **hires)
    assert refused(desk, unit(), **hires).field == f"{ARGS}.0.model"


@pytest.mark.parametrize(
    ("option", "passes"),
    [("Both", (True, True)), ("Low res only", (True, False)), ("High res only", (False, True))],
)
def test_the_option_for_hires_chooses_the_passes(desk, option, passes):
    (found,) = decided(desk, unit(hr_option=option), enable_hr=True)
    (control,) = found.controls
    assert (control.first_pass, control.second_pass) == passes
    (found,) = decided(desk, unit(hr_option=option))
    assert found.controls[0].first_pass


def numbers_of(desk, **fields):
    (found,) = decided(desk, unit(**fields))
    found.controls[0].hint.get()
    return desk.plugins.runs[-1][3]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({}, (512, 100, 200)),
        ({"processor_res": -1, "threshold_a": -1, "threshold_b": -1}, (512, 100, 200)),
        ({"processor_res": 768, "threshold_a": 30, "threshold_b": 90.0}, (768, 30, 90)),
        ({"processor_res": 63, "threshold_a": 0.5, "threshold_b": 256}, (512, 100, 200)),
        ({"processor_res": 4096, "threshold_a": 1, "threshold_b": 255}, (512, 1, 255)),
    ],
)
def test_a_number_out_of_the_modules_range_is_its_default(desk, fields, numbers):
    told = numbers_of(desk, module="canny", **fields)
    assert told == dict(zip(("resolution", "low", "high"), numbers, strict=True))
    assert all(isinstance(value, int) for value in told.values())


def test_the_first_threshold_is_the_first_parameter_that_is_no_resolution(desk):
    assert numbers_of(desk, module="blur_gaussian", threshold_a=2.5) == {"resolution": 512, "sigma": 2.5}


def test_a_module_without_parameters_is_given_none(desk):
    assert numbers_of(desk, module="invert", processor_res=512, threshold_a=3) == {}


@pytest.mark.parametrize(
    ("shown", "drawn", "mode", "resolution"),
    [
        ((100, 100), (512, 512), ResizeMode.STRETCH, 512),
        ((200, 100), (512, 512), ResizeMode.CROP, 512),
        ((200, 100), (512, 512), ResizeMode.FILL, 256),
        ((100, 200), (512, 768), ResizeMode.CROP, 512),
        ((300, 100), (600, 400), ResizeMode.STRETCH, 400),
    ],
)
def test_the_pixel_perfect_resolution_is_sd_webui_controlnets(shown, drawn, mode, resolution):
    assert making.pixel_perfect(shown, drawn, mode) == resolution


def test_pixel_perfect_counts_more_than_a_resolution_within_the_modules_range(desk):
    told = numbers_of(desk, module="canny", pixel_perfect=True, processor_res=512, image="8x8")
    assert told["resolution"] == 64


def test_what_a_module_refuses_is_told_by_the_field_that_set_it(desk):
    (found,) = decided(desk, unit(module="canny", threshold_a=90, threshold_b=30))
    with pytest.raises(UnsupportedError) as caught:
        found.controls[0].hint.get()
    assert caught.value.field == f"{ARGS}.0.threshold_a"


def test_of_a_set_each_picture_gets_one_in_turn(desk):
    pictures = [{"image": f"8x8:{value}"} for value in (10, 20, 30)]
    plan = desk.txt2img(**SMALL, **scripts(unit(image=pictures)), batch_size=2, n_iter=2)
    tasks = [task for tasks in plan.iterations for task in tasks]
    assert [int(task.controls[0].hint.get()[0, 0, 0]) for task in tasks] == [10, 20, 30, 10]
    assert tasks[0].controls[0].hint is tasks[3].controls[0].hint


def test_of_a_set_only_as_many_are_kept_as_there_are_pictures(desk):
    (found,) = decided(desk, unit(image=[{"image": "8x8"}] * 5))
    assert len(found.controls) == 1


@pytest.mark.parametrize(("mask", "is_drawing"), [("8x8", True), ("8x8:0", False), ("8x8:255", False)])
def test_a_mask_that_no_module_takes_is_the_drawing_where_it_shows_something(desk, mask, is_drawing):
    (found,) = decided(desk, unit(image="8x8:9", mask=mask))
    shown = found.controls[0].hint.get()
    assert shown.shape == (8, 8, 3)
    assert (shown[0, 0, 0] == 255) is np.bool_(is_drawing)


def test_a_module_that_takes_masks_is_given_it(desk):
    (found,) = decided(desk, unit(module="blur_gaussian", image="8x8", mask="8x8"))
    found.controls[0].hint.get()
    assert desk.plugins.runs[0][2].tolist() == [[255] * 4 + [0] * 4] * 8


@pytest.mark.parametrize("module", ["inpaint", "inpaint_global_harmonious", "inpaint_only"])
def test_an_inpainting_network_is_not_shown_what_is_masked(desk, module):
    (found,) = decided(desk, unit(module=module, image="8x8:9", mask="8x8"))
    (control,) = found.controls
    assert (control.hint.get() == 9).all()
    assert control.blank.tolist() == [[255] * 4 + [0] * 4] * 8


def test_maps_that_are_too_many_pixels_are_refused(desk):
    desk.limits = Limits(pixels=600 * 600)
    assert decided(desk, unit(module="canny"))
    assert refused(desk, unit(module="canny", processor_res=1024)).field == ARGS


def test_a_picture_that_is_too_large_for_a_module_is_refused_by_its_place_before_anything_waits(desk):
    error = refused(desk, unit(), unit(module="invert", image=["64x64", "2048x1024"]), batch_size=2)
    assert error.field == f"{ARGS}.1.image"
    assert (error.value, error.allowed) == ("2048x1024", f"pictures of at most {MOST_PIXELS} pixels")
    assert desk.plugins.runs == []


def test_what_a_plugin_refuses_is_told_of_the_units_picture_and_comes_from_nothing_else(desk):
    (task, *_) = decided(desk, unit(module="invert", image="64x1"))
    desk.plugins.refused.add("invert")
    with pytest.raises(UnsupportedError, match="other proportions") as caught:
        task.controls[0].hint.get()
    assert caught.value.field == f"{ARGS}.0.image"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("module", ["none", "inpaint_only", "canny"])
def test_a_mask_with_nothing_to_draw_is_the_requests_fault_whatever_the_unit_is(desk, module):
    given = scripts(unit(module=module, image=None))
    with pytest.raises(UnsupportedError, match=r"^mask: 'a mask with nothing to draw'"):
        desk.img2img(mask=np.zeros((64, 64), np.uint8), **SMALL, **given, inpaint_full_res=True)


@pytest.fixture
def refined_desk(desk):
    for name, family in (("base", Family.SDXL), ("refiner", Family.SDXL_REFINER), ("like", Family.SDXL)):
        path = desk.put(ModelType.CHECKPOINT, f"{name}.safetensors")
        path.write_bytes(small_files.checkpoint(family))
    desk.served = replace(desk.served, path=path.with_name("base.safetensors"))
    return desk


@pytest.mark.parametrize("switch", [None, 0])
@pytest.mark.parametrize(("second", "hr_option"), [(False, "Both"), (True, "High res only")])
def test_units_that_a_refiner_of_another_family_leaves_no_step_are_refused(
    refined_desk, switch, second, hr_option
):
    given = unit(model="canny_xl", hr_option=hr_option)
    more = {"refiner_checkpoint": "refiner", "refiner_switch_at": switch, "enable_hr": second}
    error = refused(refined_desk, given, **more)
    assert error.field == "refiner_switch_at"
    assert "units of ControlNet: the refiner refiner goes on without them" in error.allowed


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"refiner_switch_at": 0.1}, {}),
        ({"refiner_checkpoint": "like"}, {}),
        ({}, {"weight": 0}),
        ({"enable_hr": True}, {}),
        ({"enable_hr": True}, {"hr_option": "Low res only"}),
    ],
)
def test_units_that_have_a_step_before_the_refiner_takes_over_are_taken(refined_desk, more, fields):
    given = unit(model="canny_xl", **fields)
    assert decided(refined_desk, given, **{"refiner_checkpoint": "refiner", **more})


def test_maps_are_counted_as_they_are_made_and_as_they_are_shown(desk):
    plan = desk.txt2img(**SMALL, **scripts(unit(module="canny", image="100x50")), enable_hr=True)
    made, shown = 1024 * 512, 64 * 64 + 128 * 128
    assert maps.pixels_of(plan.controls, are_shown=True) == made + shown
    assert maps.pixels_of(plan.controls, are_shown=False) == made


def test_what_the_engine_finds_wrong_with_a_file_is_the_units_that_names_it(desk):
    found = decided(desk, unit(enabled=False), unit())
    assert [control.field for control in found[0].controls] == [f"{ARGS}.1.model"]


def test_the_map_that_is_sent_is_the_one_that_the_network_saw(desk):
    (found,) = decided(desk, unit(module="canny", image="100x50"))
    (control,) = found.controls
    control.hint.get()
    (shown,) = maps.shown([found])
    assert shown is control.fitted((64, 64)).get().pixels
