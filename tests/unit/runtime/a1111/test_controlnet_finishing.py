"""What modules do to a picture that was drawn."""

import numpy as np
import pytest
from control_units import SMALL, scripts, unit
from fake_plugins import FakePlugins

from sd_runtime.a1111.controlnet import finishing
from sd_runtime.a1111.controlnet.finishing import Finish
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import colours


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    desk.put_controlnet("control_v11p_sd15_canny")
    return desk


def grey(value):
    return np.full((16, 16, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("colour", "levels"), [((200, 40, 40), 160), ((60, 90, 120), 60), ((128, 128, 128), 255), ((0, 0, 0), 90)]
)
def test_a_picture_takes_on_a_lightness_and_keeps_its_colours(colour, levels):
    pixels = np.full((4, 4, 3), colour, np.uint8)
    lit = colours.with_lightness(pixels, np.full((4, 4), levels, np.uint8))
    told = colours._levels(colours._to_lab(lit))
    assert abs(int(told[0, 0, 0]) - levels) <= 2
    if colour[0] == colour[1] == colour[2]:
        assert np.ptp(lit.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize(
    ("colour", "lit"),
    [((200, 100, 0), (100, 50, 0)), ((50, 50, 50), (100, 100, 100)), ((0, 0, 0), (100,) * 3)],
)
def test_a_picture_takes_on_a_brightest_channel_in_its_own_proportions(colour, lit):
    pixels = np.full((2, 2, 3), colour, np.uint8)
    assert (colours.with_value(pixels, np.full((2, 2), 100, np.uint8)) == lit).all()


@pytest.mark.parametrize(
    ("module", "finish"),
    [
        ("canny", Finish.NOTHING),
        ("inpaint_global_harmonious", Finish.NOTHING),
        ("inpaint_only", Finish.PASTE),
        ("recolor_luminance", Finish.LIGHTNESS),
    ],
)
def test_a_module_decides_how_a_picture_is_finished(desk, module, finish):
    (found,) = desk.txt2img(**SMALL, **scripts(unit(module=module, mask="64x64"))).controls
    assert found.finish is finish


def test_a_recoloured_picture_has_the_maps_light(desk):
    (found,) = desk.txt2img(**SMALL, **scripts(unit(module="recolor_luminance", image="16x16:200"))).controls
    found.controls[0].hint.get()
    lit = finishing.finished(grey(30), found.control(0), found.finish)
    assert abs(int(colours._levels(colours._to_lab(lit))[0, 0, 0]) - 200) <= 2


def test_what_is_pasted_has_a_soft_edge_beside_the_mask(desk):
    (found,) = desk.txt2img(**SMALL, **scripts(unit(module="inpaint_only", mask="64x64"))).controls
    found.controls[0].hint.get()
    made = finishing.finished(np.full((64, 64, 3), 209, np.uint8), found.control(0), found.finish)
    row = made[32, :, 0].astype(int)
    assert (row[:32] == 209).all() and (row[40:] == 9).all()
    assert (np.diff(row) <= 0).all() and len(np.unique(row)) > 4


def test_without_a_map_a_picture_stays_as_it_was_drawn(desk):
    (found,) = desk.txt2img(**SMALL, **scripts(unit(module="inpaint_only", mask="64x64"))).controls
    drawn = grey(3)
    assert finishing.finished(drawn, found.control(0), found.finish) is drawn


def test_in_img2img_the_mask_of_the_request_pastes_by_itself(desk):
    plan = desk.img2img(mask=True, **SMALL, **scripts(unit(module="inpaint_only", image=None)))
    assert plan.controls[0].finish is Finish.NOTHING
    (control,) = plan.iterations[0][0].controls
    assert control.blank is not None and control.blank.any() and not control.blank.all()


def test_recolouring_a_part_that_is_drawn_alone_is_refused(desk):
    given = scripts(unit(module="recolor_luminance"))
    with pytest.raises(UnsupportedError, match=r"args\.0\.module.*inpaint_full_res"):
        desk.img2img(mask=True, **SMALL, **given, inpaint_full_res=True)
    assert desk.img2img(mask=True, **SMALL, **given, inpaint_full_res=False).controls
