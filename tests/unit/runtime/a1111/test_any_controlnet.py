"""Whatever stands under alwayson_scripts, it is planned or refused: nothing else can happen."""

from typing import Any

import pytest
from fake_plugins import FakePlugins
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sd_runtime.a1111.controlnet import reading
from sd_runtime.a1111.schemas.unit import ALIASES, Unit
from sd_runtime.errors import PluginUnavailable, UnsupportedError

names = st.sampled_from(
    ["", "None", "none", "canny", "Canny", "inpaint_only", "openpose_full", "All", "Depth", "blur_gaussian"]
)
pictures = st.sampled_from(["", "64x64", "8x16:9", "1x1:0"])
pairs = st.fixed_dictionaries({"image": pictures}, optional={"mask": pictures}) | st.lists(
    pictures, max_size=3
)
images = pictures | pairs | st.lists(pairs, max_size=3)
numbers = st.sampled_from([-1, 0, 0.5, 1, 2, 3, 64, 512, 2048]) | st.floats() | st.integers()
modes = st.sampled_from(["Just Resize", "Balanced", "Both", "High res only", "simple", "Unknown"])
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8) | names | modes
anything = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner))

LIKELY: dict[str, Any] = {"image": images, "mask": pictures, "effective_region_mask": pictures}
FIELDS = sorted([*Unit.model_fields, *ALIASES, "unknown"])


def values_of(field: str) -> st.SearchStrategy[Any]:
    own = ALIASES.get(field, field)
    likely = LIKELY.get(own, leaves)
    # Pictures are decoded before a request is planned.
    return likely if own in LIKELY else st.one_of(*[likely] * 4, anything)


units = st.lists(st.sampled_from(FIELDS), max_size=8, unique=True).flatmap(
    lambda chosen: st.fixed_dictionaries({field: values_of(field) for field in chosen})
)
usual = units.map(lambda fields: {"model": "canny", "image": "64x64"} | fields)
lenient = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    desk.put_controlnet("canny")
    return desk


@lenient
@given(anything | st.dictionaries(st.sampled_from(["controlnet", "ControlNet", "x"]), anything))
def test_any_scripts_are_read_or_refused(scripts):
    if isinstance(scripts, dict):
        try:
            reading.units(scripts)
        except UnsupportedError:
            return


@lenient
@given(st.lists(st.one_of(usual, usual, units, anything), max_size=4), st.booleans(), st.booleans())
def test_any_units_are_planned_or_refused(desk, args, of_img2img, masked):
    body: dict[str, Any] = {"width": 64, "height": 64, "alwayson_scripts": {"controlnet": {"args": args}}}
    try:
        plan = desk.img2img(mask=masked, **body) if of_img2img else desk.txt2img(**body, enable_hr=masked)
    except (UnsupportedError, ValidationError, PluginUnavailable):
        return
    for control in (control for each in plan.controls for control in each.controls):
        try:
            control.hint.get()
        except UnsupportedError as error:
            assert error.field.startswith("alwayson_scripts.controlnet.args.")


@lenient
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "Module: canny",
                "Model: canny",
                "Weight: 9",
                "Weight: x",
                "Control Mode: Balanced",
                "Hr Option: Both",
                ",",
            ]
        )
    ).map(", ".join)
)
def test_any_unit_of_infotext_is_planned_or_refused(desk, text):
    quoted = text.replace("\\", "").replace('"', "").replace("\n", " ")
    said = f'a cat\nSteps: 2, Sampler: Euler, Seed: 1, Size: 64x64, ControlNet 0: "{quoted}"'
    try:
        desk.img2img(infotext=said)
    except (UnsupportedError, PluginUnavailable):
        return
