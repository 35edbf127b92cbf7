"""What the interface answers, cut short: for tests of what the page makes of it."""

from typing import Any

from sd_page import catalogue
from sd_page.catalogue import Catalogue

_RESOLUTION = {
    "name": "Resolution",
    "field": "processor_res",
    "value": 512,
    "min": 64,
    "max": 2048,
    "step": 8,
}
_LOW = {"name": "Low Threshold", "field": "threshold_a", "value": 100, "min": 1, "max": 255, "step": 1}
_HIGH = {"name": "High Threshold", "field": "threshold_b", "value": 200, "min": 1, "max": 255, "step": 1}
_RATE = {
    "name": "Down Sampling Rate",
    "field": "threshold_a",
    "value": 1.0,
    "min": 1.0,
    "max": 8.0,
    "step": 0.01,
}
_SLIDERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "inpaint": [],
    "canny": [_RESOLUTION, _LOW, _HIGH],
    "tile_resample": [_RATE],
    "shuffle": [_RESOLUTION],
}
LABELS = {"inpaint": "inpaint_global_harmonious"}
CANNY, XL, TRUNCATED = "demo-canny [e4d3f11f]", "canny_xl [0badcafe]", "cut-canny [12345678]"


def modules(by_label: bool = False) -> dict[str, Any]:
    """GET /controlnet/module_list."""
    names = {name: LABELS.get(name, name) if by_label else name for name in _SLIDERS}
    detail = {names[name]: {"model_free": False, "sliders": sliders} for name, sliders in _SLIDERS.items()}
    return {"module_list": list(names.values()), "module_detail": detail}


def types() -> dict[str, Any]:
    """GET /controlnet/control_types, as a server of an SDXL checkpoint tells it."""

    def item(modules: list[str], networks: list[str], module: str, network: str) -> dict[str, Any]:
        return {
            "module_list": ["none", *modules],
            "model_list": ["None", *networks],
            "default_option": module,
            "default_model": network,
        }

    every = [LABELS.get(name, name) for name in _SLIDERS if name != "none"]
    return {
        "control_types": {
            "All": item(every, [CANNY, XL], "none", "None"),
            "Canny": item(["canny"], [CANNY, XL], "canny", XL),
            "Depth": item([], [], "none", "None"),
            "Inpaint": item([LABELS["inpaint"]], [], LABELS["inpaint"], "None"),
            "Shuffle": item(["shuffle"], [], "shuffle", "None"),
            "Tile": item(["tile_resample"], [], "tile_resample", "None"),
        }
    }


def plugins(ready: bool = True) -> dict[str, Any]:
    """GET /v1/plugins: one plugin, with a module that it cannot run."""
    told = [
        {"name": "canny", "label": "canny", "available": True, "reason": ""},
        {"name": "tile_resample", "label": "tile_resample", "available": True, "reason": ""},
        {"name": "shuffle", "label": "shuffle", "available": False, "reason": "its weights are not there"},
    ]
    return {
        "plugins": [
            {
                "name": "controlnet-basic",
                "kind": "Preprocessor",
                "ready": ready,
                "reason": "" if ready else "NotAnswering",
                "message": "" if ready else "it does not answer",
                "modules": told,
            }
        ]
    }


def model(type_: str, name: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """One item of GET /v1/models."""
    usual = {
        "type": type_,
        "name": name,
        "file": f"{name}.safetensors",
        "family": "SD15",
        "bytes": 2048,
        "sha256": None,
        "insert": None,
        "trigger_words": [],
        "description": None,
        "preview": None,
    }
    return usual | {"usable": not reason, "reason": reason} | more


def models() -> dict[str, Any]:
    """GET /v1/models, judged against an SD15 checkpoint."""
    return {
        "checkpoint": "demo-sd15.safetensors [02bbc48881]",
        "models": [
            model("LoRA", "xl-style", "It is for SDXL; the checkpoint is for SD15.", family="SDXL"),
            model(
                "LoRA",
                "Midnight",
                insert="<lora:Midnight:1>",
                trigger_words=["starry", "midnight blue"],
                preview="/v1/models/preview?type=LoRA&name=Midnight",
                sha256="ea94760bbd7e873575e94872e412d5a9",
            ),
            model("ControlNet", CANNY),
            model("ControlNet", XL, "It is for SDXL; the checkpoint is for SD15.", family="SDXL"),
            model("ControlNet", TRUNCATED, "The file is cut off.", family=None),
        ],
    }


def known(units: int = 3) -> Catalogue:
    """All of it together."""
    read = catalogue.read_modules(modules(), modules(by_label=True), plugins())
    return Catalogue(
        models=catalogue.read_models(models()),
        modules=read,
        types=catalogue.read_types(types(), read),
        units=units,
    )
