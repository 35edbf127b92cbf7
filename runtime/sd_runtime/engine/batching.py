"""Which waiting evaluations share a network call, and the call itself.

A call has one row for every prompt: first the negative prompts of the guided evaluations, then all positive
ones, each row with its own noise level. Rows do not see each other, so a picture does not depend on its
neighbours.
"""

from collections.abc import Sequence
from math import lcm

import torch

from sd_runtime.engine.work import Evaluate
from sd_runtime.models.network import Model
from sd_runtime.prompt.encoding import Conditioning

# Contexts are levelled by repetition; an evaluation that would make the common length larger than this
# waits for the next call, so that one picture with an odd number of chunks does not multiply everybody's
# cross-attention.
MAX_LEVELLED = 8 * 77


def choose(waiting: Sequence[Evaluate], limit: int) -> list[int]:
    """Indices of the evaluations of the next call: the first in line always, then all that fit it, in
    order.
    """
    picked = [0]
    if not _can_be_levelled(waiting[0]):
        return picked
    length = _length(waiting[0])
    for index, candidate in enumerate(waiting[1:], 1):
        if len(picked) == limit:
            break
        if candidate.x.shape != waiting[0].x.shape or not _can_be_levelled(candidate):
            continue
        common = lcm(length, _length(candidate))
        if _too_long(common, [length, _length(candidate)]):
            continue
        picked.append(index)
        length = common
    return picked


def rows(batch: Sequence[Evaluate]) -> int:
    """How many rows the call for this batch has."""
    return sum(2 if ask.uncond else 1 for ask in batch)


def evaluate(model: Model, batch: Sequence[Evaluate]) -> list[torch.Tensor]:
    """One network call for the batch; the denoised latents of each evaluation, float32.

    An evaluation whose own two texts cannot be levelled is alone in its batch, and takes two calls.

    k-diffusion's wrapper of a model that predicts noise: x_in = x / sqrt(sigma^2 + 1) and
    denoised = x - sigma * noise.
    """
    guided = [i for i, ask in enumerate(batch) if ask.uncond]
    order = [*guided, *range(len(batch))]
    texts = [ask.uncond for ask in batch if ask.uncond] + [ask.cond for ask in batch]
    # Everything about the noise levels is computed on the host and crosses to the device once.
    scale, timesteps = torch.tensor(
        [
            [(batch[i].sigma ** 2 + 1) ** -0.5 for i in order],
            [model.discrete.timestep(batch[i].sigma) for i in order],
        ],
        dtype=torch.float32,
    ).to(model.device.handle)
    x_in = torch.cat([batch[i].x for i in order]) * scale[:, None, None, None]
    together = all(_can_be_levelled(ask) for ask in batch)
    calls = [slice(None)] if together else [slice(i, i + 1) for i in range(len(order))]
    noise = torch.cat([_predict(model, x_in[call], timesteps[call], texts[call]) for call in calls])
    negative, positive = noise[: len(guided)].unbind(), noise[len(guided) :].unbind()
    unguided = dict(zip(guided, negative, strict=True))
    return [_denoise(ask, positive[i], unguided.get(i)) for i, ask in enumerate(batch)]


def _predict(
    model: Model, x_in: torch.Tensor, timesteps: torch.Tensor, texts: Sequence[Conditioning]
) -> torch.Tensor:
    pooled = [text.pooled for text in texts if text.pooled is not None]
    context = level([text.context for text in texts])
    return model.predict_noise(x_in, timesteps, context, torch.cat(pooled) if pooled else None)


def level(contexts: Sequence[torch.Tensor]) -> torch.Tensor:  # each (1, L_i, D) -> (B, lcm, D)
    """Contexts of one length, by whole repetition: attention over k copies of the same keys is the same
    attention.
    """
    length = lcm(*(context.shape[1] for context in contexts))
    return torch.cat([context.repeat(1, length // context.shape[1], 1) for context in contexts])


def _denoise(ask: Evaluate, noise: torch.Tensor, unguided: torch.Tensor | None) -> torch.Tensor:  # (C, H, W)
    if unguided is not None:
        noise = unguided + ask.cfg_scale * (noise - unguided)
    return ask.x - ask.sigma * noise[None]


def _length(ask: Evaluate) -> int:
    return lcm(*_lengths(ask))


def _lengths(ask: Evaluate) -> list[int]:
    return [text.context.shape[1] for text in (ask.cond, ask.uncond) if text]


def _can_be_levelled(ask: Evaluate) -> bool:
    """Whether the evaluation's own two texts can be in one call: 31 and 32 chunks would become 992."""
    return not _too_long(_length(ask), _lengths(ask))


def _too_long(common: int, lengths: Sequence[int]) -> bool:
    return common > MAX_LEVELLED and common != max(lengths)
