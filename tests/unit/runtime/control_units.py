"""Units of ControlNet as the tests' requests have them."""

from __future__ import annotations

from typing import Any

#: Of a picture.
SMALL = {"width": 64, "height": 64}


def scripts(*units: Any) -> dict[str, Any]:
    """The part of a request's body that has these units."""
    return {"alwayson_scripts": {"controlnet": {"args": list(units)}}}


def unit(**fields: Any) -> dict[str, Any]:
    """A unit without a module, but for these fields."""
    return {"module": "none", "model": "control_v11p_sd15_canny", "image": "64x64:9"} | fields
