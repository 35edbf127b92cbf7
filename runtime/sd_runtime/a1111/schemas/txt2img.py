"""POST /sdapi/v1/txt2img: the fields it has beyond those of img2img."""

from typing import Annotated

from pydantic import Field

from sd_runtime.a1111.fields import Served
from sd_runtime.a1111.schemas.body import MAX_SIDE, MAX_STEPS, Name, Number, Text
from sd_runtime.a1111.schemas.generation import GenerationRequest

_HIRES = "with enable_hr"

SideOrNone = Annotated[int, Field(ge=0, le=MAX_SIDE, multiple_of=8)]


class Txt2ImgRequest(GenerationRequest):
    """POST /sdapi/v1/txt2img."""

    enable_hr: Annotated[bool, Served("a second pass over the enlarged picture")] = False
    firstphase_width: Annotated[
        SideOrNone,
        Served(
            "with enable_hr: the size of the first pass, as in A1111 before hr_scale; width and height are"
            " then the final size, unless hr_resize_x or _y is given. Other values than 0 need enable_hr"
        ),
    ] = 0
    firstphase_height: Annotated[SideOrNone, Served("as firstphase_width, and given with it")] = 0
    hr_scale: Annotated[
        Number, Field(ge=0, le=8), Served(f"{_HIRES}; the final size is rounded down to a multiple of 8")
    ] = 2.0
    hr_upscaler: Annotated[
        Name | None,
        Served(f"{_HIRES}: those of latent-upscale-modes and upscalers; null: Latent"),
    ] = None
    hr_second_pass_steps: Annotated[
        int, Field(ge=0, le=MAX_STEPS), Served(f"{_HIRES}; 0: as many as steps")
    ] = 0
    hr_resize_x: Annotated[
        SideOrNone, Served(f"{_HIRES}: the final size in place of hr_scale; 0: follows from the other side")
    ] = 0
    hr_resize_y: Annotated[SideOrNone, Served("as hr_resize_x")] = 0
    hr_checkpoint_name: Annotated[Name | None, Served(_HIRES)] = None
    hr_sampler_name: Annotated[Name | None, Served(_HIRES)] = None
    hr_scheduler: Annotated[Name | None, Served(_HIRES)] = None
    hr_prompt: Annotated[Text, Served(f"{_HIRES}; empty: the prompt")] = ""
    hr_negative_prompt: Annotated[Text, Served(f"{_HIRES}; empty: the negative prompt")] = ""
