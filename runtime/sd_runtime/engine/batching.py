"""Which waiting evaluations share a network call, and the call itself.

A call has one row for every text: first the negative prompts of the guided evaluations, then the others, each
row with its own noise level and its own adapters. Rows do not see each other, so a picture does not depend on
its neighbours.
"""

from collections.abc import Callable, Hashable, Sequence
from math import lcm
from pathlib import Path

import torch

from sd_runtime.adapters.patching import Adapters, Pinned
from sd_runtime.engine.work import Estimate, Evaluate
from sd_runtime.models.controlling import Say
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.network import Model
from sd_runtime.prompt.encoding import Conditioning

# Contexts are levelled by repetition; an evaluation that would make the common length larger than this
# waits for the next call, so that one picture with an odd number of chunks does not multiply everybody's
# cross-attention.
MAX_LEVELLED = 8 * 77

#: Of a call that runs so many ControlNets: the most evaluations, and the most rows (None: no limit is known).
Limits = Callable[[int], tuple[int, int | None]]


def kind_of(ask: Evaluate) -> Hashable:
    """Evaluations of one kind can be in one call of a network: same latents, same way to treat edges."""
    return tuple(ask.x.shape), None if ask.concat is None else ask.concat.shape[1], ask.tiling


def networks_of(batch: Sequence[Evaluate]) -> frozenset[Path]:
    """The ControlNets that a call for this batch runs beside the network: it takes their time and memory,
    too, whoever in it they are for."""
    return frozenset(control.network for ask in batch for control in ask.controls)


def choose(waiting: Sequence[Evaluate], limit: int, *, rows_limit: int | None = None) -> list[int]:
    """As `choose_within`, with the same limits for every call."""
    return choose_within(waiting, lambda _: (limit, rows_limit))


def choose_within(waiting: Sequence[Evaluate], limits: Limits) -> list[int]:
    """Indices of the evaluations of the next call: the first in line always, then all that fit it, in
    order, while that keeps within the limits.
    """
    picked = [0]
    if not _can_be_levelled(waiting[0]):
        return picked
    kind, length, count = kind_of(waiting[0]), _length(waiting[0]), rows([waiting[0]])
    networks = networks_of(waiting[:1])
    limit, rows_limit = limits(len(networks))
    for index, candidate in enumerate(waiting[1:], 1):
        if kind_of(candidate) != kind or not _can_be_levelled(candidate):
            continue
        if candidate.controls and not networks.issuperset(networks_of([candidate])):
            more = networks | networks_of([candidate])
            narrower = limits(len(more))
            if not _has_room(narrower, len(picked), count + rows([candidate])):
                continue
            networks, (limit, rows_limit) = more, narrower
        if not _has_room((limit, rows_limit), len(picked), count + rows([candidate])):
            continue
        common = lcm(length, _length(candidate))
        if _too_long(common, [length, _length(candidate)]):
            continue
        picked.append(index)
        length = common
        count += rows([candidate])
    return picked


def _has_room(limits: tuple[int, int | None], picked: int, rows: int) -> bool:
    return picked < limits[0] and (limits[1] is None or rows <= limits[1])


def rows(batch: Sequence[Evaluate]) -> int:
    """How many rows the call for this batch has."""
    return sum(len(ask.conds) + (1 if ask.uncond else 0) for ask in batch)


def evaluate(
    model: Model,
    batch: Sequence[Evaluate],
    adapters: Adapters,
    pinned: Sequence[Pinned | None],
    *,
    nets: Sequence[Sequence[ControlNet]] = (),
    rows_at_once: int | None = None,
) -> list[Estimate]:
    """One network call for the batch (or several, of so many rows at once), each evaluation with its own
    pinned adapters, and with the ControlNets (`nets`) that its controls name; float32 estimates.

    An evaluation whose own texts cannot be levelled is alone in its batch, and takes a call for each.

    k-diffusion's wrappers (Karras et al. 2022, arXiv:2206.00364, table 1): x_in = x / sqrt(sigma^2 + 1); of a
    network that predicts noise denoised = x - sigma * output, of one that predicts v (Salimans and Ho 2022,
    arXiv:2202.00512) denoised = x / (sigma^2 + 1) - output * sigma / sqrt(sigma^2 + 1).
    """
    table = _table(batch)
    # Everything about the noise levels is computed on the host and crosses to the device once.
    sigmas = [batch[i].sigma for i, _ in table]
    scale, timesteps, keep, change = torch.tensor(
        [
            [(sigma**2 + 1) ** -0.5 for sigma in sigmas],
            [model.discrete.timestep(sigma) for sigma in sigmas],
            *_mix(model.prediction, sigmas),
        ],
        dtype=torch.float32,
    ).to(model.device.handle)
    x = torch.cat([batch[i].x for i, _ in table])
    x_in = x * scale[:, None, None, None]
    concat = None if batch[0].concat is None else torch.cat([_concat(batch[i]) for i, _ in table])
    parts = []
    negatives = sum(ask.uncond is not None for ask in batch)
    for part in _calls(batch, len(table), rows_at_once):
        texts = [text for _, text in table[part]]
        with adapters.on_unet(model, [pinned[i] for i, _ in table[part]]):
            parts.append(
                _predict(
                    model, x_in[part], timesteps[part], texts, concat if concat is None else concat[part],
                    says=_says(batch, nets, table, part, negatives), tiling=batch[0].tiling,
                )
            )  # fmt: skip
    output = torch.cat(parts)
    denoised = x * keep[:, None, None, None] + output * change[:, None, None, None]
    return _guide(batch, denoised)


def _table(batch: Sequence[Evaluate]) -> list[tuple[int, Conditioning]]:
    """Each row's place in the batch, and its text."""
    negative = [(i, ask.uncond) for i, ask in enumerate(batch) if ask.uncond]
    return negative + [(i, text) for i, ask in enumerate(batch) for text, _ in ask.conds]


def _mix(prediction: str, sigmas: Sequence[float]) -> tuple[list[float], list[float]]:
    """Of x and of the network's output, what the denoised latents have in them."""
    if prediction == "v":
        return [1 / (s**2 + 1) for s in sigmas], [-s / (s**2 + 1) ** 0.5 for s in sigmas]
    return [1.0 for _ in sigmas], [-s for s in sigmas]


def _calls(batch: Sequence[Evaluate], count: int, rows_at_once: int | None) -> list[slice]:
    together = all(_can_be_levelled(ask) for ask in batch)
    size = (rows_at_once or count) if together else 1
    return [slice(start, start + size) for start in range(0, count, size)]


def _predict(
    model: Model,
    x_in: torch.Tensor,
    timesteps: torch.Tensor,
    texts: Sequence[Conditioning],
    concat: torch.Tensor | None,
    *,
    says: Sequence[Say],
    tiling: bool,
) -> torch.Tensor:
    pooled = [text.pooled for text in texts if text.pooled is not None]
    scores = [text.score for text in texts if text.score is not None]
    return model.predict(
        x_in,
        timesteps,
        level([text.context for text in texts]),
        torch.cat(pooled) if pooled else None,
        scores=scores or None,
        concat=concat,
        tiling=tiling,
        says=says,
    )


def _says(
    batch: Sequence[Evaluate],
    nets: Sequence[Sequence[ControlNet]],
    table: Sequence[tuple[int, Conditioning]],
    part: slice,
    negatives: int,
) -> list[Say]:
    """What ControlNets have to say in these rows of the table, whose first ones are negative prompts."""
    if not any(nets):
        return []
    return [
        Say(row - part.start, net, control.shown, control.weight, control.soft)
        for row in range(*part.indices(len(table)))
        for control, net in zip(batch[table[row][0]].controls, nets[table[row][0]], strict=True)
        if row >= negatives or not (control.prompt_only or net.pools)
    ]


def level(contexts: Sequence[torch.Tensor]) -> torch.Tensor:  # each (1, L_i, D) -> (B, lcm, D)
    """Contexts of one length, by whole repetition: attention over k copies of the same keys is the same
    attention.
    """
    length = lcm(*(context.shape[1] for context in contexts))
    return torch.cat([_repeated(context, length // context.shape[1]) for context in contexts])


def _repeated(context: torch.Tensor, times: int) -> torch.Tensor:
    return context if times == 1 else context.repeat(1, times, 1)


def _guide(batch: Sequence[Evaluate], denoised: torch.Tensor) -> list[Estimate]:
    """Classifier-free guidance, with one direction for each text (AND). Without a negative prompt directions
    begin at the first text, which is the same for a scale of 1 and weights that add up to 1."""
    each = (denoised[i : i + 1] for i in range(len(denoised)))
    unguided = {i: next(each) for i, ask in enumerate(batch) if ask.uncond}
    estimates = []
    for i, ask in enumerate(batch):
        texts = [(next(each), weight) for _, weight in ask.conds]
        base = unguided.get(i, texts[0][0])
        guided = base
        for text, weight in texts:
            if text is not base:
                guided = guided + (text - base) * (weight * ask.cfg_scale)
        estimates.append(Estimate(guided, unguided.get(i)))
    return estimates


def _concat(ask: Evaluate) -> torch.Tensor:
    assert ask.concat is not None
    return ask.concat


def _length(ask: Evaluate) -> int:
    return lcm(*_lengths(ask))


def _lengths(ask: Evaluate) -> list[int]:
    texts = [text for text, _ in ask.conds] + ([ask.uncond] if ask.uncond else [])
    return [text.context.shape[1] for text in texts]


def _can_be_levelled(ask: Evaluate) -> bool:
    """Whether the evaluation's own texts can be in one call: 31 and 32 chunks would become 992."""
    return not _too_long(_length(ask), _lengths(ask))


def _too_long(common: int, lengths: Sequence[int]) -> bool:
    return common > MAX_LEVELLED and common != max(lengths)
