"""The Job that hashes what is on the volume anew, and removes what left the spec. Pure."""

import json
from typing import Any

from sd_operator import names
from sd_operator.api.bundle import ModelBundle
from sd_operator.bundle.children.pod import FetchSettings, Work, build
from sd_operator.bundle.placement import Placement
from sd_operator.manifests import Object

COMPONENT = "upkeep"


def build_upkeep(
    bundle: ModelBundle,
    request: dict[str, Any],
    *,
    occasion: str,
    asked: str | None,
    exclusive: bool,
    placement: Placement,
    settings: FetchSettings,
) -> Object:
    """The Job for a request; the same request on another occasion, or asked for again, is another Job."""
    work = Work(
        name=names.upkeep_name(bundle.metadata.name, [request, occasion, asked]),
        component=COMPONENT,
        command=("python", "-m", "sd_operator.fetch.upkeep"),
        annotations={names.ANNOTATION_VERIFY: asked} if asked is not None else {},
        env=[{"name": "SD_FETCH_UPKEEP", "value": json.dumps(request, sort_keys=True)}],
    )
    return build(bundle, work, exclusive=exclusive, placement=placement, settings=settings)
