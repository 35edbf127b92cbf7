"""The JSON bodies of A1111's interface that are served, field by field, each with its mark.

A key that is not here is ignored, and null means the default, as in A1111. Limits are part of the schema, so
that they are in /openapi.json and a refusal names them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sd_runtime.a1111.fields import NeutralOnly, NoEffect, Served
from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import chunks, grammar

MAX_STEPS = 150
MAX_SIDE = 2048
MIN_SIDE = 64
MAX_BATCH_SIZE = 8
MAX_ITERATIONS = 16
#: Of all pictures of a request together: they are in memory at once until the answer is sent.
MAX_PIXELS = 64 * 1024 * 1024
MAX_TEXT = 16_384
#: Of the lists that clients send although nothing in them is served.
MAX_ITEMS = 256
MAX_SEED = 2**63 - 1
MAX_CFG = 100.0

_HIRES = "the high-resolution pass is not served"
_HIRES_OFF = "belongs to enable_hr, which is off"
_SUBSEED = "variation seeds are not served"
_RESIZE = "seed resizing is not served"
_REFINER = "a refiner is not served"
_SIGMA = "sampler noise settings are not served"
_SCRIPT = "scripts are not served"

Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=8)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class Body(BaseModel):
    """A request body: unknown keys are ignored, null is the default."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key, item in value.items():
            if isinstance(item, str) and not _is_whole(item):
                raise UnsupportedError(key, item, "text without halves of surrogate pairs")
        return {key: item for key, item in value.items() if item is not None}


def _is_whole(text: str) -> bool:
    """Whether the text can be written as UTF-8, as answers, pictures and the log will have to."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Txt2ImgRequest(Body):
    """POST /sdapi/v1/txt2img: every field A1111 v1.10.1 knows, with its defaults."""

    prompt: Annotated[
        Text,
        Served(
            "attention, escapes and BREAK; the rest of the language is refused by name."
            f" At most {MAX_TEXT} characters, {chunks.MAX_COUNT} chunks of {chunks.SIZE} tokens,"
            f" {grammar.MAX_DEPTH} open brackets, weights up to {grammar.MAX_WEIGHT}"
        ),
    ] = ""
    negative_prompt: Annotated[
        Text,
        Served(
            "as prompt; where the two differ in their number of chunks, both are repeated as a whole up to a"
            " common length, where A1111 repeats the shorter one's last vector, so its picture is another"
        ),
    ] = ""
    styles: Annotated[
        list[str] | None,
        Field(max_length=MAX_ITEMS),
        NeutralOnly((None, [], [""]), "prompt styles are not served"),
    ] = None
    seed: Annotated[
        int, Field(ge=-1, le=MAX_SEED), Served("picture i gets seed + i; noise is torch's CPU generator")
    ] = -1
    subseed: Annotated[int, NoEffect("belongs to subseed_strength, which is 0")] = -1
    subseed_strength: Annotated[Number, NeutralOnly((0,), _SUBSEED)] = 0.0
    seed_resize_from_h: Annotated[int, NeutralOnly((-1, 0), _RESIZE)] = -1
    seed_resize_from_w: Annotated[int, NeutralOnly((-1, 0), _RESIZE)] = -1
    sampler_name: Annotated[
        str | None,
        Served('names and aliases, also "DPM++ 2M Karras"; an unknown one is refused, not replaced'),
    ] = None
    sampler_index: Annotated[str, Served("used when sampler_name is empty; both empty: DPM++ 2M")] = "Euler"
    scheduler: Annotated[str | None, Served("an unknown one is refused, not replaced")] = None
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE), Served()] = 1
    n_iter: Annotated[int, Field(ge=1, le=MAX_ITERATIONS), Served()] = 1
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS), Served()] = 50
    cfg_scale: Annotated[Number, Field(ge=0, le=MAX_CFG), Served()] = 7.0
    width: Annotated[Side, Served("a size that is not a multiple of 8 is refused, not rounded")] = 512
    height: Annotated[Side, Served("as width")] = 512
    restore_faces: Annotated[bool | None, NeutralOnly((None, False), "face restoration is not served")] = None
    tiling: Annotated[bool | None, NeutralOnly((None, False), "tiling is not served")] = None
    do_not_save_samples: Annotated[
        bool, Served("true: the pictures are not saved, unless save_images is true")
    ] = False
    do_not_save_grid: Annotated[bool, NoEffect("grids are not made")] = False
    eta: Annotated[
        Number | None,
        Served("null or 1 with ancestral samplers; without effect with the others, as in A1111"),
    ] = None
    denoising_strength: Annotated[Number, NoEffect(_HIRES_OFF)] = 0.75
    s_min_uncond: Annotated[Number | None, NeutralOnly((None, 0), _SIGMA)] = None
    s_churn: Annotated[Number | None, NeutralOnly((None, 0), _SIGMA)] = None
    s_tmax: Annotated[Number | None, NeutralOnly((None, 0), _SIGMA)] = None
    s_tmin: Annotated[Number | None, NeutralOnly((None, 0), _SIGMA)] = None
    s_noise: Annotated[Number | None, NeutralOnly((None, 1), _SIGMA)] = None
    override_settings: Annotated[
        dict[str, Any],
        Served("the options served, at the values POST /sdapi/v1/options takes; for this request"),
    ] = {}
    override_settings_restore_afterwards: Annotated[
        bool,
        Served(
            "false is refused together with override_settings: overrides are for one request;"
            " POST /sdapi/v1/options changes them for all"
        ),
    ] = True
    refiner_checkpoint: Annotated[str | None, NeutralOnly((None, "", "None"), _REFINER)] = None
    refiner_switch_at: Annotated[Number | None, NoEffect("belongs to refiner_checkpoint, which is empty")] = (
        None
    )
    disable_extra_networks: Annotated[
        bool, Served("true: <…> in prompts is left out; false: it is refused")
    ] = False
    comments: Annotated[dict[str, Any] | None, NeutralOnly((None, {}), "comments are not served")] = None
    firstpass_image: Annotated[str | None, NeutralOnly((None, ""), _HIRES)] = None
    enable_hr: Annotated[bool, NeutralOnly((False,), _HIRES)] = False
    firstphase_width: Annotated[int, NeutralOnly((0,), _HIRES)] = 0
    firstphase_height: Annotated[int, NeutralOnly((0,), _HIRES)] = 0
    hr_scale: Annotated[Number, NoEffect(_HIRES_OFF)] = 2.0
    hr_upscaler: Annotated[str | None, NoEffect(_HIRES_OFF)] = None
    hr_second_pass_steps: Annotated[int, NoEffect(_HIRES_OFF)] = 0
    hr_resize_x: Annotated[int, NoEffect(_HIRES_OFF)] = 0
    hr_resize_y: Annotated[int, NoEffect(_HIRES_OFF)] = 0
    hr_checkpoint_name: Annotated[str | None, NoEffect(_HIRES_OFF)] = None
    hr_sampler_name: Annotated[str | None, NoEffect(_HIRES_OFF)] = None
    hr_scheduler: Annotated[str | None, NoEffect(_HIRES_OFF)] = None
    hr_prompt: Annotated[str, NoEffect(_HIRES_OFF)] = ""
    hr_negative_prompt: Annotated[str, NoEffect(_HIRES_OFF)] = ""
    force_task_id: Annotated[
        str | None, Field(max_length=256), Served("written to the log; /internal/progress is not served")
    ] = None
    script_name: Annotated[str | None, NeutralOnly((None, "", "None"), _SCRIPT)] = None
    script_args: Annotated[list[Any], Field(max_length=MAX_ITEMS), NeutralOnly(([],), _SCRIPT)] = []
    send_images: Annotated[bool, Served()] = True
    save_images: Annotated[
        bool, Served("pictures are saved anyway while the option samples_save is on; grids are not made")
    ] = False
    alwayson_scripts: Annotated[dict[str, Any], NeutralOnly(({},), _SCRIPT)] = {}
    infotext: Annotated[str | None, NeutralOnly((None, ""), "filling fields from infotext is not served")] = (
        None
    )


class Txt2ImgResponse(BaseModel):
    """`info` is JSON in a string, as A1111 sends it."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class PngInfoRequest(Body):
    """POST /sdapi/v1/png-info."""

    image: Annotated[str, Served("base64, with or without a data: prefix; URLs are not fetched")]


class PngInfoResponse(BaseModel):
    """The infotext as it stands, every text of the file, and the infotext parsed."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]
