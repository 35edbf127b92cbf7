"""The numbers of a request's passes, and its mask: from its fields, and from options where it leaves them
open. Pure."""

import math

from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.schemas import GenerationRequest, Img2ImgRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.sampling import SamplerInfo
from sd_runtime.sampling.settings import NoiseSettings, SamplingSettings
from sd_runtime.tasks.recipe import Grey, Mask, MaskedContent


def text(options: Values) -> TextSettings:
    """How the prompts are encoded."""
    return TextSettings(
        clip_skip=options.clip_skip,
        emphasis=options.emphasis,
        comma_back_off=options.comma_back_off,
        score=options.score,
        negative_score=options.negative_score,
    )


def noise(request: GenerationRequest, options: Values, *, seed: int, subseed: int) -> NoiseSettings:
    """The noise of the picture with these seeds."""
    return NoiseSettings(
        seed=seed,
        source=options.randn_source,
        subseed=subseed,
        subseed_strength=request.subseed_strength,
        resize_from=_resize_from(request),
        seed_delta=options.seed_delta,
    )


def _resize_from(request: GenerationRequest) -> tuple[int, int] | None:
    width, height = request.seed_resize_from_w, request.seed_resize_from_h
    if width <= 0 and height <= 0:
        return None
    for field, side in (("seed_resize_from_w", width), ("seed_resize_from_h", height)):
        if side < 8:
            raise UnsupportedError(field, side, "8 pixels or more, both sides given; or 0 or -1 for both")
    return width, height


def sampling(request: GenerationRequest, options: Values, sampler: SamplerInfo) -> SamplingSettings:
    """The numbers of the solver: the request's own first, then the options'."""
    s_tmax = _first(request.s_tmax, options.s_tmax)
    return SamplingSettings(
        eta=eta(request, options, sampler),
        s_churn=_first(request.s_churn, options.s_churn),
        s_tmin=_first(request.s_tmin, options.s_tmin),
        s_tmax=s_tmax if s_tmax > 0 else math.inf,
        s_noise=_first(request.s_noise, options.s_noise),
        sigma_min=options.sigma_min,
        sigma_max=options.sigma_max,
        rho=options.rho,
        beta_alpha=options.beta_alpha,
        beta_beta=options.beta_beta,
        discard_penultimate=options.discard_penultimate,
        sgm_noise_multiplier=options.sgm_noise_multiplier,
        unipc_variant=options.unipc_variant,
        unipc_order=options.unipc_order,
        unipc_lower_order_final=options.unipc_lower_order_final,
    )


def eta(request: GenerationRequest, options: Values, sampler: SamplerInfo) -> float:
    """How much of the noise is drawn anew in each step."""
    return _first(request.eta, options.eta_ddim if sampler.eta_of_ddim else options.eta_ancestral)


def s_min_uncond(request: GenerationRequest, options: Values) -> float:
    """The sigma below which the negative prompt is left out of every second step."""
    return _first(request.s_min_uncond, options.s_min_uncond)


def noise_multiplier(request: Img2ImgRequest, options: Values) -> float:
    """By which the first noise over a given picture is multiplied."""
    return _first(request.initial_noise_multiplier, options.initial_noise_multiplier)


def blur(request: Img2ImgRequest) -> tuple[int, int]:
    """The mask's blur along both axes, in pixels."""
    if request.mask_blur is not None:
        return request.mask_blur, request.mask_blur
    return request.mask_blur_x, request.mask_blur_y


def mask(request: Img2ImgRequest, image: Grey | None) -> Mask | None:
    """The mask of inpainting; None where there is none."""
    if image is None:
        return None
    blur_x, blur_y = blur(request)
    return Mask(
        image=image,
        blur_x=blur_x,
        blur_y=blur_y,
        content=MaskedContent(request.inpainting_fill),
        only_masked=request.inpaint_full_res,
        padding=request.inpaint_full_res_padding,
        invert=bool(request.inpainting_mask_invert),
        round=request.mask_round,
    )


def colour(text: str) -> tuple[int, int, int]:
    """A colour written as #rrggbb."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _first(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given
