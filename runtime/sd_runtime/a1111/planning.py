"""A txt2img request of A1111 as work for the engine: what is refused, which seeds, which iterations. Pure."""

from dataclasses import dataclass
from random import Random

from sd_runtime.a1111 import fields, sampler_names
from sd_runtime.a1111.options import Values
from sd_runtime.a1111.schemas import MAX_PIXELS, Txt2ImgRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.jobs import seeds
from sd_runtime.prompt import grammar
from sd_runtime.tasks.txt2img import Txt2Img

#: Fields that the engine names otherwise.
_CLIENTS_NAMES = {"clip_skip": "CLIP_stop_at_last_layers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided about a request before it is accepted."""

    request: Txt2ImgRequest
    options: Values
    choice: sampler_names.Choice
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...]
    iterations: tuple[tuple[Txt2Img, ...], ...]

    @property
    def saves(self) -> bool:
        """Whether the pictures are written to the output folder."""
        return self.options.save_samples and (
            self.request.save_images or not self.request.do_not_save_samples
        )


def plan_txt2img(request: Txt2ImgRequest, options: Values, random: Random) -> Plan:
    """Judges the request and lays out its pictures; raises `UnsupportedError` for what is not served."""
    fields.refuse_unserved(request)
    if request.override_settings and not request.override_settings_restore_afterwards:
        allowed = "true, with override_settings (POST /sdapi/v1/options changes options for all requests)"
        raise UnsupportedError("override_settings_restore_afterwards", False, allowed)
    choice = sampler_names.choose(
        sampler_name=request.sampler_name, sampler_index=request.sampler_index, scheduler=request.scheduler
    )
    if choice.sampler.ancestral and request.eta not in (None, 1):
        raise UnsupportedError("eta", request.eta, f"null, 1 (eta is not served with {choice.sampler.name})")
    count = request.batch_size * request.n_iter
    pixels = count * request.width * request.height
    if pixels > MAX_PIXELS:
        raise UnsupportedError(
            "batch_size x n_iter x width x height", pixels, f"{MAX_PIXELS} pixels in one request"
        )
    all_seeds = seeds.consecutive(seeds.fixed(request.seed, random), count)
    tasks = [_task(request, options, choice, seed) for seed in all_seeds]
    return Plan(
        request=request,
        options=options,
        choice=choice,
        seeds=all_seeds,
        subseeds=seeds.consecutive(seeds.fixed(request.subseed, random), count),
        iterations=tuple(
            tuple(tasks[start : start + request.batch_size]) for start in range(0, count, request.batch_size)
        ),
    )


def in_clients_words(error: Exception) -> Exception:
    """The engine's refusal under the name that a client knows the field by; any other error as it is."""
    if isinstance(error, UnsupportedError) and error.field in _CLIENTS_NAMES:
        return UnsupportedError(_CLIENTS_NAMES[error.field], error.value, error.allowed)
    return error


def _task(request: Txt2ImgRequest, options: Values, choice: sampler_names.Choice, seed: int) -> Txt2Img:
    return Txt2Img(
        prompt=_served_prompt(request, request.prompt),
        negative_prompt=_served_prompt(request, request.negative_prompt),
        width=request.width,
        height=request.height,
        steps=request.steps,
        cfg_scale=request.cfg_scale,
        sampler=choice.sampler.name,
        scheduler=choice.scheduler.name,
        seed=seed,
        clip_skip=options.clip_skip,
    )


def _served_prompt(request: Txt2ImgRequest, prompt: str) -> str:
    """The prompt for the engine, which refuses extra networks; a request may ask to leave them out
    instead."""
    return grammar.without_extra_networks(prompt) if request.disable_extra_networks else prompt
