"""What the interface's answers mean to the page: choices, facts, pictures, and the values of a form. Pure."""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Stands before the reason why a choice cannot be used; `page.js` makes it one that cannot be chosen.
UNUSABLE = "⊘"

#: What is shown, and what is sent.
Choice = tuple[str, str]

#: Pixels of a side that a family was taught with; 512 where it is not told here.
_SIDES = {"SDXL": 1024, "SDXLRefiner": 1024}
_OTHER_SIDE = 512


def finite(text: Any) -> float:
    """A number; raises ValueError also for those that JSON does not have."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


#: A1111's words in infotext, the field, and what makes its value.
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Prompt": ("prompt", str),
    "Negative prompt": ("negative_prompt", str),
    "Steps": ("steps", int),
    "Sampler": ("sampler_name", str),
    "Schedule type": ("scheduler", str),
    "CFG scale": ("cfg_scale", finite),
    "Seed": ("seed", int),
    "Size-1": ("width", int),
    "Size-2": ("height", int),
    "Denoising strength": ("denoising_strength", finite),
    "Hires upscaler": ("hr_upscaler", str),
    "Hires steps": ("hr_second_pass_steps", int),
    "Hires upscale": ("hr_scale", finite),
    "Hires resize-1": ("hr_resize_x", int),
    "Hires resize-2": ("hr_resize_y", int),
    "Clip skip": ("override_settings.CLIP_stop_at_last_layers", int),
    "VAE": ("override_settings.sd_vae", str),
    "Mask blur": ("mask_blur", int),
    "Masked area padding": ("inpaint_full_res_padding", int),
}
#: Integers beyond it are rounded by browsers, and what is beyond 64 bits no answer can carry.
LARGEST = 2**53 - 1
_CONTENTS = {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3}


@dataclass(frozen=True, slots=True)
class Made:
    """One picture of an answer: its file's bytes, and what it tells of its making ("" of a map or a grid)."""

    data: bytes
    infotext: str


def names(answer: Iterable[Mapping[str, Any]], key: str = "name") -> list[str]:
    """The names of one of A1111's lists."""
    return [str(each[key]) for each in answer]


def kept(value: object, choices: Sequence[str], otherwise: str | None = None) -> str | None:
    """A choice that was made, as long as it is there; else `otherwise`, else the first."""
    if value in choices:
        return str(value)
    if otherwise in choices:
        return otherwise
    return choices[0] if choices else None


def side_of(family: str | None) -> int:
    """Pixels of a side that pictures of this family begin with."""
    return _SIDES.get(family or "", _OTHER_SIDE)


def is_a_default(width: object, height: object) -> bool:
    """Whether a size is one that the page has set by itself."""
    return width == height and width in {*_SIDES.values(), _OTHER_SIDE}


def size_in_words(count: int) -> str:
    """Bytes, for people: `1.99 GiB`."""
    for unit, of in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= of:
            return f"{count / of:.3g} {unit}"
    return f"{count} B"


def pictures(answer: Mapping[str, Any]) -> list[Made]:
    """The pictures of an answer of txt2img, img2img or extra-single-image, in its order: those that were
    asked for have an infotext, a grid before them has one, too, and maps behind them have none."""
    if "image" in answer:
        return [Made(base64.b64decode(answer["image"]), "")]
    texts: Sequence[str] = json.loads(answer["info"])["infotexts"] if answer.get("info") else ()
    images: Sequence[str] = answer["images"]
    return [
        Made(base64.b64decode(image), texts[place] if place < len(texts) else "")
        for place, image in enumerate(images)
    ]


def ending_of(data: bytes) -> str:
    """What the name of a picture's file ends with, by its first bytes."""
    if data.startswith(b"\x89PNG"):
        return "png"
    if data.startswith(b"\xff\xd8"):
        return "jpg"
    if data[8:12] == b"WEBP":
        return "webp"
    return "gif" if data.startswith(b"GIF8") else "bin"


def seed_of(infotext: str) -> int | None:
    """The seed that an infotext tells."""
    # The prompt comes first, and may say anything.
    found = re.findall(r"(?:^|, |\n)Seed: (\d+)(?=,|$)", infotext)
    return int(found[-1]) if found else None


def form_values(parameters: Mapping[str, Any], checkpoints: Sequence[str] = ()) -> dict[str, Any]:
    """Values by field, of what png-info says of a picture. Its model is looked for among `checkpoints`, which
    are titles."""
    values: dict[str, Any] = {}
    for word, (field, make) in _FIELDS.items():
        try:
            if parameters.get(word) not in (None, ""):
                values[field] = make(parameters[word])
        except (ValueError, OverflowError):
            continue  # not a number where one belongs: a stranger's text
    values = {field: value for field, value in values.items() if can_be_shown(value)}
    if "Prompt" in parameters:
        values["negative_prompt"] = parameters.get("Negative prompt", "")
    if values:
        values["enable_hr"] = "hr_scale" in values or "hr_resize_x" in values
    if parameters.get("Masked content") in _CONTENTS:
        values["inpainting_fill"] = _CONTENTS[parameters["Masked content"]]
    if "Inpaint area" in parameters:
        values["inpaint_full_res"] = parameters["Inpaint area"] == "Only masked"
    checkpoint = title_of(parameters, checkpoints)
    if checkpoint is not None:
        values["override_settings.sd_model_checkpoint"] = checkpoint
    return values


def can_be_shown(value: Any) -> bool:
    """Whether a browser shows a value as it is."""
    return not isinstance(value, int) or abs(value) <= LARGEST


def too_large(parameters: Mapping[str, Any]) -> list[str]:
    """The fields of numbers that a browser cannot show as they are; `form_values` leaves them out."""
    fields = []
    for word, (field, make) in _FIELDS.items():
        # However long: Python reads no more than some thousand digits.
        if make is int and re.fullmatch(r"\s*[+-]?\d{16,}\s*", str(parameters.get(word))):
            digits = str(parameters[word]).strip().lstrip("+-0")
            if len(digits) > 16 or int(digits or "0") > LARGEST:
                fields.append(field)
    return fields


def title_of(parameters: Mapping[str, Any], checkpoints: Sequence[str]) -> str | None:
    """The title of the checkpoint that a picture was made with, by its hash, else its name."""
    digest, name = parameters.get("Model hash"), parameters.get("Model")
    for title in checkpoints:
        if digest and title.endswith(f"[{digest}]"):
            return title
    for title in checkpoints:
        if name and title.partition(" [")[0].rpartition("/")[2].rpartition(".")[0] == name:
            return title
    return None
