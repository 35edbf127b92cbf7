"""A1111's routes that list what there is. Lists of things that are not served are empty, not missing."""

from typing import Any

from fastapi import APIRouter

from sd_runtime.routes.services import ServicesDep
from sd_runtime.sampling import SAMPLERS, SCHEDULERS

router = APIRouter(prefix="/sdapi/v1", tags=["catalog"])

_EMPTY = (
    "upscalers",
    "latent-upscale-modes",
    "sd-vae",
    "loras",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "script-info",
    "extensions",
)
_REFRESH = ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings")


@router.get("/samplers")
async def samplers() -> list[dict[str, Any]]:
    """The samplers, by the names that txt2img takes."""
    return [
        {
            "name": each.name,
            "aliases": list(each.aliases),
            "options": {"scheduler": each.default_scheduler} if each.default_scheduler else {},
        }
        for each in SAMPLERS
    ]


@router.get("/schedulers")
async def schedulers() -> list[dict[str, Any]]:
    """The noise schedules."""
    return [
        {
            "name": each.name,
            "label": each.label,
            "aliases": list(each.aliases),
            "default_rho": each.default_rho,
            "need_inner_model": each.need_inner_model,
        }
        for each in SCHEDULERS
    ]


@router.get("/sd-models")
def sd_models(services: ServicesDep) -> list[dict[str, Any]]:
    """The checkpoint files below the model roots; one of them is served."""
    return [
        {
            "title": each.title,
            "model_name": each.model_name,
            "hash": each.short_hash,
            "sha256": each.sha256,
            "filename": str(each.path),
            "config": None,
        }
        for each in services.shelf.all(services.checkpoint())
    ]


@router.get("/embeddings")
async def embeddings() -> dict[str, dict[str, Any]]:
    """Textual inversion is not served."""
    return {"loaded": {}, "skipped": {}}


@router.get("/scripts")
async def scripts() -> dict[str, list[str]]:
    """Scripts are not served."""
    return {"txt2img": [], "img2img": []}


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
