"""A unit of ControlNet as requests spell it: its fields with their defaults and treatments, and the many
spellings of one value that clients send. Knows neither files nor preprocessors."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from sd_runtime.a1111.fields import NeutralOnly, NoEffect, Served
from sd_runtime.a1111.schemas.body import MAX_ITEMS, MAX_SIDE, Body, Name, Number, Share
from sd_runtime.errors import UnsupportedError
from sd_runtime.tasks.control import ControlMode
from sd_runtime.tasks.recipe import ResizeMode

NONE = "none"

RESIZE_MODES: Mapping[ResizeMode, str] = {
    ResizeMode.STRETCH: "Just Resize",
    ResizeMode.CROP: "Crop and Resize",
    ResizeMode.FILL: "Resize and Fill",
}
_OLD_RESIZE_MODES = {
    "Inner Fit (Scale to Fit)": ResizeMode.CROP,
    "Scale to Fit (Inner Fit)": ResizeMode.CROP,
    "Outer Fit (Shrink to Fit)": ResizeMode.FILL,
    "Envelope (Outer Fit)": ResizeMode.FILL,
}
CONTROL_MODES: Mapping[ControlMode, str] = {
    ControlMode.BALANCED: "Balanced",
    ControlMode.PROMPT: "My prompt is more important",
    ControlMode.CONTROL: "ControlNet is more important",
}
BOTH, LOW_RES, HIGH_RES = "Both", "Low res only", "High res only"
HR_OPTIONS = (BOTH, LOW_RES, HIGH_RES)

#: Older names of fields, and Forge's.
ALIASES = {
    "guidance": "guidance_end",
    "lowvram": "low_vram",
    "input_image": "image",
    "mask_image": "mask",
}


def _spelled(names: Mapping[Any, str], others: Mapping[str, Any]) -> BeforeValidator:
    """Takes a number, or one of the names in any case."""
    by_text = {name.lower(): value for value, name in names.items()}
    by_text |= {name.lower(): value for name, value in others.items()}
    allowed = ", ".join(f'{int(value)} or "{name}"' for value, name in names.items())

    def read(value: object, info: ValidationInfo) -> Any:
        found = None
        if isinstance(value, str):
            found = by_text.get(value.strip().lower())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = next((each for each in names if each == value), None)
        if found is None:
            raise UnsupportedError(str(info.field_name), value, allowed)
        return found

    number = Annotated[int, Field(ge=min(names), le=max(names))]
    return BeforeValidator(read, json_schema_input_type=number | str)


def _hr_option(value: object, info: ValidationInfo) -> str:
    text = value.strip().lower() if isinstance(value, str) else value
    found = next((each for each in HR_OPTIONS if each.lower() == text), None)
    if found is None:
        raise UnsupportedError(str(info.field_name), value, HR_OPTIONS)
    return found


_BATCH = "batches of files are a matter of A1111's page, which is not served"
_ADAPTER = "IP-Adapters are not served"
_PICTURE = "base64, data: URIs, and URLs where SD_IMAGE_URLS is on"


#: Of a module, each of which has a range of its own.
Setting = Annotated[Number, Field(ge=-MAX_SIDE, le=MAX_SIDE)]


class Unit(Body):
    """One ControlNet of a request, an item of `alwayson_scripts.controlnet.args`."""

    enabled: Annotated[
        bool | None,
        Served(
            "null: true where the unit says anything at all, in known keys or not (Forge's;"
            " sd-webui-controlnet's default is false, by which units are left out without a word)"
        ),
    ] = None
    control_type: Annotated[
        Name | None,
        Served(
            "beyond A1111's interface: one of /controlnet/control_types, which says module and model where"
            " the unit does not"
        ),
    ] = None
    module: Annotated[
        Name, Served("a preprocessor's name, label or alias; an unknown one is refused, not replaced")
    ] = NONE
    model: Annotated[
        Name,
        Served('"name [hash]" as /controlnet/model_list has it, or the name, with or without ending; needed'),
    ] = "None"
    weight: Annotated[Number, Field(ge=0, le=2), Served("0: as if there were no unit")] = 1.0
    image: Annotated[
        Any,
        Served(
            f"{_PICTURE}; {{image, mask}}; [image, mask]; or a list of the last two: a set, of which picture"
            " i gets number i modulo their count. Missing: in img2img the picture to draw over, in txt2img"
            " refused"
        ),
    ] = None
    mask: Annotated[
        str | None,
        Served(
            "of the size of image; white is drawn anew (inpaint modules), or goes to a module that takes"
            " masks; with any other module a mask with something in it is the drawing itself (A1111's)"
        ),
    ] = None
    resize_mode: Annotated[
        ResizeMode, _spelled(RESIZE_MODES, _OLD_RESIZE_MODES), Served("names, old names and 0 to 2")
    ] = ResizeMode.CROP
    low_vram: Annotated[bool, NoEffect("memory is budgeted for all requests together")] = False
    processor_res: Annotated[
        Setting, Served("-1, or out of the module's range: the module's default, as with the thresholds")
    ] = -1
    threshold_a: Annotated[Setting, Served("the module's first slider")] = -1
    threshold_b: Annotated[Setting, Served("the module's second slider")] = -1
    guidance_start: Annotated[Share, Served("a share of the steps; at most guidance_end")] = 0.0
    guidance_end: Annotated[Share, Served("a share of the steps")] = 1.0
    pixel_perfect: Annotated[
        bool, Served("true: the resolution follows from the picture's size, within the module's range")
    ] = False
    control_mode: Annotated[ControlMode, _spelled(CONTROL_MODES, {}), Served("names and 0 to 2")] = (
        ControlMode.BALANCED
    )
    inpaint_crop_input_image: Annotated[
        bool, Served("with inpaint_full_res of img2img: false: the image is not cut as the picture is")
    ] = True
    hr_option: Annotated[
        str, BeforeValidator(_hr_option), Served("with enable_hr: " + ", ".join(HR_OPTIONS))
    ] = BOTH
    save_detected_map: Annotated[bool, Served("false: the map is not added to the answer")] = True
    effective_region_mask: Annotated[
        str | None, Served(f"where the unit has an effect, white; stretched to the picture; {_PICTURE}")
    ] = None
    advanced_weighting: Annotated[
        list[Any] | None,
        Field(max_length=MAX_ITEMS),
        NeutralOnly((None, []), "a weight for each layer is not served; control_mode has three of them"),
    ] = None
    union_control_type: Annotated[
        Name | None, NeutralOnly((None, "Unknown"), "ControlNet Union is not served")
    ] = None
    ipadapter_input: Annotated[Any, NeutralOnly((None, [], ""), _ADAPTER)] = None
    pulid_mode: Annotated[Name | None, NoEffect("belongs to PuLID's modules, which are not served")] = None
    input_mode: Annotated[Name, NeutralOnly(("simple",), _BATCH)] = "simple"
    batch_images: Annotated[Any, NeutralOnly((None, "", []), _BATCH)] = None
    batch_mask_dir: Annotated[Any, NeutralOnly((None, ""), _BATCH)] = None
    batch_image_files: Annotated[Any, NeutralOnly((None, "", []), _BATCH)] = None
    batch_modifiers: Annotated[Any, NeutralOnly((None, []), _BATCH)] = None
    batch_keyframe_idx: Annotated[Any, NeutralOnly((None, "", []), _BATCH)] = None
    animatediff_batch: Annotated[bool, NeutralOnly((False,), _BATCH)] = False
    loopback: Annotated[bool, NeutralOnly((False,), _BATCH)] = False
    output_dir: Annotated[Name, NoEffect("belongs to batches")] = ""
    is_ui: Annotated[bool, NoEffect("it is for A1111's page, which is not served")] = False

    @property
    def is_active(self) -> bool:
        """Whether it takes part."""
        return bool(self.model_fields_set) if self.enabled is None else self.enabled
