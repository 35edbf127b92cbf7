"""What infotext says of one picture beside its prompts: keys, order and values as A1111 writes them, each
only where it says more than its reader assumes. Pure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from sd_runtime import __version__
from sd_runtime.a1111 import tuning
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet import telling
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.plan import Plan
from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest
from sd_runtime.a1111.second_pass import SecondPass
from sd_runtime.adapters.uses import AdapterKind
from sd_runtime.sampling import SamplerInfo
from sd_runtime.sampling.settings import SamplingSettings

#: Not "v…": A1111's reader takes such a version for its own and applies the habits of old releases.
VERSION = f"sd-operator {__version__}"
#: By the numbers of inpainting_fill.
MASKED_CONTENTS = ("fill", "original", "latent noise", "latent nothing")
ONLY_MASKED = "Only masked"
INVERTED = "Inpaint not masked"

#: Options that are told where they differ from A1111's defaults: key, attribute.
_TOLD_OPTIONS = (
    ("Emphasis", "emphasis"),
    ("Schedule min sigma", "sigma_min"),
    ("Schedule max sigma", "sigma_max"),
    ("Schedule rho", "rho"),
    ("Discard penultimate sigma", "discard_penultimate"),
    ("SGM noise multiplier", "sgm_noise_multiplier"),
)
_OF_UNIPC = (
    ("UniPC variant", "unipc_variant"),
    ("UniPC order", "unipc_order"),
    ("UniPC lower order final", "unipc_lower_order_final"),
)
_OF_BETA = (("Beta schedule alpha", "beta_alpha"), ("Beta schedule beta", "beta_beta"))


def of_picture(
    plan: Plan,
    checkpoint: Checkpoint,
    index: int,
    *,
    hashes: Mapping[Path, str],
    embeddings: Sequence[tuple[str, str]] = (),
) -> dict[str, object]:
    """All parameters of picture `index`, in A1111's order; None stands for what is not told.

    `hashes` has the short hashes of the files beside the checkpoint, `embeddings` the textual inversions that
    the picture's texts named (trigger, short hash).
    """
    request, varied = plan.request, plan.request.subseed_strength > 0
    return {
        "Steps": request.steps,
        "Sampler": plan.choice.sampler.name,
        "Schedule type": plan.choice.schedule_label,
        "CFG scale": request.cfg_scale,
        "Seed": plan.seeds[index],
        "Size": _size(plan.size),
        "Model hash": checkpoint.short_hash,
        "Model": checkpoint.model_name,
        "VAE hash": hashes.get(plan.vae.path) if plan.vae else None,
        "VAE": plan.vae.path.name if plan.vae else None,
        "Variation seed": plan.subseeds[index] if varied else None,
        "Variation seed strength": request.subseed_strength if varied else None,
        "Seed resize from": _resized_from(plan),
        "Denoising strength": request.denoising_strength if _is_drawn_over(plan) else None,
        "Clip skip": plan.options.clip_skip if plan.options.clip_skip > 1 else None,
        "ENSD": _ensd(plan),
        "RNG": plan.options.randn_source.value,
        "Tiling": True if request.tiling else None,
        **extras(plan, hashes=hashes, embeddings=embeddings),
        "Version": VERSION,
    }


def extras(
    plan: Plan, *, hashes: Mapping[Path, str], embeddings: Sequence[tuple[str, str]] = ()
) -> dict[str, object]:
    """Those that A1111 calls extra_generation_params; all are told."""
    # A1111 gives hypernetworks no hash; the prompt names them.
    loras = [each for each in plan.all_networks if each.use.kind is AdapterKind.LORA]
    found: dict[str, object] = {
        **_of_second_pass(plan, hashes),
        **_of_image(plan),
        "Lora hashes": _listed([(each.name, hashes.get(each.file.path)) for each in loras]),
        "TI hashes": _listed(embeddings),
        "Refiner": _titled(plan.refiner, hashes),
        "Refiner switch at": plan.request.refiner_switch_at if plan.refiner else None,
        **_of_solver(plan),
        **_differing(plan.options, _TOLD_OPTIONS),
        **telling.pairs(plan.controls),
    }
    if "UniPC" in (plan.choice.sampler.name, plan.second and plan.second.choice.sampler.name):
        found |= _differing(plan.options, _OF_UNIPC)
    if "beta" in (plan.choice.scheduler.name, plan.second and plan.second.choice.scheduler.name):
        found |= _differing(plan.options, _OF_BETA)
    return {key: value for key, value in found.items() if value is not None}


def _is_drawn_over(plan: Plan) -> bool:
    return plan.second is not None or isinstance(plan.request, Img2ImgRequest)


def _resized_from(plan: Plan) -> str | None:
    width, height = plan.request.seed_resize_from_w, plan.request.seed_resize_from_h
    return _size((width, height)) if width > 0 and height > 0 else None


def _ensd(plan: Plan) -> int | None:
    """Where A1111 tells it, and where it tells nothing although the picture is another by it."""
    settings = ((each, tuning.sampling(plan.request, plan.options, each)) for each in _samplers(plan))
    counts = any(sampler.uses_seed_delta or sampler.draws_again(own) for sampler, own in settings)
    return plan.options.seed_delta if counts and plan.options.seed_delta else None


def _samplers(plan: Plan) -> tuple[SamplerInfo, ...]:
    """Of every pass."""
    return plan.choice.sampler, *((plan.second.choice.sampler,) if plan.second else ())


def _of_second_pass(plan: Plan, hashes: Mapping[Path, str]) -> dict[str, object]:
    request, second = plan.request, plan.second
    if second is None or not isinstance(request, Txt2ImgRequest):
        return {}
    same_schedule = second.choice.schedule_label == plan.choice.schedule_label
    words = plan.second_words
    return {
        "Hires upscale": request.hr_scale if second.scaled else None,
        "Hires resize": None if second.scaled else _size(_target(request, second)),
        "Hires steps": request.hr_second_pass_steps or None,
        "Hires upscaler": second.upscaler.name,
        "Hires sampler": (
            None if second.choice.sampler == plan.choice.sampler else second.choice.sampler.name
        ),
        "Hires schedule type": None if same_schedule else second.choice.schedule_label,
        "Hires checkpoint": _titled(second.checkpoint, hashes),
        "Hires prompt": words.prompt if words.prompt != plan.words.prompt else None,
        "Hires negative prompt": (
            words.negative_prompt if words.negative_prompt != plan.words.negative_prompt else None
        ),
    }


def _target(request: Txt2ImgRequest, second: SecondPass) -> tuple[int, int]:
    """As it was asked for, so that it is read back as such."""
    asked = request.hr_resize_x, request.hr_resize_y
    return second.sizes.final if asked == (0, 0) else asked


def _of_image(plan: Plan) -> dict[str, object]:
    request = plan.request
    if not isinstance(request, Img2ImgRequest):
        return {}
    multiplier = tuning.noise_multiplier(request, plan.options)
    noise: dict[str, object] = {"Noise multiplier": multiplier if multiplier != 1 else None}
    if not request.mask:
        return noise
    blur_x, blur_y = tuning.blur(request)
    return {
        "Mask blur": blur_x if blur_x == blur_y else None,
        "Inpaint area": ONLY_MASKED if request.inpaint_full_res else None,
        "Masked area padding": request.inpaint_full_res_padding if request.inpaint_full_res else None,
        "Masked content": MASKED_CONTENTS[request.inpainting_fill] if request.inpainting_fill != 1 else None,
        "Mask mode": INVERTED if request.inpainting_mask_invert else None,
        **noise,
    }


def _of_solver(plan: Plan) -> dict[str, object]:
    told: dict[str, object] = {"NGMS": tuning.s_min_uncond(plan.request, plan.options) or None}
    for sampler in _samplers(plan):
        told |= _of_sampler(sampler, tuning.sampling(plan.request, plan.options, sampler))
    return told


def _of_sampler(sampler: SamplerInfo, settings: SamplingSettings) -> dict[str, object]:
    told: dict[str, object] = {}
    if sampler.uses_eta:
        key = "Eta DDIM" if sampler.eta_of_ddim else "Eta"
        told[key] = settings.eta if settings.eta != sampler.default_eta else None
    if sampler.uses_churn:
        told |= {
            "Sigma churn": settings.s_churn or None,
            "Sigma tmin": settings.s_tmin or None,
            "Sigma tmax": settings.s_tmax if math.isfinite(settings.s_tmax) else None,
        }
    if sampler.uses_s_noise:
        told["Sigma noise"] = settings.s_noise if settings.s_noise != 1 else None
    return told


def _differing(options: Values, table: Sequence[tuple[str, str]]) -> dict[str, object]:
    defaults = Values()
    values = {key: (getattr(options, name), getattr(defaults, name)) for key, name in table}
    return {key: value for key, (value, default) in values.items() if value != default}


def _listed(pairs: Sequence[tuple[str, str | None]]) -> str | None:
    """Names with their hashes; the marks between them cannot be part of a name."""
    told = [f"{name.replace(':', '').replace(',', '')}: {short}" for name, short in pairs if short]
    return ", ".join(told) or None


def _titled(checkpoint: Checkpoint | None, hashes: Mapping[Path, str]) -> str | None:
    """By a hash that may have become known only when the checkpoint was loaded for the picture."""
    if checkpoint is None:
        return None
    short = hashes.get(checkpoint.path, checkpoint.short_hash)
    return f"{checkpoint.name} [{short}]" if short else checkpoint.name


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
