"""Requests to make pictures larger: what becomes of their fields, and what is told afterwards."""

from pathlib import Path

import numpy as np
import pytest
import small_files

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import extras_plan, infotext
from sd_runtime.a1111.options import Values
from sd_runtime.a1111.schemas.extras import ExtrasSingleRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.settings import Settings

INFOTEXT = "a cat\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "models" / "ESRGAN" / "4x-Sharp.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(small_files.of(ModelType.UPSCALER))
    return Library([tmp_path])


def plan(library, *, size=(40, 30), origin="", most=10**6, options=None, **fields):
    settings = Settings(checkpoint=Path("/c"), max_pixels_per_request=most)
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    request = ExtrasSingleRequest(**fields)
    return extras_plan.plan(
        request,
        [(image, origin)],
        library=library,
        plugins=Plugins(),
        options=options or Values(),
        settings=settings,
    )


def test_by_default_a_picture_is_doubled(library):
    (task,) = plan(library, upscaler_1="Lanczos").tasks
    assert (task.upscaler_1.name, task.scale, task.size, task.upscaler_2) == ("Lanczos", 2.0, None, None)


def test_to_a_size(library):
    fields = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50, "upscaling_crop": False}
    (task,) = plan(library, upscaler_1="Nearest", **fields).tasks
    assert (task.scale, task.size, task.crop) == (None, (100, 50), False)


def test_a_files_network_works_in_the_tiles_that_the_options_say(library):
    (task,) = plan(
        library, upscaler_1="4x-Sharp", options=Values(esrgan_tile=64, esrgan_tile_overlap=3)
    ).tasks
    assert task.upscaler_1.path.name == "4x-Sharp.safetensors"
    assert (task.upscaler_1.tile, task.upscaler_1.overlap) == (64, 3)


@pytest.mark.parametrize("fields", [{}, {"upscaler_1": "None", "upscaler_2": "Lanczos"}])
def test_without_an_upscaler_the_picture_stays_as_it_is(library, fields):
    made = plan(library, origin=INFOTEXT, extras_upscaler_2_visibility=0.5, upscaling_resize=4, **fields)
    assert (made.tasks[0].scale, made.tasks[0].upscaler_2) == (1.0, None)
    assert made.infotext_of(0) == INFOTEXT


@pytest.mark.parametrize(("visibility", "used"), [(0.0, False), (0.25, True)])
def test_the_second_upscaler_counts_as_far_as_it_is_visible(library, visibility, used):
    fields = {"upscaler_2": "Nearest", "extras_upscaler_2_visibility": visibility}
    (task,) = plan(library, upscaler_1="Lanczos", **fields).tasks
    assert (task.upscaler_2 is not None, task.visibility_2) == (used, visibility)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"upscaler_1": "Gone"}, ["upscaler_1", "'Gone'", "4x-Sharp"]),
        ({"upscaler_2": "Gone"}, ["upscaler_2", "'Gone'", "4x-Sharp"]),
        ({"gfpgan_visibility": 1}, ["gfpgan_visibility", "face restoration"]),
        ({"codeformer_visibility": 0.5}, ["codeformer_visibility", "face restoration"]),
        ({"upscaling_resize": 8}, ["width x height of all results", "76800", "76799"]),
        # What is cut off in the end has been made before.
        (
            {"resize_mode": 1, "upscaling_resize_w": 400, "upscaling_resize_h": 200},
            ["width x height of all results", "120000"],
        ),
    ],
)
def test_what_is_not_served_is_refused_by_field(library, fields, told):
    with pytest.raises(UnsupportedError) as caught:
        plan(library, most=76_799, **({"upscaler_1": "Lanczos"} | fields))
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "lines"),
    [("", 1), ("just words", 2), (INFOTEXT, 2)],
    ids=["nothing", "other text", "infotext"],
)
def test_what_was_done_is_told_after_what_the_file_said_and_can_be_read_back(library, origin, lines):
    fields = {"upscaler_1": "4x-Sharp", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5}
    told = plan(library, origin=origin, **fields).infotext_of(0)
    assert told.startswith(origin)
    assert len(told.splitlines()) == lines
    read = infotext.read(told)
    assert read["Postprocess upscale by"] == "2.0"
    assert read["Postprocess upscaler"] == "4x-Sharp"
    assert (read["Postprocess upscaler 2"], read["Postprocess upscaler 2 visibility"]) == ("Nearest", "0.5")
    if origin == INFOTEXT:
        assert (read["Prompt"], read["Steps"], read["Size-1"]) == ("a cat", "4", "64")


def test_a_size_is_told_as_one(library):
    fields = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50}
    read = infotext.read(plan(library, upscaler_1="Lanczos", **fields).infotext_of(0))
    assert (read["Postprocess upscale to-1"], read["Postprocess upscale to-2"]) == ("100", "50")
    assert read["Postprocess crop to"] == "True"
