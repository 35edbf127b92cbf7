"""A1111's words for pictures that were made: infotext of each, and the `info` of the response. Pure."""

import json
from datetime import datetime
from typing import Any

from sd_runtime import __version__
from sd_runtime.a1111 import infotext
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.planning import Plan
from sd_runtime.jobs.job import Picture

#: Not "v…": A1111's reader takes such a version for its own and applies the habits of old releases.
VERSION = f"sd-operator {__version__}"


def infotext_of(plan: Plan, checkpoint: Checkpoint, index: int) -> str:
    """The infotext of picture `index` of the request."""
    request = plan.request
    parameters: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": plan.choice.sampler.name,
        "Schedule type": plan.choice.schedule_label,
        "CFG scale": request.cfg_scale,
        "Seed": plan.seeds[index],
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint.short_hash,
        "Model": checkpoint.model_name,
        "Clip skip": plan.options.clip_skip if plan.options.clip_skip > 1 else None,
        "RNG": "CPU",
        "Version": VERSION,
    }
    return infotext.write(request.prompt, request.negative_prompt, parameters)


def info(plan: Plan, checkpoint: Checkpoint, pictures: tuple[Picture, ...], *, accepted: datetime) -> str:
    """The `info` of the response: what A1111 tells of a request, as JSON text. Every list
    has one item for each picture in the response: after an interruption fewer than were asked for."""
    request = plan.request
    indices = [picture.index for picture in pictures]
    first, count = indices[0] if indices else 0, len(indices)
    told: dict[str, Any] = {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * count,
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * count,
        "seed": plan.seeds[first],
        "all_seeds": [plan.seeds[index] for index in indices],
        "subseed": plan.subseeds[first],
        "all_subseeds": [plan.subseeds[index] for index in indices],
        "subseed_strength": request.subseed_strength,
        "width": request.width,
        "height": request.height,
        "sampler_name": plan.choice.sampler.name,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": checkpoint.model_name,
        "sd_model_hash": checkpoint.short_hash,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": request.seed_resize_from_w,
        "seed_resize_from_h": request.seed_resize_from_h,
        "denoising_strength": request.denoising_strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [infotext_of(plan, checkpoint, picture.index) for picture in pictures],
        "styles": [],
        "job_timestamp": accepted.strftime("%Y%m%d%H%M%S"),
        "clip_skip": plan.options.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": VERSION,
    }
    return json.dumps(told, ensure_ascii=False)
