"""What there is to choose, with the facts that A1111's lists leave out: model files and whether they can be
used with a checkpoint, their pictures, and plugins. Everything is looked at anew for each answer."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sd_runtime.a1111 import fitness, model_list, model_pictures, plugin_list
from sd_runtime.a1111.model_list import ModelsResponse, TypeName
from sd_runtime.a1111.plugin_list import PluginsResponse
from sd_runtime.images import codec
from sd_runtime.routes.services import ServicesDep

router = APIRouter(prefix="/v1", tags=["models"])

_Name = Annotated[str, Query(max_length=4096)]


@router.get("/models")
def models(services: ServicesDep, checkpoint: _Name = "") -> ModelsResponse:
    """Every model file, judged against the checkpoint of this name, in any of A1111's spellings; without one
    against the served one."""
    served = services.checkpoint()
    chosen = services.find_checkpoint("checkpoint", checkpoint) if checkpoint else served
    judge = fitness.Judge(
        services.library,
        services.embeddings,
        fitness.against(chosen, services.state.loaded),
        adapter_bytes=services.settings.adapter_cache_bytes,
    )
    return ModelsResponse(
        checkpoint=served.title if served else None,
        models=model_list.items(services.library, served, judge),
    )


@router.get(
    "/models/preview",
    response_class=Response,
    responses={200: {"content": {model_pictures.MEDIA_TYPE: {}}}, 304: {"description": "as it was before"}},
)
async def preview(request: Request, services: ServicesDep, type: TypeName, name: _Name) -> Response:
    """The picture beside a model file, made small; 404 where there is none."""
    path = await asyncio.to_thread(model_list.picture_of, services.library, services.checkpoint(), type, name)
    if path is None:
        raise HTTPException(404, f"there is no picture of a model of the type {type} with that name")
    try:
        tag = f'"{model_pictures.version(path)}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        async with services.shrinking:
            picture = await asyncio.to_thread(model_pictures.small, path)
    except (OSError, codec.NotAPicture) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise HTTPException(404, f"the picture of this model cannot be read: {why}") from error
    return Response(picture, media_type=model_pictures.MEDIA_TYPE, headers=headers)


@router.get("/plugins")
def plugins(services: ServicesDep) -> PluginsResponse:
    """The plugins and their modules, also those that cannot be used now, with the reason."""
    return plugin_list.plugins(services.plugins, services.library)
