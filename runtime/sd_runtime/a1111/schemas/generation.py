"""The fields that txt2img and img2img have in common: all that A1111 v1.10.1 knows, with its defaults."""

from typing import Annotated, Any

from pydantic import Field

from sd_runtime.a1111.fields import NeutralOnly, Served
from sd_runtime.a1111.schemas.body import (
    MAX_ITEMS,
    MAX_SIDE,
    MAX_STEPS,
    MAX_TEXT,
    Body,
    Name,
    Number,
    Share,
    Text,
)
from sd_runtime.a1111.schemas.unit import Unit

MIN_SIDE = 64
MAX_SEED = 2**63 - 1
MAX_CFG = 100.0

_SCRIPT = "scripts are not served"

#: A script that is not served is refused by name, not by its form.
_SCRIPTS: dict[str, Any] = {
    "properties": {
        "controlnet": {
            "type": "object",
            "properties": {"args": {"type": "array", "items": Unit.model_json_schema()}},
        }
    }
}

Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=8)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seed = Annotated[int, Field(ge=-1, le=MAX_SEED)]
OldSide = Annotated[int, Field(ge=-1, le=MAX_SIDE)]
Sigma = Annotated[float, Field(ge=0, le=1000)]


class GenerationRequest(Body):
    """What both ask for."""

    prompt: Annotated[
        Text,
        Served(
            f"the whole language, <lora:…> and <hypernet:…> included. At most {MAX_TEXT} characters; what"
            " exceeds the limits of the language is refused, as is an extra network that is not here. The"
            " word of an embedding that cannot be used stays text (A1111's too): GET embeddings tells why,"
            " under skipped, and TI hashes in infotext lists those that were used"
        ),
    ] = ""
    negative_prompt: Annotated[
        Text,
        Served(
            "as prompt, but extra networks in it are refused (A1111 takes them for text); where the two"
            " differ in their number of chunks, both are repeated as a whole up to a common length, where"
            " A1111 repeats the shorter one's last vector, so its picture is another"
        ),
    ] = ""
    styles: Annotated[
        list[Name] | None,
        Field(max_length=MAX_ITEMS),
        Served("empty names are left out; an unknown one is refused, not left out"),
    ] = None
    seed: Annotated[
        Seed, Served("picture i gets seed + i, or, with a variation seed, the seed itself; -1: drawn")
    ] = -1
    subseed: Annotated[Seed, Served("with subseed_strength: picture i gets subseed + i")] = -1
    subseed_strength: Annotated[Share, Served()] = 0.0
    seed_resize_from_h: Annotated[OldSide, Served("0 and -1: off; given together with the width")] = -1
    seed_resize_from_w: Annotated[OldSide, Served("as seed_resize_from_h")] = -1
    sampler_name: Annotated[
        Name | None,
        Served('names and aliases, also "DPM++ 2M Karras"; an unknown one is refused, not replaced'),
    ] = None
    sampler_index: Annotated[Name, Served("used when sampler_name is empty; both empty: DPM++ 2M")] = "Euler"
    scheduler: Annotated[Name | None, Served("an unknown one is refused, not replaced")] = None
    batch_size: Annotated[
        int, Field(ge=1, le=256), Served("pictures made side by side; SD_MAX_BATCH_SIZE at most")
    ] = 1
    n_iter: Annotated[
        int, Field(ge=1, le=1000), Served("batches one after the other; SD_MAX_ITERATIONS at most")
    ] = 1
    steps: Annotated[Steps, Served("SD_MAX_STEPS at most")] = 50
    cfg_scale: Annotated[Number, Field(ge=0, le=MAX_CFG), Served()] = 7.0
    width: Annotated[
        Side, Served("a size that is not a multiple of 8 is refused, not rounded; SD_MAX_SIDE at most")
    ] = 512
    height: Annotated[Side, Served("as width")] = 512
    restore_faces: Annotated[bool | None, NeutralOnly((None, False), "face restoration is not served")] = None
    tiling: Annotated[bool | None, Served()] = None
    do_not_save_samples: Annotated[
        bool, Served("true: the pictures are not saved, unless save_images is true")
    ] = False
    do_not_save_grid: Annotated[bool, Served("true: no grid is made")] = False
    eta: Annotated[
        Number | None, Field(ge=0, le=10), Served("null: the option eta_ancestral, with DDIM eta_ddim")
    ] = None
    denoising_strength: Annotated[Share, Served("of img2img, and of the second pass of enable_hr")] = 0.75
    s_min_uncond: Annotated[Sigma | None, Served("null: the option of this name")] = None
    s_churn: Annotated[Sigma | None, Served("null: the option of this name")] = None
    s_tmax: Annotated[Sigma | None, Served("null: the option of this name; 0: no limit")] = None
    s_tmin: Annotated[Sigma | None, Served("null: the option of this name")] = None
    s_noise: Annotated[Sigma | None, Served("null: the option of this name")] = None
    override_settings: Annotated[
        dict[str, Any],
        Field(max_length=MAX_ITEMS),
        Served("the options served, at the values POST /sdapi/v1/options takes; for this request alone"),
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    override_settings_restore_afterwards: Annotated[
        bool,
        Served(
            "false is refused together with override_settings: overrides are for one request;"
            " POST /sdapi/v1/options changes them for all"
        ),
    ] = True
    refiner_checkpoint: Annotated[
        Name | None,
        Served(
            'null, "" and "None": none; with enable_hr it refines the second pass; one of another family'
            " (SDXL's refiner) goes on without LoRAs, hypernetworks and ControlNets"
        ),
    ] = None
    refiner_switch_at: Annotated[
        Share | None,
        Served(
            "with refiner_checkpoint; null: from the start, which is refused with units of ControlNet that a"
            " refiner of another family leaves no step"
        ),
    ] = None
    disable_extra_networks: Annotated[bool, Served("true: <…> in prompts is left out")] = False
    comments: Annotated[
        dict[str, Any] | None,
        NeutralOnly((None, {}), "A1111 keeps its own remarks there, and requests have none to give"),
    ] = None
    firstpass_image: Annotated[
        str | None, Served("with enable_hr of txt2img: enlarged in place of a first pass; else no effect")
    ] = None
    force_task_id: Annotated[
        str | None, Field(max_length=256), Served("the id_task of /internal/progress; written to the log")
    ] = None
    script_name: Annotated[Name | None, NeutralOnly((None, "", "None"), _SCRIPT)] = None
    script_args: Annotated[list[Any], Field(max_length=MAX_ITEMS), NeutralOnly(([],), _SCRIPT)] = []  # noqa: RUF012
    send_images: Annotated[bool, Served()] = True
    save_images: Annotated[
        bool,
        Served(
            "pictures are saved anyway while the option samples_save is on; true: a grid is made of several,"
            " saved with the option grid_save and sent first with return_grid"
        ),
    ] = False
    alwayson_scripts: Annotated[
        dict[str, Any],
        Field(max_length=MAX_ITEMS, json_schema_extra=_SCRIPTS),
        Served(
            'ControlNet alone: {"controlnet": {"args": [unit, …]}}, the fields of a unit below; any other'
            " script is refused. The answer's parameters repeat units without their pictures"
        ),
    ] = {}  # noqa: RUF012
    infotext: Annotated[
        Text | None,
        Served(
            "fills the fields that the request leaves unset, and options that override_settings leaves unset;"
            " a value in it that cannot be honoured is refused"
        ),
    ] = None
