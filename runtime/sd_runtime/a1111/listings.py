"""A1111's lists of what there is, in its shapes: what each entry tells, from the library and the tables.

Nothing is loaded, and nothing hashed: what is not known of a file is null.
"""

import json
from typing import Any

from pydantic import BaseModel

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import scripts, upscalers
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet import reading
from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.prompt.styles import Styles
from sd_runtime.sampling import SAMPLERS, SCHEDULERS, SamplerInfo

#: Pictures within a LoRA's notes, which A1111 leaves out of lists as well.
_COVER_IMAGES = "ssmd_cover_images"


class SamplerItem(BaseModel):
    """A sampler, by the names that requests take; its options are texts."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerItem(BaseModel):
    """A noise schedule; `default_rho` is -1 where it has none."""

    name: str
    label: str
    aliases: list[str]
    default_rho: float
    need_inner_model: bool


class UpscalerItem(BaseModel):
    """A way to make a picture larger; those without a file have no path."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class Name(BaseModel):
    """Nothing but a name."""

    name: str


class SDModelItem(BaseModel):
    """A checkpoint; its hashes are null until they are known."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class FileItem(BaseModel):
    """A VAE or another part of a checkpoint in a file of its own."""

    model_name: str
    filename: str


class HypernetworkItem(BaseModel):
    """A hypernetwork."""

    name: str
    path: str


class LoraItem(BaseModel):
    """A LoRA; `alias` is the name it was trained under, which prompts may use too."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class RealesrganItem(BaseModel):
    """One of the upscalers that A1111 has a name of its own for."""

    name: str
    path: str | None
    scale: int | None


class PromptStyleItem(BaseModel):
    """Texts to put into a prompt by name."""

    name: str
    prompt: str | None
    negative_prompt: str | None


class EmbeddingItem(BaseModel):
    """A textual inversion: how wide its vectors are, and how many; both 0 where its file cannot be read."""

    step: int | None
    sd_checkpoint: str | None
    sd_checkpoint_name: str | None
    shape: int
    vectors: int


class SkippedEmbedding(EmbeddingItem):
    """One that the served checkpoint cannot use, and why."""

    reason: str


class EmbeddingsResponse(BaseModel):
    """The textual inversions by the words that prompts name them with."""

    loaded: dict[str, EmbeddingItem]
    skipped: dict[str, SkippedEmbedding]


class ScriptsList(BaseModel):
    """The scripts of each route, in lower case."""

    txt2img: list[str]
    img2img: list[str]


class ScriptArg(BaseModel):
    """An argument of a script."""

    label: str | None
    value: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    """A script in one of the two routes that take some."""

    name: str
    is_alwayson: bool
    is_img2img: bool
    args: list[ScriptArg]


def scripts_list() -> ScriptsList:
    """Every script, which all routes take alike."""
    names = [title.lower() for title in (*scripts.SELECTABLE, *scripts.ALWAYS_ON)]
    return ScriptsList(txt2img=names, img2img=names)


def script_info(units: int) -> list[ScriptInfo]:
    """ControlNet, once for each route, with an argument for each of its units."""
    args = [ScriptArg(label=f"{reading.TITLE} Unit {number}") for number in range(units)]
    return [
        ScriptInfo(name=title.lower(), is_alwayson=True, is_img2img=is_img2img, args=args)
        for is_img2img in (False, True)
        for title in scripts.ALWAYS_ON
    ]


def samplers() -> list[SamplerItem]:
    """Every sampler."""
    return [
        SamplerItem(
            name=each.name,
            aliases=list(each.aliases),
            options=_options_of(each),
        )
        for each in SAMPLERS
    ]


def _options_of(sampler: SamplerInfo) -> dict[str, str]:
    """What A1111 tells of a sampler beside its names, in its words."""
    marks = {
        "uses_ensd": sampler.uses_seed_delta,
        "second_order": sampler.second_order,
        "discard_next_to_last_sigma": sampler.discards_penultimate,
        "brownian_noise": sampler.brownian,
    }
    scheduler = {"scheduler": sampler.default_scheduler} if sampler.default_scheduler else {}
    return scheduler | {mark: "True" for mark, holds in marks.items() if holds}


def schedulers() -> list[SchedulerItem]:
    """Every noise schedule."""
    return [
        SchedulerItem(
            name=each.name,
            label=each.label,
            aliases=list(each.aliases),
            default_rho=each.default_rho,
            need_inner_model=each.need_inner_model,
        )
        for each in SCHEDULERS
    ]


def upscaler_items(library: Library, plugins: Plugins) -> list[UpscalerItem]:
    """Every upscaler of pixels."""
    return [
        UpscalerItem(
            name=each.name,
            model_name=each.path.stem if each.path else None,
            model_path=str(each.path) if each.path else None,
            model_url=None,
            scale=each.scale,
        )
        for each in upscalers.all_of(library, plugins)
    ]


def latent_upscale_modes() -> list[Name]:
    """Every upscaler of latents."""
    return [Name(name=each) for each in upscalers.LATENT_MODES]


def realesrgan_models(library: Library) -> list[RealesrganItem]:
    """The upscalers that are here under A1111's own names for them."""
    return [
        RealesrganItem(name=each.name, path=str(each.path), scale=each.scale)
        for each in upscalers.with_files(library)
        if each.is_well_known
    ]


def sd_models(checkpoints: list[Checkpoint]) -> list[SDModelItem]:
    """Every checkpoint."""
    return [
        SDModelItem(
            title=each.title,
            model_name=each.model_name,
            hash=each.short_hash,
            sha256=each.sha256,
            filename=str(each.path),
            config=None,
        )
        for each in checkpoints
    ]


def vaes(library: Library) -> list[FileItem]:
    """Every VAE file, by the name that the option sd_vae takes."""
    return [
        FileItem(model_name=file.path.name, filename=str(file.path)) for file in library.usable(ModelType.VAE)
    ]


def hypernetworks(library: Library) -> list[HypernetworkItem]:
    """Every hypernetwork, by the name that prompts use."""
    return [
        HypernetworkItem(name=file.stem, path=str(file.path))
        for file in library.usable(ModelType.HYPERNETWORK)
    ]


def loras(library: Library) -> list[LoraItem]:
    """Every LoRA, with what its file says of its training."""
    items = []
    for file in library.usable(ModelType.LORA):
        notes = library.metadata(file)
        metadata = {key: _parsed(note) for key, note in notes.items() if key != _COVER_IMAGES}
        alias = notes.get("ss_output_name") or file.stem
        items.append(LoraItem(name=file.stem, alias=alias, path=str(file.path), metadata=metadata))
    return items


def _parsed(note: str) -> Any:
    """Trainers write counts of tags and the like as JSON objects, which A1111 hands on as such."""
    if not note.startswith("{"):
        return note
    try:
        return json.loads(note)
    except (ValueError, RecursionError):
        return note


def styles(known: Styles) -> list[PromptStyleItem]:
    """Every style."""
    return [
        PromptStyleItem(name=each.name, prompt=each.prompt, negative_prompt=each.negative_prompt)
        for each in known.all()
    ]


def embeddings(known: Embeddings, widths: tuple[int, ...] | None) -> EmbeddingsResponse:
    """Every textual inversion, judged by how wide the vectors of the served text encoders are (None: not
    known yet)."""
    return EmbeddingsResponse.model_validate(known.describe(widths))
