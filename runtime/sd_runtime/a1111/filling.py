"""The field `infotext`: what a picture's text says of its making, filled into the fields and options that a
request leaves unset.

What the request says itself counts. Of what infotext says nothing about, its reader assumes A1111's defaults
(`infotext.read`), so that a picture of A1111's is made anew as A1111 would. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from sd_runtime.a1111 import infotext, second_pass
from sd_runtime.a1111.controlnet import telling
from sd_runtime.a1111.parameters import INVERTED, MASKED_CONTENTS, ONLY_MASKED
from sd_runtime.a1111.schemas import GenerationRequest, Txt2ImgRequest
from sd_runtime.errors import UnsupportedError, complaint

R = TypeVar("R", bound=GenerationRequest)

Convert = Callable[[str], Any]


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _unless(*same: str) -> Convert:
    return lambda text: None if text in same else text


_FIELDS: dict[str, tuple[str, Convert]] = {
    infotext.PROMPT: ("prompt", str),
    infotext.NEGATIVE_PROMPT: ("negative_prompt", str),
    "Steps": ("steps", int),
    "Sampler": ("sampler_name", str),
    "Schedule type": ("scheduler", str),
    "CFG scale": ("cfg_scale", float),
    "Seed": ("seed", int),
    "Face restoration": ("restore_faces", bool),
    "Size-1": ("width", int),
    "Size-2": ("height", int),
    "Variation seed": ("subseed", int),
    "Variation seed strength": ("subseed_strength", float),
    "Seed resize from-1": ("seed_resize_from_w", int),
    "Seed resize from-2": ("seed_resize_from_h", int),
    "Denoising strength": ("denoising_strength", float),
    "Tiling": ("tiling", _truth),
    "Refiner": ("refiner_checkpoint", str),
    "Refiner switch at": ("refiner_switch_at", float),
}
_OF_TXT2IMG: dict[str, tuple[str, Convert]] = {
    "Hires upscale": ("hr_scale", float),
    "Hires resize-1": ("hr_resize_x", int),
    "Hires resize-2": ("hr_resize_y", int),
    "Hires steps": ("hr_second_pass_steps", int),
    "Hires upscaler": ("hr_upscaler", str),
    "Hires sampler": ("hr_sampler_name", _unless(second_pass.SAME_SAMPLER)),
    "Hires schedule type": ("hr_scheduler", _unless(second_pass.SAME_SCHEDULER)),
    "Hires checkpoint": ("hr_checkpoint_name", _unless(second_pass.SAME_CHECKPOINT)),
    "Hires prompt": ("hr_prompt", str),
    "Hires negative prompt": ("hr_negative_prompt", str),
}
_HIRES = ("Hires upscale", "Hires upscaler", "Hires resize-1")
_OF_IMG2IMG: dict[str, tuple[str, Convert]] = {
    "Mask blur": ("mask_blur", int),
    "Mask mode": ("inpainting_mask_invert", lambda text: int(text == INVERTED)),
    "Masked content": ("inpainting_fill", MASKED_CONTENTS.index),
    "Inpaint area": ("inpaint_full_res", lambda text: text == ONLY_MASKED),
    "Masked area padding": ("inpaint_full_res_padding", int),
}
#: Options, by their names in override_settings.
_OPTIONS: dict[str, tuple[str, Convert]] = {
    "Model hash": ("sd_model_checkpoint", str),
    "VAE": ("sd_vae", str),
    "Clip skip": ("CLIP_stop_at_last_layers", int),
    "ENSD": ("eta_noise_seed_delta", int),
    "RNG": ("randn_source", str),
    "Emphasis": ("emphasis", str),
    "Eta": ("eta_ancestral", float),
    "Eta DDIM": ("eta_ddim", float),
    "Sigma churn": ("s_churn", float),
    "Sigma tmin": ("s_tmin", float),
    "Sigma tmax": ("s_tmax", float),
    "Sigma noise": ("s_noise", float),
    "NGMS": ("s_min_uncond", float),
    "Noise multiplier": ("initial_noise_multiplier", float),
    "Schedule min sigma": ("sigma_min", float),
    "Schedule max sigma": ("sigma_max", float),
    "Schedule rho": ("rho", float),
    "Discard penultimate sigma": ("always_discard_next_to_last_sigma", _truth),
    "SGM noise multiplier": ("sgm_noise_multiplier", _truth),
    "UniPC variant": ("uni_pc_variant", str),
    "UniPC order": ("uni_pc_order", int),
    "UniPC lower order final": ("uni_pc_lower_order_final", _truth),
    "Beta schedule alpha": ("beta_dist_alpha", float),
    "Beta schedule beta": ("beta_dist_beta", float),
    "Token merging ratio": ("token_merging_ratio", float),
    "Token merging ratio hr": ("token_merging_ratio_hr", float),
}


def filled(request: R) -> R:
    """The request with its infotext in its fields. Raises `UnsupportedError` for a value in the infotext that
    its field or option does not take."""
    if not request.infotext:
        return request
    said = infotext.read(request.infotext)
    given = request.model_dump(include=request.model_fields_set)
    fields = _converted(said, _table_of(request))
    if isinstance(request, Txt2ImgRequest) and any(key in said for key in _HIRES):
        fields["enable_hr"] = True
    options = _converted(said, _OPTIONS)
    given["override_settings"] = options | request.override_settings
    scripts = telling.filled(request.alwayson_scripts, said)
    if scripts:
        given["alwayson_scripts"] = scripts
    try:
        return type(request).model_validate(fields | given)
    except ValidationError as error:
        problem = complaint(error.errors()[0], whole="infotext")
        raise UnsupportedError("infotext", request.infotext, f"what the fields take ({problem})") from error


def _table_of(request: GenerationRequest) -> dict[str, tuple[str, Convert]]:
    return _FIELDS | (_OF_TXT2IMG if isinstance(request, Txt2ImgRequest) else _OF_IMG2IMG)


def _converted(said: Mapping[str, str], table: Mapping[str, tuple[str, Convert]]) -> dict[str, Any]:
    values = {}
    for key, (name, convert) in table.items():
        if key in said:
            try:
                values[name] = convert(said[key])
            except (KeyError, ValueError) as error:
                raise UnsupportedError("infotext", f"{key}: {said[key]}", f"a value of {name}") from error
    return values
