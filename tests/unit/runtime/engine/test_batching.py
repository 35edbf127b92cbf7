from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from sd_runtime.adapters.patching import Adapters
from sd_runtime.engine import batching
from sd_runtime.engine.work import Estimate, Evaluate
from sd_runtime.prompt.encoding import Conditioning

if TYPE_CHECKING:
    from sd_runtime.models.network import Model


def context(chunks: int, seed: int = 0) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(torch.randn(1, 77 * chunks, 64, generator=generator))


def ask(
    *,
    size: int = 8,
    chunks: int = 1,
    negative: int | None = 1,
    sigma: float = 3.0,
    cfg: float = 5.0,
    seed: int = 0,
) -> Evaluate:
    x = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(seed)) * sigma
    uncond = None if negative is None else context(negative, seed + 1000)
    return Evaluate(x, sigma, ((context(chunks, seed), 1.0),), uncond, cfg)


class NoAdapters(Adapters):
    """Where no row has any, none is asked for."""

    def __init__(self) -> None:
        super().__init__(budget_bytes=0)


def evaluate(model: Any, batch: list[Evaluate], **options: Any) -> list[torch.Tensor]:
    return [each.denoised for each in estimates(model, batch, **options)]


def estimates(model: Any, batch: list[Evaluate], **options: Any) -> list[Estimate]:
    return batching.evaluate(model, batch, NoAdapters(), [None] * len(batch), **options)


@pytest.mark.parametrize(
    ("waiting", "limit", "picked"),
    [
        ([ask()], 8, [0]),
        ([ask(), ask(), ask()], 2, [0, 1]),
        # the first in line is always served; only the same latent shape may join
        ([ask(size=8), ask(size=16), ask(size=8)], 8, [0, 2]),
        # whatever sampler, guidance or noise level
        ([ask(cfg=7), ask(negative=None), ask(sigma=0.1)], 8, [0, 1, 2]),
        # contexts of 1, 2 and 3 chunks meet at 6
        ([ask(chunks=1), ask(chunks=2), ask(chunks=3)], 8, [0, 1, 2]),
        # 3, 5 and 7 chunks would meet at 105
        ([ask(chunks=3), ask(chunks=5), ask(chunks=7), ask(chunks=6)], 8, [0, 3]),
        # a long context that is a multiple of the others costs them no more than it costs itself
        ([ask(chunks=3), ask(chunks=9)], 8, [0, 1]),
        # 31 and 32 chunks of one picture would meet at 992: it is served by itself, and nobody waits for it
        ([ask(chunks=31, negative=32), ask()], 8, [0]),
        ([ask(), ask(chunks=31, negative=32), ask()], 8, [0, 2]),
    ],
)
def test_who_shares_the_next_call(waiting: list[Evaluate], limit: int, picked: list[int]) -> None:
    assert batching.choose(waiting, limit) == picked


@pytest.mark.parametrize(
    ("lengths", "common"), [([77], 77), ([77, 154], 154), ([154, 231], 462), ([77, 77], 77)]
)
def test_contexts_are_levelled_to_the_least_common_multiple_by_whole_repetition(
    lengths: list[int], common: int
) -> None:
    contexts = [torch.randn(1, length, 8) for length in lengths]
    levelled = batching.level(contexts)
    assert levelled.shape == (len(lengths), common, 8)
    for row, source in zip(levelled, contexts, strict=True):
        for copy in row.split(source.shape[1]):
            assert torch.equal(copy, source[0])


def test_each_evaluation_is_answered_as_if_alone(model: Model) -> None:
    batch = [
        ask(seed=1, sigma=10.0, cfg=7.0),
        ask(seed=2, sigma=0.5, cfg=2.0, chunks=2),
        ask(seed=3, negative=None),
        ask(seed=4, chunks=3, negative=2, sigma=2.0),
        two_texts(seed=5),
    ]
    together = evaluate(model, batch)
    for evaluation, answer in zip(batch, together, strict=True):
        alone = evaluate(model, [evaluation])[0]
        assert answer.shape == evaluation.x.shape
        assert (answer - alone).abs().max() < 1e-4 * evaluation.sigma
        # and the answer is not simply the input: the network has its say
        assert (answer - evaluation.x).abs().max() > 0.1 * evaluation.sigma


def two_texts(*, seed: int = 0, weights: tuple[float, float] = (0.5, 0.8), cfg: float = 3.0) -> Evaluate:
    texts = tuple((context(1, seed + 10 * i), weight) for i, weight in enumerate(weights))
    return replace(ask(seed=seed, sigma=2.0, cfg=cfg), conds=texts)


def one_text(evaluation: Evaluate, text: Conditioning) -> Evaluate:
    return replace(evaluation, conds=((text, 1.0),), uncond=None)


@dataclass
class Watched:
    """A model that keeps how many rows and chunks each of its calls had."""

    model: Model
    calls: list[tuple[int, int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(self, x: torch.Tensor, timesteps: Any, context: torch.Tensor, *rest: Any, **more: Any) -> Any:
        self.calls.append((len(x), context.shape[1] // 77))
        return self.model.predict(x, timesteps, context, *rest, **more)


def test_texts_that_cannot_be_levelled_are_evaluated_apart(model: Model) -> None:
    watched: Any = Watched(model)
    uneven = ask(chunks=4, negative=5, cfg=3.0)
    (answer,) = evaluate(watched, [uneven])
    assert watched.calls == [(1, 5), (1, 4)]
    assert uneven.uncond is not None
    positive, negative = (
        evaluate(model, [one_text(uneven, text)])[0] for text in (uneven.conds[0][0], uneven.uncond)
    )
    assert torch.allclose(answer, negative + 3.0 * (positive - negative), atol=1e-4)


def test_a_call_can_be_made_row_by_row(model: Model) -> None:
    watched: Any = Watched(model)
    (apart,) = evaluate(watched, [ask()], rows_at_once=1)
    assert watched.calls == [(1, 1), (1, 1)]
    assert torch.allclose(apart, evaluate(model, [ask()])[0], atol=1e-4)


def test_guidance_is_the_scaled_difference_of_the_two_predictions(model: Model) -> None:
    guided = ask(cfg=4.0, sigma=2.0)
    assert guided.uncond is not None
    positive, negative = (
        evaluate(model, [one_text(guided, text)])[0] for text in (guided.conds[0][0], guided.uncond)
    )
    assert (positive - negative).abs().max() > 0.01
    (estimate,) = estimates(model, [guided])
    assert torch.allclose(estimate.denoised, negative + 4.0 * (positive - negative), atol=1e-4)
    assert estimate.unguided is not None
    assert torch.allclose(estimate.unguided, negative, atol=1e-4)


def test_each_text_of_a_composition_pulls_by_its_own_weight(model: Model) -> None:
    composed = two_texts(weights=(0.5, -0.8), cfg=3.0)
    assert composed.uncond is not None
    first, second, negative = (
        evaluate(model, [one_text(composed, text)])[0]
        for text in (composed.conds[0][0], composed.conds[1][0], composed.uncond)
    )
    expected = negative + 3.0 * (0.5 * (first - negative) - 0.8 * (second - negative))
    assert torch.allclose(evaluate(model, [composed])[0], expected, atol=1e-4)


def test_a_composition_whose_weights_add_up_to_one_needs_no_negative_prompt_at_a_scale_of_one(
    model: Model,
) -> None:
    composed = two_texts(weights=(0.25, 0.75), cfg=1.0)
    (with_it,), (without,) = (evaluate(model, [each]) for each in (composed, replace(composed, uncond=None)))
    assert torch.allclose(with_it, without, atol=1e-4)


@dataclass
class OfVelocity(Watched):
    """A network that was trained to predict v; it answers v of the very latents that are all ones."""

    prediction: str = "v"

    def predict(self, x: torch.Tensor, timesteps: Any, context: torch.Tensor, *rest: Any, **more: Any) -> Any:
        # v = alpha * noise - sigma' * clean with alpha = 1 / sqrt(s^2 + 1) and sigma' = s / sqrt(s^2 + 1);
        # x_in = alpha * clean + sigma' * noise.
        alpha, spread = 1 / 5**0.5, 2 / 5**0.5
        return alpha * (x - alpha) / spread - spread


def test_of_a_network_that_predicts_v_the_clean_latents_are_found(model: Model) -> None:
    velocity: Any = OfVelocity(model)
    noisy = replace(
        one_text(ask(sigma=2.0), context(1)), x=torch.ones(1, 4, 8, 8) + 2.0 * torch.randn(1, 4, 8, 8)
    )
    assert torch.allclose(evaluate(velocity, [noisy])[0], torch.ones(1, 4, 8, 8), atol=1e-4)


def test_a_call_has_a_row_for_each_text() -> None:
    assert batching.rows([ask(), ask(negative=None), ask()]) == 5
    assert batching.rows([two_texts(), replace(two_texts(), uncond=None)]) == 5


@pytest.mark.parametrize(
    ("rows", "picked"), [(1, [0]), (2, [0]), (4, [0, 1]), (5, [0, 1, 3]), (99, [0, 1, 2, 3])]
)
def test_a_call_has_no_more_rows_than_fit_the_memory(rows: int, picked: list[int]) -> None:
    waiting = [ask(), ask(), two_texts(), ask(negative=None)]
    assert batching.choose(waiting, 8, rows_limit=rows) == picked


def test_pictures_whose_edges_meet_and_networks_with_further_inputs_are_called_apart() -> None:
    masked = replace(ask(), concat=torch.zeros(1, 5, 8, 8))
    waiting = [ask(), replace(ask(), tiling=True), masked, ask()]
    assert batching.choose(waiting, 8) == [0, 3]
    assert batching.choose(waiting[1:], 8) == [0]
    assert batching.choose([masked, ask(), masked], 8) == [0, 2]
