"""The answers of the routes that make pictures, and what is asked and told of a picture file's text."""

from typing import Annotated, Any

from pydantic import BaseModel

from sd_runtime.a1111.fields import Served
from sd_runtime.a1111.schemas.body import Body


class Txt2ImgResponse(BaseModel):
    """Of txt2img and img2img. `info` is JSON in a string, as A1111 sends it."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class PngInfoRequest(Body):
    """POST /sdapi/v1/png-info."""

    image: Annotated[str, Served("base64, data: URIs, and URLs where SD_IMAGE_URLS is on")]


class PngInfoResponse(BaseModel):
    """The infotext as it stands, every text of the file, and the infotext parsed."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]
