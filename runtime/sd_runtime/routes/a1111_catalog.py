"""A1111's routes that list what there is. Lists are read anew for each answer, so that refreshing them is
nothing to do; lists of things that are not served are empty, not missing."""

from typing import Any

from fastapi import APIRouter

from sd_runtime.a1111 import listings
from sd_runtime.a1111.listings import (
    EmbeddingsResponse,
    FileItem,
    HypernetworkItem,
    LoraItem,
    Name,
    PromptStyleItem,
    RealesrganItem,
    SamplerItem,
    SchedulerItem,
    ScriptInfo,
    ScriptsList,
    SDModelItem,
    UpscalerItem,
)
from sd_runtime.a1111.option_table import UNIT_COUNT
from sd_runtime.routes.services import ServicesDep

router = APIRouter(prefix="/sdapi/v1", tags=["catalog"])

_EMPTY = ("face-restorers", "extensions")
_REFRESH = ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings")


@router.get("/samplers")
async def samplers() -> list[SamplerItem]:
    """The samplers, by the names that requests take."""
    return listings.samplers()


@router.get("/schedulers")
async def schedulers() -> list[SchedulerItem]:
    """The noise schedules."""
    return listings.schedulers()


@router.get("/upscalers")
def upscalers(services: ServicesDep) -> list[UpscalerItem]:
    """How pictures are made larger, with and without a network."""
    return listings.upscaler_items(services.library, services.plugins)


@router.get("/latent-upscale-modes")
async def latent_upscale_modes() -> list[Name]:
    """How latents are made larger, before a second pass."""
    return listings.latent_upscale_modes()


@router.get("/realesrgan-models")
def realesrgan_models(services: ServicesDep) -> list[RealesrganItem]:
    """The upscalers among those that A1111 has names of its own for."""
    return listings.realesrgan_models(services.library)


@router.get("/sd-models")
def sd_models(services: ServicesDep) -> list[SDModelItem]:
    """The checkpoints below the model roots; one of them is served."""
    return listings.sd_models(services.shelf.usable(services.checkpoint()))


@router.get("/sd-vae")
def sd_vae(services: ServicesDep) -> list[FileItem]:
    """The VAE files, by the names that the option sd_vae takes."""
    return listings.vaes(services.library)


@router.get("/sd-modules")
def sd_modules(services: ServicesDep) -> list[FileItem]:
    """The same under Forge's name for it."""
    return listings.vaes(services.library)


@router.get("/hypernetworks")
def hypernetworks(services: ServicesDep) -> list[HypernetworkItem]:
    """The hypernetworks, by the names that prompts use."""
    return listings.hypernetworks(services.library)


@router.get("/loras")
def loras(services: ServicesDep) -> list[LoraItem]:
    """The LoRAs, by the names that prompts use."""
    return listings.loras(services.library)


@router.get("/embeddings")
def embeddings(services: ServicesDep) -> EmbeddingsResponse:
    """The textual inversions: those that fit the served checkpoint, and the others."""
    loaded = services.state.loaded
    return listings.embeddings(services.embeddings, (loaded.text_widths or None) if loaded else None)


@router.get("/prompt-styles")
def prompt_styles(services: ServicesDep) -> list[PromptStyleItem]:
    """The texts that requests name in `styles`."""
    return listings.styles(services.styles)


@router.get("/scripts")
async def scripts() -> ScriptsList:
    """The scripts, by the names that alwayson_scripts takes."""
    return listings.scripts_list()


@router.get("/script-info")
async def script_info(services: ServicesDep) -> list[ScriptInfo]:
    """The same scripts with their arguments."""
    return listings.script_info(int(str(services.current_options()[UNIT_COUNT])))


async def _nothing() -> list[Any]:
    return []


async def _always_fresh() -> None:
    return None


for _name in _EMPTY:
    router.add_api_route(f"/{_name}", _nothing, name=_name, summary="Nothing of this kind is served.")
for _name in _REFRESH:
    router.add_api_route(
        f"/{_name}", _always_fresh, methods=["POST"], name=_name, summary="Lists are always fresh."
    )
