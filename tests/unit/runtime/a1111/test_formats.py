"""What a picture's format cannot hold is refused before the work: nothing is computed here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_runtime.a1111 import extras_plan, planning
from sd_runtime.a1111.limits import Limits
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.plan import Inputs
from sd_runtime.a1111.schemas import Img2ImgRequest
from sd_runtime.a1111.schemas.extras import ExtrasSingleRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.settings import Settings

WEBP, JPEG = 16_383, 65_500


@pytest.fixture
def large(desk: Any) -> Any:
    """A desk that limits next to nothing."""
    desk.limits = Limits(side=2**16, pixels=2**40, batch_size=256, iterations=1000)
    return desk


@pytest.mark.parametrize(
    ("form", "body", "told"),
    [
        ("webp", {"width": 16_384, "height": 64}, "webp of 16384x64 pixels"),
        (
            "webp",
            {"width": 64, "height": 8192, "enable_hr": True, "hr_scale": 2.5},
            "webp of 160x20480 pixels",
        ),
        (
            "webp",
            {"width": 64, "height": 4096, "enable_hr": True, "hr_resize_y": 16_384},
            "webp of 256x16384",
        ),
        ("webp", {"width": 6000, "height": 64, "batch_size": 9}, "webp of a grid of 18000x192 pixels"),
        ("jpg", {"width": 64, "height": 16_384, "n_iter": 20}, "jpg of a grid of 320x65536 pixels"),
    ],
    ids=["a side", "the second pass", "its target", "a grid of WebP", "a grid of JPEG"],
)
def test_what_the_format_cannot_hold_is_refused_when_it_is_planned(
    large: Any, form: str, body: dict[str, Any], told: str
) -> None:
    large.set(samples_format=form)
    with pytest.raises(
        UnsupportedError, match=f"^samples_format: '{told}.*sides of at most .* or png"
    ) as error:
        large.txt2img(**body, save_images=True)
    assert str(WEBP if form == "webp" else JPEG) in str(error.value)
    large.set(samples_format="png")
    assert large.txt2img(**body, save_images=True).iterations


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"save_images": True, "do_not_save_grid": True}, {}),
        ({}, {}),
        ({"save_images": True}, {"return_grid": False, "grid_save": False}),
    ],
)
def test_a_grid_that_is_not_made_refuses_nothing(
    large: Any, body: dict[str, Any], options: dict[str, Any]
) -> None:
    large.set(samples_format="webp", **options)
    assert large.txt2img(width=6000, height=64, batch_size=9, **body).iterations


@pytest.mark.parametrize(("masked_alone", "refused"), [(True, True), (False, False)])
def test_where_only_what_is_masked_is_drawn_the_result_is_as_large_as_what_was_given(
    large: Any, masked_alone: bool, refused: bool
) -> None:
    large.set(samples_format="webp")
    request = Img2ImgRequest(
        init_images=["(a picture)"],
        mask="(a mask)",
        width=64,
        height=64,
        inpaint_full_res=masked_alone,
    )
    given = np.full((8, WEBP + 1, 3), 1, np.uint8)
    inputs = Inputs(images=(given,), mask=np.full((8, WEBP + 1), 255, np.uint8))
    if refused:
        with pytest.raises(UnsupportedError, match=f"webp of {WEBP + 1}x8 pixels"):
            planning.plan(request, inputs, large.surroundings)
    else:
        assert planning.plan(request, inputs, large.surroundings).iterations


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"upscaler_1": "Lanczos", "upscaling_resize": 8}, "webp of 16800x64 pixels"),
        (
            {
                "upscaler_1": "Lanczos",
                "resize_mode": 1,
                "upscaling_resize_w": 16_384,
                "upscaling_resize_h": 8,
            },
            "webp of 16384x8 pixels",
        ),
        (
            {
                "upscaler_1": "Lanczos",
                "resize_mode": 1,
                "upscaling_resize_w": 8,
                "upscaling_resize_h": 64,
                "upscaling_crop": False,
            },
            "webp of 16800x64 pixels",
        ),
        (
            {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 8, "upscaling_resize_h": 64},
            None,
        ),
        ({"upscaler_1": "None", "upscaling_resize": 8}, None),
    ],
    ids=["by a factor", "to a size", "covering a size", "cut to a size", "as it is"],
)
def test_a_result_of_extras_that_the_format_cannot_hold_is_refused(
    desk: Any, body: dict[str, Any], told: str | None
) -> None:
    def plan() -> Any:
        return extras_plan.plan(
            ExtrasSingleRequest.model_validate(body),
            [(np.zeros((8, 2100, 3), np.uint8), "")],
            library=desk.library,
            plugins=desk.plugins,
            options=Values(samples_format="webp"),
            settings=Settings(checkpoint=Path("/x")),
        )

    if told is None:
        assert plan().tasks
    else:
        with pytest.raises(UnsupportedError, match=f"samples_format: '{told}.*{WEBP}"):
            plan()
