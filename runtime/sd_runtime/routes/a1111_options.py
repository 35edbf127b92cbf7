"""A1111's routes for options, and for facts about the server and about picture files."""

import base64
import binascii
from typing import Any

from fastapi import APIRouter

from sd_runtime import container
from sd_runtime.a1111 import infotext
from sd_runtime.a1111.schemas import PngInfoRequest, PngInfoResponse
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import codec
from sd_runtime.routes.services import ServicesDep

router = APIRouter(tags=["options"])


@router.get("/sdapi/v1/options")
def get_options(services: ServicesDep) -> dict[str, Any]:
    """Every option with its value."""
    return services.current_options()


@router.post("/sdapi/v1/options")
def set_options(changes: dict[str, Any], services: ServicesDep) -> None:
    """Changes options of this replica; all of them or, when one is refused, none. Lasts until the replica
    ends or its SDInstance wishes for other options."""
    services.change_options(changes)


@router.get("/sdapi/v1/cmd-flags")
def cmd_flags(services: ServicesDep) -> dict[str, Any]:
    """The flags of A1111 that describe this server; others have no counterpart."""
    served = services.checkpoint()
    return {
        "api": True,
        "nowebui": True,
        "listen": True,
        "port": services.settings.port,
        "ckpt": str(served.path) if served else None,
    }


@router.get("/sdapi/v1/memory")
def memory() -> dict[str, Any]:
    """Memory of the container. That of the GPU is not measured here."""
    return {"ram": container.memory(), "cuda": {"error": "not measured by this server"}}


@router.post("/sdapi/v1/png-info")
def png_info(body: PngInfoRequest) -> PngInfoResponse:
    """What a picture file says of its making."""
    encoded = body.image.partition(",")[2] if body.image.startswith("data:") else body.image
    allowed = "a base64 encoded PNG, JPEG, WebP or GIF"
    try:
        metadata = codec.read_metadata(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:
        raise UnsupportedError("image", f"{body.image[:40]}…", allowed) from error
    text = metadata.parameters
    return PngInfoResponse(info=text, items=metadata.items, parameters=infotext.read(text) if text else {})


@router.get("/internal/ping")
async def ping() -> dict[str, str]:
    """Answers, so that clients see that somebody is there."""
    return {}
