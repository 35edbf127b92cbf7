"""A picture's controls: what is judged without a network, maps at the size of what is drawn, and what of this
reaches the engine.
"""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sd_runtime.errors import UnsupportedError
from sd_runtime.images.masks import Region
from sd_runtime.tasks import control_maps, steering
from sd_runtime.tasks.control import Control, ControlMode, Hint
from sd_runtime.tasks.recipe import ResizeMode
from sd_runtime.tasks.steering import Frame, Steering

NETWORK = Path("canny.safetensors")


def control(pixels: Any = None, **fields: Any) -> Control:
    shown = np.zeros((64, 64, 3), np.uint8) if pixels is None else pixels
    return Control(network=NETWORK, hint=Hint(lambda: shown), **fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"weight": -0.1}, "weight: -0.1 is not supported; allowed: 0 or more"),
        ({"weight": float("nan")}, "weight: nan"),
        ({"start": -0.1}, "guidance_start: -0.1 is not supported; allowed: 0 to 1"),
        ({"end": 1.1}, "guidance_end: 1.1"),
        (
            {"start": 0.6, "end": 0.5},
            "guidance_start: 0.6 is not supported; allowed: at most guidance_end, 0.5",
        ),
        ({"resize_mode": ResizeMode.LATENT}, "resize_mode: 3 is not supported; allowed: 0, 1 and 2"),
    ],
)
def test_what_no_network_is_needed_for_is_judged_at_once(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        control(**fields)
    assert told in str(error.value)


def test_a_map_is_made_once_and_so_is_its_error() -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        raise UnsupportedError("module", "canny", "others")

    hint = Hint(make)
    for _ in range(2):
        with pytest.raises(UnsupportedError):
            hint.get()
    assert (made, hint.made) == ([1], None)


def gradient(width: int, height: int) -> np.ndarray[Any, Any]:
    """Every pixel of it another colour, red from left to right and green from top to bottom."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([red, green, np.zeros_like(red)]).astype(np.uint8)


def test_proportions_are_stretched_cut_or_filled_up() -> None:
    wide = gradient(128, 64)
    wide[[0, -1]], wide[:, [0, -1]] = (1, 2, 3), (1, 2, 3)
    stretched, cut, filled = (control_maps.fit(wide, (32, 32), mode) for mode in list(ResizeMode)[:3])
    assert abs(int(stretched[16, 16, 0]) - 128) < 8
    assert stretched[16, 4, 0] < 50
    assert cut[16, 4, 0] > 64, "the sides are gone"
    assert (filled[:8] == (1, 2, 3)).all(), "what most of the edges show is around it"
    assert (filled[24:] == (1, 2, 3)).all()


def test_a_map_of_the_right_size_is_left_alone() -> None:
    wide = gradient(128, 64)
    for mode in list(ResizeMode)[:3]:
        assert control_maps.fit(wide, (128, 64), mode) is wide


def line(side: int) -> np.ndarray[Any, Any]:
    """A white circle on black, a pixel thick."""
    y, x = np.mgrid[:side, :side] - side / 2
    on = np.abs(np.hypot(x, y) - side / 3) < 0.5
    return np.repeat(np.where(on, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("side", [64, 100, 192, 256])
def test_lines_of_a_pixel_stay_lines_of_a_pixel(side: int) -> None:
    drawn = control_maps.fit(line(128), (side, side), ResizeMode.STRETCH)
    assert set(np.unique(drawn)) == {0, 255}
    length = 2 * np.pi * side / 3
    assert 0.75 * length < (drawn[..., 0] > 0).sum() < 1.25 * length
    # Still closed: what is inside is not reached from outside.
    image = Image.fromarray(drawn[..., 0])
    ImageDraw.floodfill(image, (0, 0), 128)
    assert image.getpixel((side // 2, side // 2)) == 0


def test_areas_stay_black_and_white_and_as_large() -> None:
    square = np.zeros((64, 64), np.uint8)
    square[16:48, 16:48] = 255
    for side in (32, 96):
        fitted = control_maps.fit(square, (side, side), ResizeMode.STRETCH)
        assert set(np.unique(fitted)) == {0, 255}
        assert abs((fitted > 0).mean() - 0.25) < 0.02


def test_colours_that_mean_something_are_not_mixed() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (5, 3), np.uint8)
    segments = colours[rng.integers(0, 5, (8, 8))].repeat(8, axis=0).repeat(8, axis=1)
    fitted = control_maps.fit(segments, (90, 90), ResizeMode.STRETCH).reshape(-1, 3)
    assert {tuple(c) for c in fitted} <= {tuple(c) for c in colours}


def test_what_lies_around_a_map_is_hidden_with_the_hidden_part() -> None:
    blank = np.zeros((32, 64), np.uint8)
    blank[:, :32] = 255
    hidden = control_maps.fit_blank(blank, (64, 64), ResizeMode.FILL)
    assert (hidden[:16] == 255).all()
    assert (hidden[48:] == 255).all()
    assert (hidden[16:48, :32] == 255).all()
    assert (hidden[16:48, 32:] == 0).all()


def steer(story: Any) -> tuple[Steering, ...]:
    """The work of a pass, done on the spot."""
    answer = None
    while True:
        try:
            work = story.send(answer)
        except StopIteration as finished:
            result: tuple[Steering, ...] = finished.value
            return result
        answer = work.call()


MODES = {
    ControlMode.BALANCED: (False, False),
    ControlMode.PROMPT: (True, False),
    ControlMode.CONTROL: (True, True),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_soft_layers_and_the_prompt_alone(mode: ControlMode) -> None:
    (found,) = steer(steering.first_pass([control(mode=mode)], Frame((64, 64))))
    assert (found.active.soft, found.active.prompt_only) == MODES[mode]


def test_each_pass_has_those_that_are_for_it() -> None:
    controls = [control(first_pass=False), control(second_pass=False), control(), control(weight=0)]
    first = steer(steering.first_pass(controls, Frame((64, 64))))
    second = steer(steering.second_pass(controls, (64, 64)))
    assert [each.control for each in first] == controls[1:3]
    assert [each.control for each in second] == [controls[0], controls[2]]


def test_where_it_has_an_effect_is_cut_as_the_picture_is_of_which_a_part_is_drawn() -> None:
    frame = Frame((64, 64), picture=(128, 128), region=Region(64, 64, 128, 128))
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 24:] = 255
    hint = gradient(128, 128)
    (cut,) = steer(steering.first_pass([control(hint, mask=mask)], frame))
    (whole,) = steer(steering.first_pass([control(hint, mask=mask)], Frame((64, 64))))
    assert [cut.active.shown._mask[32, x] for x in (8, 56)] == [0, 255]  # type: ignore[index]
    assert (cut.active.shown._mask[32] > 127).mean() == 0.5  # type: ignore[index]
    assert whole.active.shown._mask is mask
    # The map is of the part already.
    assert cut.active.shown._pixels[0, 0, 0] < 8


def test_a_map_is_brought_to_a_size_once_for_all_pictures_passes_and_the_answer() -> None:
    own = control(gradient(128, 64), blank=np.full((64, 128), 255, np.uint8))
    (one,) = steer(steering.first_pass([own], Frame((32, 32))))
    (other,) = steer(steering.first_pass([own], Frame((32, 32))))
    (larger,) = steer(steering.second_pass([own], (64, 64)))
    fitted = own.fitted((32, 32)).get()
    assert one.active.shown._pixels is other.active.shown._pixels is fitted.pixels
    assert one.active.shown._blank is fitted.blank
    assert larger.active.shown._pixels.shape == (64, 64, 3)


def test_of_a_map_brought_to_a_size_what_is_hidden_is_each_ones_own() -> None:
    hint = Hint(lambda: gradient(64, 64))
    blank = np.full((64, 64), 255, np.uint8)
    plain, hidden = Control(network=NETWORK, hint=hint), Control(network=NETWORK, hint=hint, blank=blank)
    (one, other) = steer(steering.first_pass([plain, hidden], Frame((32, 32))))
    assert one.active.shown._blank is None
    assert np.all(other.active.shown._blank == 255)


def test_maps_are_gone_with_their_control() -> None:
    own = control(gradient(64, 64))
    steer(steering.first_pass([own], Frame((32, 32))))
    left = weakref.ref(own.fitted((32, 32)).get().pixels)
    gc.disable()
    try:
        del own
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("start", "end", "steps", "taken"),
    [
        (0.0, 0.1, 8, [0]),
        (0.3, 0.4, 8, [2]),
        (0.5, 0.5, 8, [4]),
        (0.9, 1.0, 8, [7]),
        (1.0, 1.0, 8, [7]),
        (0.0, 0.0, 1, [0]),
        (0.0, 0.5, 8, [0, 1, 2, 3]),
    ],
)
def test_a_range_in_which_no_step_lies_has_the_step_in_which_it_begins(
    start: float, end: float, steps: int, taken: list[int]
) -> None:
    own = control(start=start, end=end)
    assert [step for step in range(steps) if own.takes_part(step, steps)] == taken


def test_of_any_number_of_steps_a_control_takes_part_in_one_at_least() -> None:
    shares = [each / 20 for each in range(21)]
    for start, end in ((a, b) for a in shares for b in shares if a <= b):
        own = control(start=start, end=end)
        for steps in (1, 2, 3, 7, 20, 33):
            assert any(own.takes_part(step, steps) for step in range(steps)), (start, end, steps)
            assert not control(start=start, end=end, weight=0).takes_part(0, steps)
