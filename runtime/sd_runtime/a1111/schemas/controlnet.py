"""The routes of sd-webui-controlnet: what is asked of /controlnet/detect, and what they answer."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from sd_runtime.a1111.fields import NoEffect, Served
from sd_runtime.a1111.schemas.body import MAX_ITEMS, Body, Name
from sd_runtime.a1111.schemas.unit import Setting


class DetectRequest(Body):
    """POST /controlnet/detect."""

    controlnet_module: Annotated[Name, Served("as module of a unit")] = "none"
    controlnet_input_images: Annotated[
        list[str],
        Field(max_length=MAX_ITEMS),
        Served("one or more; base64, data: URIs, and URLs where SD_IMAGE_URLS is on"),
    ] = []  # noqa: RUF012 - pydantic copies defaults
    controlnet_processor_res: Annotated[Setting, Served("as processor_res of a unit")] = -1
    controlnet_threshold_a: Annotated[Setting, Served("as threshold_a of a unit")] = -1
    controlnet_threshold_b: Annotated[Setting, Served("as threshold_b of a unit")] = -1
    controlnet_masks: Annotated[
        list[str],
        Field(max_length=MAX_ITEMS),
        Served('the first is of the first picture, …; "": none; refused with a module that takes none'),
    ] = []  # noqa: RUF012
    low_vram: Annotated[bool, NoEffect("modules run in processes of their own")] = False


class DetectResponse(BaseModel):
    """The maps, as PNG in base64; `poses` where the module tells any, one item for each picture."""

    info: str = "Success"
    images: list[str]
    poses: list[Any] | None = None


class VersionResponse(BaseModel):
    """The version of the interface."""

    version: int


class ModelList(BaseModel):
    """ControlNets, by the names that units take."""

    model_list: list[str]


class Slider(BaseModel):
    """A number of a module: the resolution first, then the thresholds."""

    name: str
    #: Of a unit, which sets it: `processor_res`, `threshold_a` or `threshold_b`. sd-webui-controlnet leaves
    #: it to be guessed.
    field: str
    value: float | int
    min: float | int
    max: float | int
    step: float | int


class ModuleDetail(BaseModel):
    """Of a module; `model_free`: it needs no ControlNet, which none does."""

    model_free: bool
    sliders: list[Slider]


class ModuleList(BaseModel):
    """Modules, by the names that units take."""

    module_list: list[str]
    module_detail: dict[str, ModuleDetail]


class ControlTypeItem(BaseModel):
    """What belongs to a control type, and what it stands for where a unit names only the type."""

    module_list: list[str]
    model_list: list[str]
    default_option: str
    default_model: str


class ControlTypes(BaseModel):
    """The control types by their names."""

    control_types: dict[str, ControlTypeItem]


class ControlNetSettings(BaseModel):
    """How many units a request may have on."""

    control_net_unit_count: int
