"""What a form says, as the body that is sent."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd_page import requests
from sd_page.pictures import Unusable

PLAIN: dict[str, Any] = {"prompt": "a cat", "steps": 20, "seed": -1}


@pytest.mark.parametrize(
    ("values", "body"),
    [
        pytest.param(PLAIN, PLAIN, id="values go as they were given"),
        pytest.param({"prompt": "x", "styles": None, "seed": ""}, {"prompt": "x"}, id="what is empty is not"),
        pytest.param({"steps": 0, "tiling": False}, {"steps": 0, "tiling": False}, id="zero and false"),
        pytest.param(
            {"override_settings.sd_vae": "a", "override_settings.CLIP_stop_at_last_layers": 2},
            {"override_settings": {"sd_vae": "a", "CLIP_stop_at_last_layers": 2}},
            id="dots are objects within objects",
        ),
        pytest.param(
            {"enable_hr": False, "hr_scale": 2, "denoising_strength": 0.7},
            {"enable_hr": False},
            id="hires fix that is off has no values",
        ),
        pytest.param(
            {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7},
            {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7},
            id="hires fix that is on has them",
        ),
        pytest.param(
            {"alwayson_scripts.controlnet.args.0.module": "canny", "prompt": "x"},
            {"prompt": "x"},
            id="units come from elsewhere",
        ),
    ],
)  # fmt: skip
def test_the_body_of_txt2img(values: dict[str, Any], body: dict[str, Any]) -> None:
    assert requests.txt2img(values, []) == body


def test_units_that_are_on_are_sent() -> None:
    body = requests.txt2img({"prompt": "x"}, [{"module": "canny"}])
    assert body["alwayson_scripts"] == {"controlnet": {"args": [{"module": "canny"}]}}


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    Image.new("RGB", (16, 8), "red").save(path)
    return str(path)


def drawn(folder: Path, *points: tuple[int, int], size: tuple[int, int] = (16, 8)) -> str:
    """A layer with these pixels on it."""
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    for point in points:
        layer.putpixel(point, (255, 0, 0, 40))
    path = folder / f"layer-{len(points)}-{size[0]}.png"
    layer.save(path)
    return str(path)


def mask_in(body: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(body["mask"])))


def test_the_picture_of_img2img_is_the_files_own_bytes(photo: str) -> None:
    body = requests.img2img({"init_images": photo, "mask_blur": 4, "resize_mode": 1}, "img2img", [])
    assert body == {"resize_mode": 1, "init_images": [requests.base64_of(photo)]}
    assert base64.b64decode(body["init_images"][0]) == Path(photo).read_bytes()


def test_what_is_drawn_is_the_mask_however_faintly(photo: str, tmp_path: Path) -> None:
    editor = {"background": photo, "layers": [drawn(tmp_path, (3, 2))]}
    body = requests.img2img({"inpaint": editor, "mask_blur": 4}, "inpaint", [])
    mask = mask_in(body)
    assert mask.size == (16, 8)
    assert mask.mode == "L"
    assert mask.getbbox() == (3, 2, 4, 3)
    assert mask.getpixel((3, 2)) == 255
    assert body["mask_blur"] == 4
    assert "inpaint" not in body


def test_the_mask_has_the_pictures_size_whatever_the_layers(photo: str, tmp_path: Path) -> None:
    layers = [drawn(tmp_path, (6, 4), size=(32, 16)), drawn(tmp_path, (0, 0), (1, 0))]
    body = requests.img2img({"inpaint": {"background": photo, "layers": layers}}, "inpaint", [])
    assert mask_in(body).getbbox() == (0, 0, 4, 3)


def test_what_was_drawn_on_an_empty_canvas_is_no_picture(tmp_path: Path) -> None:
    """The editor gives its canvas, white or grey by the theme, where no picture is on it."""
    for colour in ("white", "#333333"):
        canvas, plain = tmp_path / "canvas.png", tmp_path / "plain.png"
        Image.new("RGBA", requests.CANVAS, colour).save(canvas)
        Image.new("RGBA", (64, 64), colour).save(plain)
        layers = {each: [drawn(tmp_path, (30, 30), size=each)] for each in (requests.CANVAS, (64, 64))}
        with pytest.raises(Unusable) as raised:
            empty = {"background": str(canvas), "layers": layers[requests.CANVAS]}
            requests.img2img({"inpaint": empty}, "inpaint", [])
        assert (raised.value.field, raised.value.key) == ("inpaint", "no_picture")
        editor = {"background": str(plain), "layers": layers[64, 64]}
        assert requests.img2img({"inpaint": editor}, "inpaint", [])["mask"]


@pytest.mark.parametrize("size", [(803, 797), (8, 16), (16, 16), (20, 8)], ids=str)
def test_a_layer_of_another_shape_is_no_mask(photo: str, tmp_path: Path, size: tuple[int, int]) -> None:
    layers = [drawn(tmp_path, (1, 1)), drawn(tmp_path, (0, 0), size=size)]
    with pytest.raises(Unusable) as raised:
        requests.img2img({"inpaint": {"background": photo, "layers": layers}}, "inpaint", [])
    assert (raised.value.field, raised.value.key) == ("inpaint", "drawn_elsewhere")


@pytest.mark.parametrize(
    ("mode", "given", "missing"),
    [
        ("img2img", {}, ("init_images", "no_picture")),
        ("inpaint", {"inpaint": None}, ("inpaint", "no_picture")),
        ("inpaint", {"inpaint": {"background": None, "layers": []}}, ("inpaint", "no_picture")),
        ("inpaint", {"inpaint": {"background": "photo", "layers": []}}, ("inpaint", "nothing_drawn")),
        ("inpaint", {"inpaint": {"background": "text", "layers": []}}, ("inpaint", "not_a_picture")),
        ("inpaint", {"inpaint": {"background": "photo", "layers": ["text"]}}, ("inpaint", "not_a_picture")),
        ("inpaint_upload", {"mask": "photo"}, ("upload.image", "no_picture")),
        ("inpaint_upload", {"upload.image": "photo"}, ("mask", "no_mask")),
    ],
)
def test_a_picture_that_is_needed_is_asked_for(
    mode: str, given: dict[str, Any], missing: tuple[str, str], photo: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no picture")
    files = {"photo": photo, "text": str(tmp_path / "text")}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [placed(each) for each in value]
        return files.get(value, value) if isinstance(value, str) else value

    with pytest.raises(Unusable) as raised:
        requests.img2img(placed(given), mode, [])
    assert (raised.value.field, raised.value.key) == missing


def test_the_mode_decides_which_picture_is_sent(photo: str) -> None:
    body = requests.img2img(
        {"init_images": "elsewhere", "upload.image": photo, "mask": photo}, "inpaint_upload", []
    )
    bytes_ = requests.base64_of(photo)
    assert body == {"init_images": [bytes_], "mask": bytes_}


def test_extras_take_one_picture(photo: str) -> None:
    body = requests.extras({"image": photo, "upscaler_1": "Lanczos", "upscaling_resize": 2})
    assert body == {"image": requests.base64_of(photo), "upscaler_1": "Lanczos", "upscaling_resize": 2}
    with pytest.raises(Unusable):
        requests.extras({"image": None})


def test_a_text_is_put_where_png_info_reads_it() -> None:
    picture = Image.open(io.BytesIO(base64.b64decode(requests.picture_telling("a 猫\nSteps: 3"))))
    assert picture.info["parameters"] == "a 猫\nSteps: 3"


def test_a_stack_of_layers_is_refused_before_one_of_them_is_opened() -> None:
    editor = {"background": "nowhere", "layers": ["nowhere"] * 5}
    with pytest.raises(Unusable) as raised:
        requests.named({"inpaint": editor}, "inpaint")
    assert (raised.value.key, raised.value.values) == ("too_many_layers", {"count": 5, "most": 4})


def test_the_files_that_a_mode_reads_are_named_before() -> None:
    editor = {"background": "b", "layers": ["l", None], "composite": "c"}
    values = {"init_images": "p", "inpaint": editor, "upload.image": "u", "mask": "m"}
    assert requests.named(values, "img2img") == [("init_images", "p")]
    assert requests.named(values, "inpaint") == [("inpaint", "b"), ("inpaint", "l")]
    assert requests.named(values, "inpaint_upload") == [("upload.image", "u"), ("mask", "m")]
    assert requests.named({"inpaint": None}, "inpaint") == []


def test_the_mask_of_a_picture_that_is_turned_by_its_header_is_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (16, 8), "red").save(path, exif=turned)
    editor = {"background": str(path), "layers": [drawn(tmp_path, (3, 2), size=(8, 16))]}
    assert mask_in(requests.img2img({"inpaint": editor}, "inpaint", [])).size == (8, 16)
