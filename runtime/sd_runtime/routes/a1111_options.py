"""A1111's routes for options, and for facts about the server and about picture files."""

import asyncio
from typing import Any

from fastapi import APIRouter

from sd_runtime import container, device
from sd_runtime.a1111 import infotext
from sd_runtime.a1111.controlnet import telling
from sd_runtime.a1111.schemas import PngInfoRequest, PngInfoResponse
from sd_runtime.device import DeviceMemory
from sd_runtime.routes import inputs
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import ServicesDep, WhenReady

router = APIRouter(tags=["options"], route_class=JsonRoute)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@router.get("/sdapi/v1/options")
def get_options(services: ServicesDep) -> dict[str, Any]:
    """Every option with its value."""
    return services.current_options()


@router.post("/sdapi/v1/options")
async def set_options(changes: dict[str, Any], services: ServicesDep) -> None:
    """Changes options of this replica; all of them or, when one is refused, none. Lasts until the replica
    ends or its operator wishes for other options. Where no operator says what is served, another checkpoint
    can be named; the answer comes when it is served."""
    await services.change_options(changes)


@router.get("/sdapi/v1/cmd-flags")
def cmd_flags(services: ServicesDep) -> dict[str, Any]:
    """The flags of A1111 that describe this server; others have no counterpart."""
    served = services.checkpoint()
    return {
        "api": True,
        "nowebui": True,
        "listen": services.settings.host not in _LOOPBACK,
        "port": services.settings.port,
        "ckpt": str(served.path) if served else None,
        "cors_allow_origins": ",".join(services.settings.cors_origins) or None,
    }


@router.get("/sdapi/v1/memory")
def memory() -> dict[str, Any]:
    """Memory of the container, and of the GPU."""
    return {"ram": container.memory(), "cuda": _of_the_gpu(device.memory())}


def _of_the_gpu(memory: DeviceMemory | None) -> dict[str, Any]:
    if memory is None:
        return {"error": "this server computes on no GPU"}
    return {
        "system": {"free": memory.free, "used": memory.total - memory.free, "total": memory.total},
        "active": {"current": memory.active, "peak": memory.most_active},
        "allocated": {"current": memory.allocated, "peak": memory.most_allocated},
        "reserved": {"current": memory.reserved, "peak": memory.most_reserved},
        "inactive": {"current": memory.inactive, "peak": memory.most_inactive},
        "events": {"retries": memory.retries, "oom": memory.ran_out},
    }


@router.post("/sdapi/v1/png-info")
async def png_info(body: PngInfoRequest, services: ServicesDep) -> PngInfoResponse:
    """What a picture file says of its making."""
    metadata = await inputs.metadata(services, "image", body.image)
    text = metadata.parameters
    parameters = await asyncio.to_thread(infotext.read, text) if text else {}
    parameters |= telling.fields_of(parameters)
    return PngInfoResponse(info=text, items=metadata.items, parameters=parameters)


@router.post("/sdapi/v1/reload-checkpoint", dependencies=[WhenReady])
async def reload_checkpoint() -> dict[str, str]:
    """Nothing to do: the served checkpoint is never unloaded."""
    return {}


@router.get("/internal/ping")
async def ping() -> dict[str, str]:
    """Answers, so that clients see that somebody is there."""
    return {}
