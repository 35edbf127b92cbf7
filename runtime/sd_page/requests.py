"""What a form says, as the body of A1111's route. Pure but for reading the files of pictures.

Values go to the interface as they were given: it says what is wrong with them.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd_page import pictures
from sd_page.pictures import Unusable

#: Of `enable_hr`: without it they have no effect, and are not sent.
_HIRES = (
    "hr_upscaler",
    "hr_second_pass_steps",
    "denoising_strength",
    "hr_scale",
    "hr_resize_x",
    "hr_resize_y",
)
#: Of a mask.
_MASKING = (
    "mask_blur",
    "inpainting_mask_invert",
    "inpainting_fill",
    "inpaint_full_res",
    "inpaint_full_res_padding",
)
#: Where the pictures of img2img's three modes are.
PICTURE, EDITOR, UPLOADED, MASK = "init_images", "inpaint", "upload.image", "mask"
_PICTURES = (PICTURE, EDITOR, UPLOADED, MASK)
_CONTROL = "alwayson_scripts.controlnet.args"
#: The size of the editor's canvas while no picture is on it. Sides that hardly any picture has: what was
#: drawn on an empty canvas comes as if there were a picture of this size and one colour.
CANVAS = (797, 803)
#: Of the editor's layers, which has one.
_MOST_LAYERS = 4


def txt2img(values: Mapping[str, Any], units: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of txt2img. `units` are ControlNet's that are on."""
    left_out = () if values.get("enable_hr") else _HIRES
    return _body(_without(values, left_out), units)


def img2img(values: Mapping[str, Any], mode: str, units: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of img2img. `mode`: `img2img`, `inpaint` (with a mask that was drawn), `inpaint_upload` (with
    one that was brought). What was drawn is decoded: `named` tells the files, to be judged before. Raises
    `Unusable`."""
    if mode == "inpaint":
        given = _drawn(values.get(EDITOR))
    elif mode == "inpaint_upload":
        given = {
            "init_images": [_needed(values, UPLOADED, "no_picture")],
            "mask": _needed(values, MASK, "no_mask"),
        }
    else:
        given = {"init_images": [_needed(values, PICTURE, "no_picture")]}
    left_out = (*_PICTURES, *(() if "mask" in given else _MASKING))
    return _body(_without(values, left_out), units) | given


def named(values: Mapping[str, Any], mode: str) -> list[tuple[str, str]]:
    """The files of pictures that `img2img` would read, each behind its field. Raises `Unusable`."""
    if mode == "inpaint":
        editor = values.get(EDITOR) or {}
        layers = editor.get("layers") or []
        if len(layers) > _MOST_LAYERS:
            raise Unusable(EDITOR, "too_many_layers", count=len(layers), most=_MOST_LAYERS)
        return [(EDITOR, path) for path in (editor.get("background"), *layers) if path]
    fields = (UPLOADED, MASK) if mode == "inpaint_upload" else (PICTURE,)
    return [(field, values[field]) for field in fields if values.get(field)]


def extras(values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of extra-single-image. Raises `Unusable`."""
    picture = _needed(values, "image", "no_picture")
    return _body(_without(values, ("image",)), []) | {"image": picture}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields whose names have dots, as objects within objects."""
    body: dict[str, Any] = {}
    for field, value in values.items():
        *path, name = field.split(".")
        place = body
        for each in path:
            place = place.setdefault(each, {})
        place[name] = value
    return body


def base64_of(path: str) -> str:
    """The bytes of a picture's file, as the interface takes them."""
    return base64.b64encode(Path(path).read_bytes()).decode("ascii")


def picture_telling(infotext: str) -> str:
    """A picture (base64) of one pixel that tells this of its making: for png-info, which reads it."""
    told = PngInfo()
    told.add_itxt("parameters", infotext)
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG", pnginfo=told)
    return base64.b64encode(file.getvalue()).decode("ascii")


def mask_of(layers: list[str], size: tuple[int, int]) -> bytes | None:
    """A PNG that is white where something was drawn on any layer; None: nothing was. `layers` are files of
    pictures with transparency, `size` is that of the picture below them, in pixels."""
    mask = Image.new("L", size, 0)
    for path in layers:
        with Image.open(path) as layer:
            drawn = layer.convert("RGBA").getchannel("A").point(lambda alpha: 255 if alpha else 0)
        if drawn.size != size:
            # Of a larger layer not the thinnest line is lost.
            drawn = drawn.resize(size, Image.Resampling.BOX).point(lambda share: 255 if share else 0)
        mask.paste(255, mask=drawn)
    if mask.getbbox() is None:
        return None
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


def _body(values: Mapping[str, Any], units: list[dict[str, Any]]) -> dict[str, Any]:
    said = {
        field: value
        for field, value in values.items()
        # What is left empty is the interface's to fill in.
        if value is not None and value != "" and not field.startswith(_CONTROL)
    }
    body = nested(said)
    if units:
        body["alwayson_scripts"] = {"controlnet": {"args": units}}
    return body


def _without(values: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: value for field, value in values.items() if field not in fields}


def _needed(values: Mapping[str, Any], field: str, key: str) -> str:
    path = values.get(field)
    if not path:
        raise Unusable(field, key)
    return base64_of(path)


def _drawn(editor: Mapping[str, Any] | None) -> dict[str, Any]:
    """Picture and mask of an image editor: `{"background": path, "layers": [path, …]}`."""
    background = editor and editor.get("background")
    if not editor or not background:
        raise Unusable(EDITOR, "no_picture")
    layers = [layer for layer in editor.get("layers") or [] if layer]
    try:
        size = pictures.size_of(background)
        with Image.open(background) as picture:
            if _is_empty(picture):
                raise Unusable(EDITOR, "no_picture")
        if not all(_covers(layer, size) for layer in layers):
            raise Unusable(EDITOR, "drawn_elsewhere")
        mask = mask_of(layers, size)
    except OSError as error:
        raise Unusable(EDITOR, "not_a_picture") from error
    if mask is None:
        raise Unusable(EDITOR, "nothing_drawn")
    return {"init_images": [base64_of(background)], "mask": base64.b64encode(mask).decode("ascii")}


def _is_empty(picture: Image.Image) -> bool:
    """Whether it is the editor's empty canvas."""
    return picture.size == CANVAS and picture.getcolors(1) is not None


def _covers(layer: str, size: tuple[int, int]) -> bool:
    """Whether a layer has the shape of the picture below it, so that what was drawn is where it was seen."""
    with Image.open(layer) as drawn:
        width, height = drawn.size
    # Each side of one that was scaled may have been rounded by half a pixel.
    return 2 * abs(width * size[1] - height * size[0]) <= sum(size)
