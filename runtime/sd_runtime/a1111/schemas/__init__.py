"""The JSON bodies of A1111's interface that are served, field by field, each with its mark.

A key that is not here is ignored, and null means the default, as in A1111. The limits here are those of the
interface, so that they are in /openapi.json; a server's own, which may be narrower, are in its settings.
"""

from sd_runtime.a1111.schemas.answers import PngInfoRequest, PngInfoResponse, Txt2ImgResponse
from sd_runtime.a1111.schemas.body import MAX_ITEMS, MAX_TEXT, Body
from sd_runtime.a1111.schemas.extras import ExtrasBatchRequest, ExtrasSingleRequest
from sd_runtime.a1111.schemas.generation import GenerationRequest
from sd_runtime.a1111.schemas.img2img import Img2ImgRequest
from sd_runtime.a1111.schemas.tasks import TaskProgress, TaskProgressRequest, TasksWaiting
from sd_runtime.a1111.schemas.txt2img import Txt2ImgRequest

__all__ = [
    "MAX_ITEMS",
    "MAX_TEXT",
    "Body",
    "ExtrasBatchRequest",
    "ExtrasSingleRequest",
    "GenerationRequest",
    "Img2ImgRequest",
    "PngInfoRequest",
    "PngInfoResponse",
    "TaskProgress",
    "TaskProgressRequest",
    "TasksWaiting",
    "Txt2ImgRequest",
    "Txt2ImgResponse",
]
