"""Which options there are: those that can be changed, with the values each takes, and the fixed truth of
those that clients look at.

Pure tables; where values are kept and how changes come together is in `options`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.option_values import Values
from sd_runtime.models import SMALLEST_TILE
from sd_runtime.prompt.settings import Emphasis
from sd_runtime.sampling.settings import NoiseSource

CHECKPOINT = "sd_model_checkpoint"
DIGEST = "sd_checkpoint_hash"
CLIP_SKIP = "CLIP_stop_at_last_layers"
UNIT_COUNT = "control_net_unit_count"

#: Of a text encoder; a model with fewer takes fewer.
MOST_LAYERS = 12
_BUILT_IN = Values()
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option that can be changed: where its value is kept, and which values it takes."""

    attribute: str
    accepts: Callable[[object], bool]
    allowed: str
    #: From what clients send to what is kept.
    converted: Callable[[Any], Any] = lambda value: value
    #: It names a file of this type, or is one of `words`; `accepts` judges the form alone.
    names: ModelType | None = None
    words: tuple[str, ...] = ()
    note: str = ""


def default_of(option: Option) -> Any:
    """What it is where nobody has changed it."""
    return getattr(_BUILT_IN, option.attribute)


def _switch(attribute: str, *, note: str = "") -> Option:
    return Option(
        attribute=attribute, accepts=lambda value: isinstance(value, bool), allowed="true, false", note=note
    )


def _whole(attribute: str, least: int, most: int, *, note: str = "") -> Option:
    def accepts(value: object) -> bool:
        # JavaScript's clients and some others write whole numbers as 2.0.
        return _is_number(value) and value == int(value) and least <= value <= most  # type: ignore[call-overload,operator]

    return Option(
        attribute=attribute,
        accepts=accepts,
        allowed=f"whole numbers from {least} to {most}",
        converted=int,
        note=note,
    )


def _or_0(option: Option) -> Option:
    """The same where 0 has a meaning of its own, and what lies between has none."""

    def accepts(value: object) -> bool:
        return (_is_number(value) and value == 0) or option.accepts(value)

    return replace(option, accepts=accepts, allowed=f"0, or {option.allowed}")


def _number(attribute: str, least: float, most: float, *, note: str = "") -> Option:
    return Option(
        attribute=attribute,
        accepts=lambda value: _is_number(value) and least <= value <= most,  # type: ignore[operator]
        allowed=f"numbers from {least:g} to {most:g}",
        converted=float,
        note=note,
    )


def _choice(attribute: str, *values: str, converted: Callable[[Any], Any] = str, note: str = "") -> Option:
    return Option(
        attribute=attribute,
        accepts=lambda value: value in values,
        allowed=", ".join(f'"{value}"' for value in values),
        converted=converted,
        note=note,
    )


def _file(attribute: str, kind: ModelType, *words: str, note: str = "") -> Option:
    said = ", ".join(f'"{word}"' for word in words)
    return Option(
        attribute=attribute,
        accepts=lambda value: isinstance(value, str),
        allowed=f"{said}, or the name of a file ({kind.value})",
        names=kind,
        words=words,
        note=note,
    )


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _source(value: str) -> NoiseSource:
    return NoiseSource.NV if value == "GPU" else NoiseSource(value)


CHANGEABLE: dict[str, Option] = {
    CLIP_SKIP: _whole(
        "clip_skip",
        1,
        MOST_LAYERS,
        note="or up to the layers of a smaller text encoder; no effect with SD 2 and SDXL, as in A1111",
    ),
    "sd_vae": _file(
        "vae",
        ModelType.VAE,
        "Automatic",
        "None",
        note='"Automatic": the file named after the checkpoint, else its own VAE; "None": its own',
    ),
    "sd_lora": _file("lora", ModelType.LORA, "None", note="beside those of the prompt, at full strength"),
    "sd_hypernetwork": _file(
        "hypernetwork", ModelType.HYPERNETWORK, "None", note="beside those of the prompt, at full strength"
    ),
    "emphasis": _choice("emphasis", *Emphasis, converted=Emphasis),
    "comma_padding_backtrack": _whole("comma_back_off", 0, 74),
    "enable_prompt_comments": _switch("prompt_comments"),
    "sdxl_refiner_high_aesthetic_score": _number(
        "score", 0, 10, note="what SDXL's refiner is told with the prompt; no effect with other checkpoints"
    ),
    "sdxl_refiner_low_aesthetic_score": _number(
        "negative_score", 0, 10, note="the same with the negative prompt"
    ),
    "randn_source": _choice(
        "randn_source",
        *("CPU", "NV", "GPU"),
        converted=_source,
        note='"GPU" is kept as "NV", which draws the same numbers on every device; the default is "CPU",'
        ' A1111\'s is "GPU"',
    ),
    "eta_noise_seed_delta": _whole("seed_delta", 0, 2**53),
    "eta_ancestral": _number("eta_ancestral", 0, 10),
    "eta_ddim": _number("eta_ddim", 0, 10),
    "s_churn": _number("s_churn", 0, 1000),
    "s_tmin": _number("s_tmin", 0, 1000),
    "s_tmax": _number("s_tmax", 0, 1000, note="0: no limit"),
    "s_noise": _number("s_noise", 0, 1000),
    "s_min_uncond": _number("s_min_uncond", 0, 1000),
    "sgm_noise_multiplier": _switch("sgm_noise_multiplier"),
    "always_discard_next_to_last_sigma": _switch("discard_penultimate"),
    # As wide as leaves something between one of them and the other end of every model's own.
    "sigma_min": _or_0(_number("sigma_min", 0.001, 10, note="0: the model's; less than sigma_max")),
    "sigma_max": _or_0(_number("sigma_max", 0.1, 1000, note="0: the model's")),
    "rho": _or_0(_number("rho", 0.1, 100, note="0: the schedule's")),
    "uni_pc_variant": _choice("unipc_variant", "bh1", "bh2"),
    "uni_pc_order": _whole("unipc_order", 1, 3),
    "uni_pc_lower_order_final": _switch("unipc_lower_order_final"),
    "beta_dist_alpha": _number("beta_alpha", 0.01, 10),
    "beta_dist_beta": _number("beta_beta", 0.01, 10),
    "upscaler_for_img2img": _file("upscaler_for_img2img", ModelType.UPSCALER, "None", "Lanczos", "Nearest"),
    "img2img_fix_steps": _switch("img2img_fix_steps"),
    "img2img_color_correction": _switch("img2img_color_correction"),
    "img2img_background_color": Option(
        attribute="img2img_background_color",
        accepts=lambda value: isinstance(value, str) and _COLOUR.fullmatch(value) is not None,
        allowed='colours as "#rrggbb"',
    ),
    "initial_noise_multiplier": _number("initial_noise_multiplier", 0, 1.5),
    "ESRGAN_tile": _or_0(_whole("esrgan_tile", SMALLEST_TILE, 512, note="0: as large as is served")),
    "ESRGAN_tile_overlap": _whole("esrgan_tile_overlap", 0, 48),
    "samples_save": _switch("save_samples"),
    "samples_format": _choice("samples_format", "png", "jpg", "webp"),
    "jpeg_quality": _whole("jpeg_quality", 1, 100),
    "webp_lossless": _switch("webp_lossless"),
    "enable_pnginfo": _switch("enable_pnginfo"),
    "return_grid": _switch("return_grid"),
    "grid_save": _switch("grid_save"),
    UNIT_COUNT: _whole(
        "controlnet_units", 1, 10, note="of ControlNet: units that a request may have on; more are refused"
    ),
    "control_net_no_detectmap": _switch(
        "no_detected_maps", note="of ControlNet: true: no map is added to an answer"
    ),
    "live_previews_enable": _switch("previews"),
}

_FACES = "face restoration is not served"
_MERGING = "token merging is not served"

#: What is true of this server and cannot be changed; the second value of each pair says why.
FIXED: dict[str, tuple[Any, str]] = {
    "save_to_dirs": (True, "pictures are saved in a folder a day"),
    "grid_save_to_dirs": (True, "grids are saved in a folder a day"),
    "save_images_add_number": (True, "files are numbered, so that none is overwritten"),
    "samples_filename_pattern": ("", "files are named by number and seed"),
    "return_mask": (False, "the mask is not added to the answer"),
    "return_mask_composite": (False, "the masked composite is not added to the answer"),
    "extra_networks_default_multiplier": (1.0, "a prompt says the strength of each"),
    "sdxl_clip_l_skip": (False, "CLIP skip has no effect with SDXL, as is A1111's default"),
    "uni_pc_skip_type": ("time_uniform", "the scheduler says how noise levels are spaced"),
    "s_min_uncond_all": (False, "the negative prompt is left out of every second step"),
    "img2img_extra_noise": (0.0, "extra noise is not served"),
    "inpainting_mask_weight": (1.0, "inpainting checkpoints see the whole mask"),
    "control_net_sync_field_args": (True, "infotext fills the units of ControlNet, too"),
    "control_net_inpaint_blur_sigma": (7, "of inpaint_only"),
    "control_net_detectmap_autosaving": (False, "maps are sent and not saved"),
    "control_net_model_cache_size": (2, "ControlNets stay within a budget of bytes, not of files"),
    "control_net_allow_script_control": (False, "no other script is served that could"),
    "controlnet_ignore_noninpaint_mask": (False, "a mask that no module takes is the drawing itself"),
    "token_merging_ratio": (0.0, _MERGING),
    "token_merging_ratio_img2img": (0.0, _MERGING),
    "token_merging_ratio_hr": (0.0, _MERGING),
    "face_restoration": (False, _FACES),
    "face_restoration_model": (None, _FACES),
    "show_progress_every_n_steps": (1, "a preview is of the last step when it is asked for"),
    "show_progress_type": ("Approx cheap", "previews are made of the latents by a linear map"),
    "live_previews_image_format": ("png", "previews are PNG"),
}
