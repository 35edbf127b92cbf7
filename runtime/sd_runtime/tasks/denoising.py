"""One pass over the latents of a picture: from what a sampler asks to evaluations, and back.

The story that all tasks share: texts by their schedules, guidance, the change to a refiner, what a mask
keeps, progress, and coming to an end early. Knows no picture, and of noise that some can be drawn ahead.
Device thread only.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sd_runtime.engine.work import (
    Estimate,
    Evaluate,
    Interrupted,
    OnStep,
    Step,
    UseCheckpoint,
    Work,
)
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.network import Model
from sd_runtime.sampling import catalog
from sd_runtime.sampling.noise import ImageNoise
from sd_runtime.sampling.passes import SamplerPlan, Walk
from sd_runtime.tasks.canvas import Canvas, Shown
from sd_runtime.tasks.recipe import Guided, Refiner
from sd_runtime.tasks.steering import Steering
from sd_runtime.tasks.texts import Texts


def plan_of(guided: Guided, model: Model) -> SamplerPlan:
    """How the pass walks through the noise levels."""
    return SamplerPlan(guided.sampler, guided.scheduler, guided.steps, guided.sampling, model.loaded.family)


def use_checkpoint(model: Model, path: Path, field: str) -> Generator[Work, Any, Model]:
    """Change to another checkpoint, that goes on with the latents of this one; raises `UnsupportedError`
    about `field` where it would take them for something else."""
    if path == model.loaded.path:
        return model
    other: Model = yield UseCheckpoint(path)
    if not same_latents(model, other):
        allowed = (
            f"checkpoints with the latents of {model.loaded.path.stem}, as {model.loaded.family} has them"
        )
        raise UnsupportedError(field, f"{path.stem} ({other.loaded.family})", allowed)
    return other


def same_latents(model: Model, other: Model) -> bool:
    """Whether one's latents mean the same to the other."""
    return (model.latent_channels, model.latent_stride, model.latent_scale) == (
        other.latent_channels,
        other.latent_stride,
        other.latent_scale,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """Which pass of how many this is, over how many steps, and whom to tell."""

    on_step: OnStep
    steps: int
    part: int = 0
    parts: int = 1


class Denoiser:
    """One pass: answers a sampler with the estimates of the network."""

    def __init__(
        self,
        model: Model,
        guided: Guided,
        texts: Texts,
        progress: Progress,
        shown: Shown,
        noise: ImageNoise,
        *,
        vae: Path | None,
        tiling: bool,
        canvas: Canvas | None = None,
        steering: tuple[Steering, ...] = (),
    ) -> None:
        #: The checkpoint that goes on with it: another one after the refiner has taken over.
        self.model = model
        #: Whether it came to its end early.
        self.interrupted = False
        self._guided = guided
        self._adapters = guided.adapters
        self._guidance = catalog.find_sampler(guided.sampler)
        self._texts = texts
        self._progress = progress
        self._shown = shown
        self._noise = noise
        self._vae = vae
        self._tiling = tiling
        self._canvas = canvas
        self._steering = steering
        self._done = 0
        self._concat: torch.Tensor | None = None
        self._is_prepared = False
        self._evaluations = 0
        self._last: torch.Tensor | None = None

    def step_done(self, done: int) -> None:
        """For the sampler to call after each step."""
        self._done = done
        p = self._progress
        p.on_step(Step(done, p.steps, p.part, p.parts, self._last))

    def run(self, walk: Walk) -> Generator[Work, Any, torch.Tensor]:
        """The latents that the sampler ends with, or, told to come to an end, the last estimate; raises
        `Interrupted` where there is none yet."""
        try:
            x, sigma = next(walk)
            while True:
                x, sigma = walk.send((yield from self._estimate(x, sigma)))
        except StopIteration as finished:
            latents: torch.Tensor = finished.value
        except Interrupted:
            walk.close()
            if self._last is None:
                raise
            self.interrupted = True
            return self._last
        return self._canvas.blend(latents) if self._canvas else latents

    def _estimate(self, x: torch.Tensor, sigma: float) -> Generator[Work, Any, Estimate]:
        yield from self._prepare(sigma)
        step = self._evaluations
        conds = yield from self._texts.prompt(step)
        guides = self._guides(step, sigma)
        uncond = (yield from self._texts.negative(step)) if guides else None
        steering = self._taking_part()
        estimate: Estimate = yield Evaluate(
            x,
            sigma,
            conds,
            uncond,
            # A step without the negative prompt goes straight towards the texts.
            self._scale if guides else 1.0,
            self._adapters,
            self._concat,
            self._tiling,
            self._noise.prepare,
            tuple(each.active for each in steering),
        )
        self._evaluations += 1
        estimate = self._with_colours(estimate, steering, sum(weight for _, weight in conds))
        if self._canvas is not None:
            estimate = Estimate(self._canvas.blend(estimate.denoised), estimate.unguided)
        self._last = estimate.denoised
        return estimate

    def _taking_part(self) -> tuple[Steering, ...]:
        """Those that have a say in the step under way."""
        steps = self._progress.steps
        return tuple(each for each in self._steering if each.control.takes_part(self._done, steps))

    def _with_colours(self, estimate: Estimate, steering: tuple[Steering, ...], weights: float) -> Estimate:
        """With those that some of them keep, one after the other; `weights` is the sum of the texts'."""
        for each in steering:
            if each.colours is not None:
                estimate = each.colours.kept(estimate, unguided_factor=1 - self._scale * weights)
        return estimate

    @property
    def _scale(self) -> float:
        return self._guided.cfg_scale * self._guidance.cfg_multiplier

    def _guides(self, evaluation: int, sigma: float) -> bool:
        """Whether the negative prompt takes part: not where guidance would change nothing, and below
        s_min_uncond in every second evaluation only."""
        if self._guidance.needs_unguided:
            return True
        # At a scale of 1 the negative prompt cancels out, if the texts' weights add up to 1.
        if self._scale == 1 and sum(self._texts.weights(evaluation)) == 1:
            return False
        return not (evaluation % 2 and sigma < self._guided.s_min_uncond)

    def _prepare(self, sigma: float) -> Generator[Work, Any, None]:
        """What must be there before an evaluation: the refiner, once its time has come, and what a network of
        inpainting is shown."""
        refiner = self._guided.refiner
        if refiner is not None and self._share_done(sigma) >= refiner.switch_at:
            before = self.model
            self.model = yield from use_checkpoint(self.model, refiner.checkpoint, "refiner_checkpoint")
            if self.model is not before:
                if self.model.loaded.family != before.loaded.family:
                    self._demand_that_all_took_part(refiner)
                    # Adapters and ControlNets are made for the checkpoint that the prompt is for; in A1111,
                    # too, those of SDXL have no effect on its refiner.
                    self._adapters = ()
                    self._steering = ()
                self._texts.go_on(self._adapters)
                self._is_prepared = False
        if not self._is_prepared:
            self._concat = yield from self._shown.channels(self.model, vae=self._vae, tiling=self._tiling)
            self._is_prepared = True

    def _demand_that_all_took_part(self, refiner: Refiner) -> None:
        """Refuses a refiner that goes on without ControlNets before the first step of the only pass that they
        have: they would change nothing."""
        is_second = self._progress.part > 0
        lost = [each for each in self._steering if not (is_second and each.control.first_pass)]
        if lost and not self._evaluations:
            allowed = (
                "a later share with units of ControlNet: before its first step this pass goes over to"
                f" {refiner.checkpoint.stem}, a refiner of another family, which goes on without them"
            )
            raise UnsupportedError("refiner_switch_at", refiner.switch_at, allowed)

    def _share_done(self, sigma: float) -> float:
        """Of the noise levels that the network was trained on, what lies above this one (A1111 counts these
        since 1.9, and not steps)."""
        count = len(self.model.discrete.sigmas)
        return (count - 1 - round(self.model.discrete.timestep(sigma))) / count
