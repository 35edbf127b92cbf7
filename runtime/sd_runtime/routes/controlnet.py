"""The routes of sd-webui-controlnet: what there is for units to name, and a module run by itself.

Lists are read anew for each answer; modules are those that plugins told of last.
"""

from fastapi import APIRouter
from starlette.responses import Response

from sd_runtime.a1111.controlnet import listing
from sd_runtime.a1111.option_table import UNIT_COUNT
from sd_runtime.a1111.schemas.controlnet import (
    ControlNetSettings,
    ControlTypes,
    DetectRequest,
    DetectResponse,
    ModelList,
    ModuleList,
    VersionResponse,
)
from sd_runtime.routes import detecting
from sd_runtime.routes.reading import JsonRoute
from sd_runtime.routes.services import ServicesDep

router = APIRouter(prefix="/controlnet", tags=["controlnet"], route_class=JsonRoute)


@router.get("/version")
async def version() -> VersionResponse:
    """The version of sd-webui-controlnet's interface that this is."""
    return VersionResponse(version=listing.VERSION)


@router.get("/model_list")
def model_list(services: ServicesDep, update: bool = True) -> ModelList:
    """The ControlNets, by the names that units take; the list is fresh with and without `update`."""
    return listing.model_list(services.library)


@router.get("/module_list")
def module_list(services: ServicesDep, alias_names: bool = False) -> ModuleList:
    """The modules, by the names that units take, and their sliders; `alias_names`: by their labels."""
    return listing.module_list(services.plugins, by_label=alias_names)


@router.get("/control_types")
def control_types(services: ServicesDep) -> ControlTypes:
    """The control types, each with its modules and ControlNets and those that it stands for."""
    served = services.checkpoint()
    family = services.library.family(served.path) if served else None
    return listing.control_types(services.library, services.plugins, family)


@router.get("/settings")
def settings(services: ServicesDep) -> ControlNetSettings:
    """How many units a request may have on: an option's value."""
    count = services.current_options()[UNIT_COUNT]
    return ControlNetSettings.model_validate({UNIT_COUNT: count})


@router.post("/detect", response_model=DetectResponse)
async def detect(body: DetectRequest, services: ServicesDep) -> Response:
    """The maps that a module makes of pictures, without a checkpoint or a ControlNet."""
    return await detecting.detect(services, body)
