"""The plugin as its callers see it: what it says of itself, and what its modules answer."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from sd_plugin import processors
from sd_plugin.errors import ModuleUnavailable
from sd_plugin.module import Module, Pixels, Result
from sd_plugin.plugins.openpose import plugin
from sd_plugin.plugins.openpose.networks import Model

BODY = {Model.BODY_DETECTION, Model.BODY_LANDMARKS}
HANDS = {Model.PALM_DETECTION, Model.HAND_LANDMARKS}
FACES = {Model.FACE_DETECTION, Model.FACE_LANDMARKS}
#: sd-webui-controlnet's modules, and which networks each needs.
NEEDS = {
    "openpose": BODY,
    "openpose_hand": BODY | HANDS,
    "openpose_face": BODY | FACES,
    "openpose_faceonly": BODY | FACES,
    "openpose_full": BODY | HANDS | FACES,
}
WHITE = (255, 255, 255)


def module(name: str, folder: Path | None) -> Module:
    return next(each for each in plugin(folder).modules if each.description.name == name)


def run(name: str, folder: Path, image: Pixels, resolution: int = 512) -> Result:
    return module(name, folder).run(image, None, {"resolution": resolution})


@pytest.fixture(scope="module")
def answers(models: Path, portraits: Mapping[str, Pixels]) -> dict[str, Result]:
    """What each module makes of a man with crossed arms."""
    return {name: run(name, models, portraits["belt"]) for name in NEEDS}


def colours(image: Pixels) -> set[tuple[int, ...]]:
    return {tuple(each) for each in np.unique(image.reshape(-1, 3), axis=0).tolist()}


def test_the_description_keeps_the_contract_and_names_the_five_modules(models: Path) -> None:
    told = plugin(models).describe()
    assert (told.name, told.kind) == ("controlnet-openpose", "Preprocessor")
    assert [each.name for each in told.modules] == list(NEEDS)
    for each in told.modules:
        assert (each.available, each.reason, each.mask) == (True, "", False)
        assert (each.control_types, each.matches) == (("OpenPose",), ("openpose",))
        assert [(one.name, one.default) for one in each.parameters] == [("resolution", 512)]


@pytest.mark.parametrize("model", Model)
def test_a_missing_file_is_named_by_the_modules_that_need_it_and_only_by_them(
    model: Model, models: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    (folder / model).unlink()
    for each in plugin(folder).describe().modules:
        assert each.available == (model not in NEEDS[each.name])
        assert each.available or each.reason == f"Pose models are missing in {folder}: {model.value}."


def test_a_module_is_available_again_once_its_file_is_there(models: Path, tmp_path: Path) -> None:
    openpose = module("openpose", tmp_path)
    assert not openpose.description.available
    for model in BODY:
        shutil.copy(models / model, tmp_path)
    assert openpose.description.available


def test_without_a_folder_the_reason_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SD_POSE_MODELS", raising=False)
    for each in plugin().describe().modules:
        assert "SD_POSE_MODELS" in each.reason


def test_the_folder_is_the_one_that_the_environment_names(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_POSE_MODELS", str(models))
    assert all(each.available for each in plugin().describe().modules)


@pytest.mark.parametrize("content", [b"", b"no network", b"\0" * 4096])
def test_a_file_that_is_no_network_makes_the_run_unavailable_and_is_named(
    content: bytes, models: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    (folder / Model.BODY_DETECTION).write_bytes(content)
    with pytest.raises(ModuleUnavailable, match=r"pose_detection\.tflite"):
        run("openpose", folder, np.zeros((64, 64, 3), np.uint8))


def test_a_run_without_its_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModuleUnavailable, match=r"pose_detection\.tflite"):
        run("openpose", tmp_path, np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("size", "resolution", "drawn"),
    [((512, 512), 512, (512, 512)), ((300, 600), 256, (256, 512)), ((600, 300), 64, (128, 64))],
)
def test_the_map_is_as_large_as_the_resolution_says(
    size: tuple[int, int], resolution: int, drawn: tuple[int, int], models: Path
) -> None:
    made = run("openpose", models, np.zeros((*size, 3), np.uint8), resolution)
    assert made.image.shape == (*drawn, 3)
    assert made.image.dtype == np.uint8
    (poses,) = made.info["poses"]
    assert (poses["canvas_height"], poses["canvas_width"]) == drawn


def test_where_nobody_is_the_map_is_black_and_there_are_no_people(models: Path) -> None:
    made = run("openpose_full", models, np.full((64, 96, 3), 127, np.uint8))
    assert not made.image.any()
    assert made.info["poses"][0]["people"] == []


def test_only_modules_with_faces_draw_white_dots(answers: dict[str, Result]) -> None:
    with_dots = {name for name, made in answers.items() if WHITE in colours(made.image)}
    assert with_dots == {"openpose_face", "openpose_faceonly", "openpose_full"}


def test_the_face_alone_is_white_on_black_though_the_body_is_told_of(answers: dict[str, Result]) -> None:
    made = answers["openpose_faceonly"]
    assert colours(made.image) == {(0, 0, 0), WHITE}
    assert any(made.info["poses"][0]["people"][0]["pose_keypoints_2d"])


@pytest.mark.parametrize("name", NEEDS)
def test_a_module_tells_of_the_parts_that_it_looks_for(name: str, answers: dict[str, Result]) -> None:
    (person,) = answers[name].info["poses"][0]["people"]
    assert person["pose_keypoints_2d"]
    assert bool(person["hand_right_keypoints_2d"]) == (NEEDS[name] >= HANDS)
    assert bool(person["face_keypoints_2d"]) == (NEEDS[name] >= FACES)


def test_keypoints_are_in_pixels_of_the_map(models: Path, astronaut: Pixels) -> None:
    made = run("openpose", models, astronaut, 256)
    x, y, _ = made.info["poses"][0]["people"][0]["pose_keypoints_2d"][:3]
    assert (x, y) == pytest.approx((225 / 2, 125 / 2), abs=8)
    assert made.image[int(y), int(x)].tolist() == [255, 0, 0]


def test_equal_pictures_have_equal_maps(
    models: Path, portraits: Mapping[str, Pixels], answers: dict[str, Result]
) -> None:
    again = run("openpose_full", models, portraits["belt"].copy())
    assert np.array_equal(again.image, answers["openpose_full"].image)
    assert again.info == answers["openpose_full"].info


def test_a_run_needs_neither_torch_nor_mediapipe(models: Path) -> None:
    program = (
        "import sys, pathlib, numpy as np\n"
        "from sd_plugin.plugins.openpose import plugin\n"
        "for each in plugin(pathlib.Path(sys.argv[1])).modules:\n"
        "    each.run(np.zeros((64, 64, 3), np.uint8), None, {'resolution': 64})\n"
        "print(sorted({'torch', 'mediapipe', 'tensorflow', 'fastapi'} & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, models], check=True, text=True, stdout=subprocess.PIPE
    )
    assert ran.stdout.strip() == "[]"


def test_opencv_has_the_container_s_processors_and_not_the_machine_s(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cv2.getNumThreads()
    monkeypatch.setattr(processors, "threads", lambda: 3)
    try:
        plugin(models)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
