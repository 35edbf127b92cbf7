"""A1111's words for pictures that were made: infotext of each, and the `info` of the response. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sd_runtime.a1111 import infotext, parameters
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.plan import Plan
from sd_runtime.jobs.job import Picture

#: Fields of img2img whose pictures are not sent back, unless a request asks for them.
_NOT_ECHOED = ("init_images", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A request and the pictures that came of it."""

    plan: Plan
    checkpoint: Checkpoint
    pictures: tuple[Picture, ...]
    accepted: datetime
    #: Short hashes of the files beside the checkpoint.
    hashes: Mapping[Path, str]

    def infotexts(self) -> list[str]:
        """Of each picture."""
        return [self._infotext(each.index, each.made.embeddings) for each in self.pictures]

    def infotext_of_grid(self) -> str:
        """That of the first picture, as in A1111."""
        first = self.pictures[0]
        return self._infotext(first.index, first.made.embeddings)

    def info(self, *, grid: bool = False) -> str:
        """The `info` of the response: what A1111 tells of a request, as JSON text. Every list has one item
        for each picture in the response: after an interruption fewer than were asked for. A grid comes before
        them, and has an infotext alone."""
        plan, request = self.plan, self.plan.request
        indices = [picture.index for picture in self.pictures]
        first, count = indices[0] if indices else 0, len(indices)
        texts = self.infotexts()
        told: dict[str, Any] = {
            "prompt": plan.words.prompt,
            "all_prompts": [plan.words.prompt] * count,
            "negative_prompt": plan.words.negative_prompt,
            "all_negative_prompts": [plan.words.negative_prompt] * count,
            "seed": plan.seeds[first],
            "all_seeds": [plan.seeds[index] for index in indices],
            "subseed": plan.subseeds[first],
            "all_subseeds": [plan.subseeds[index] for index in indices],
            "subseed_strength": request.subseed_strength,
            "width": plan.size[0],
            "height": plan.size[1],
            "sampler_name": plan.choice.sampler.name,
            "cfg_scale": request.cfg_scale,
            "steps": request.steps,
            "batch_size": plan.batch_size,
            "restore_faces": False,
            "face_restoration_model": None,
            "sd_model_name": self.checkpoint.model_name,
            "sd_model_hash": self.checkpoint.short_hash,
            "sd_vae_name": plan.vae.path.name if plan.vae else None,
            "sd_vae_hash": self.hashes.get(plan.vae.path) if plan.vae else None,
            "seed_resize_from_w": request.seed_resize_from_w,
            "seed_resize_from_h": request.seed_resize_from_h,
            "denoising_strength": request.denoising_strength,
            "extra_generation_params": self._extras(),
            "index_of_first_image": int(grid),
            "infotexts": [self.infotext_of_grid(), *texts] if grid else texts,
            "styles": list(request.styles or ()),
            "job_timestamp": self.accepted.strftime("%Y%m%d%H%M%S"),
            "clip_skip": plan.options.clip_skip,
            "is_using_inpainting_conditioning": False,
            "version": parameters.VERSION,
        }
        return json.dumps(told, ensure_ascii=False)

    def _infotext(self, index: int, embeddings: Sequence[tuple[str, str]]) -> str:
        words = self.plan.words
        told = parameters.of_picture(
            self.plan, self.checkpoint, index, hashes=self.hashes, embeddings=embeddings
        )
        return infotext.write(words.prompt, words.negative_prompt, told)

    def _extras(self) -> dict[str, object]:
        embeddings = self.pictures[0].made.embeddings if self.pictures else ()
        return parameters.extras(self.plan, hashes=self.hashes, embeddings=embeddings)


def echo(plan: Plan) -> dict[str, Any]:
    """The request as the response repeats it."""
    if getattr(plan.request, "include_init_images", True):
        return plan.request.model_dump()
    return plan.request.model_dump() | dict.fromkeys(_NOT_ECHOED)
