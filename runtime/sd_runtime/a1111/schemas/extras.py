"""POST /sdapi/v1/extra-single-image and extra-batch-images: pictures made larger."""

from typing import Annotated

from pydantic import BaseModel, Field

from sd_runtime.a1111.fields import NeutralOnly, NoEffect, Served
from sd_runtime.a1111.schemas.body import MAX_ITEMS, MAX_SIDE, Body, Name, Number, Share

_FACES = "face restoration is not served"
_PICTURE = "base64, data: URIs, and URLs where SD_IMAGE_URLS is on; what is transparent becomes white"

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class ExtrasRequest(Body):
    """The fields that both have in common."""

    resize_mode: Annotated[
        int, Field(ge=0, le=1), Served("0 by upscaling_resize, 1 to upscaling_resize_w and _h")
    ] = 0
    show_extras_results: Annotated[bool, NoEffect("it is for A1111's page, which is not served")] = True
    gfpgan_visibility: Annotated[Number, NeutralOnly((0,), _FACES)] = 0.0
    codeformer_visibility: Annotated[Number, NeutralOnly((0,), _FACES)] = 0.0
    codeformer_weight: Annotated[Number, NoEffect("belongs to codeformer_visibility, which is 0")] = 0.0
    upscaling_resize: Annotated[
        Number, Field(gt=0, le=8), Served("with resize_mode 0: times as wide and as high")
    ] = 2.0
    upscaling_resize_w: Annotated[Side, Served("with resize_mode 1")] = 512
    upscaling_resize_h: Annotated[Side, Served("with resize_mode 1")] = 512
    upscaling_crop: Annotated[
        bool, Served("with resize_mode 1: what stands out is cut off; false: the picture stays whole")
    ] = True
    upscaler_1: Annotated[
        Name, Served('those of upscalers; "None": the picture stays as it is; an unknown one is refused')
    ] = "None"
    upscaler_2: Annotated[Name, Served("as upscaler_1; laid over its result")] = "None"
    extras_upscaler_2_visibility: Annotated[Share, Served("0: upscaler_2 is left out")] = 0.0
    upscale_first: Annotated[bool, NoEffect("faces are not restored, before or after")] = False


class ExtrasSingleRequest(ExtrasRequest):
    """POST /sdapi/v1/extra-single-image."""

    image: Annotated[str, Served(_PICTURE)] = ""


class FileData(BaseModel):
    """One picture of several."""

    data: str
    name: Name = ""


class ExtrasBatchRequest(ExtrasRequest):
    """POST /sdapi/v1/extra-batch-images."""

    imageList: Annotated[
        list[FileData],
        Field(min_length=1, max_length=MAX_ITEMS),
        Served(f"each {{data, name}}; data: {_PICTURE}; the name is not used"),
    ]


class ExtrasSingleResponse(BaseModel):
    """What was done, as HTML, and the picture."""

    html_info: str
    image: str


class ExtrasBatchResponse(BaseModel):
    """What was done, as HTML, and the pictures in the order they were sent."""

    html_info: str
    images: list[str]
