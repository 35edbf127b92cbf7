"""POST /sdapi/v1/img2img: the fields it has beyond those of txt2img."""

from typing import Annotated

from pydantic import Field

from sd_runtime.a1111.fields import NeutralOnly, NoEffect, Served
from sd_runtime.a1111.schemas.body import MAX_ITEMS, Number
from sd_runtime.a1111.schemas.generation import GenerationRequest

#: Of the blur's radius and of the padding, in pixels.
MAX_BLUR = 256
MAX_PADDING = 1024

_INPAINT = "with mask"

Blur = Annotated[int, Field(ge=0, le=MAX_BLUR)]


class Img2ImgRequest(GenerationRequest):
    """POST /sdapi/v1/img2img."""

    init_images: Annotated[
        list[str] | None,
        Field(max_length=MAX_ITEMS),
        Served(
            "one picture for all, or one each, which then count as batch_size; missing: 404; base64, data:"
            " URIs, and URLs where SD_IMAGE_URLS is on"
        ),
    ] = None
    resize_mode: Annotated[
        int, Field(ge=0, le=3), Served("0 just resize, 1 crop, 2 fill, 3 just resize (latent upscale)")
    ] = 0
    image_cfg_scale: Annotated[
        Number | None, NoEffect("belongs to InstructPix2Pix checkpoints, which are not served")
    ] = None
    mask: Annotated[str | None, Served("white is drawn anew; as init_images")] = None
    mask_blur: Annotated[Blur | None, Served(f"{_INPAINT}; given: in place of mask_blur_x and _y")] = None
    mask_blur_x: Annotated[Blur, Served(_INPAINT)] = 4
    mask_blur_y: Annotated[Blur, Served(_INPAINT)] = 4
    mask_round: Annotated[bool, Served(_INPAINT)] = True
    inpainting_fill: Annotated[
        int,
        Field(ge=0, le=3),
        Served(f"{_INPAINT}: 0 fill, 1 original, 2 latent noise, 3 latent nothing"),
    ] = 0
    inpaint_full_res: Annotated[
        bool, Served(f"{_INPAINT}: draw the masked area alone; a mask with nothing to draw is refused then")
    ] = True
    inpaint_full_res_padding: Annotated[int, Field(ge=0, le=MAX_PADDING), Served("with inpaint_full_res")] = 0
    inpainting_mask_invert: Annotated[int, Field(ge=0, le=1), Served(_INPAINT)] = 0
    initial_noise_multiplier: Annotated[
        Number | None, Field(ge=0, le=1.5), Served("null: the option of this name")
    ] = None
    latent_mask: Annotated[
        str | None, NeutralOnly((None, ""), "a mask of the latents apart from the picture's is not served")
    ] = None
    include_init_images: Annotated[
        bool, Served("false: init_images and mask are null in the answer's parameters")
    ] = False
