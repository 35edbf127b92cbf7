from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from sd_runtime.engine import batching
from sd_runtime.engine.work import Evaluate
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
    return Evaluate(x, sigma, context(chunks, seed), uncond, cfg)


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
    ]
    together = batching.evaluate(model, batch)
    for evaluation, answer in zip(batch, together, strict=True):
        alone = batching.evaluate(model, [evaluation])[0]
        assert answer.shape == evaluation.x.shape
        assert (answer - alone).abs().max() < 1e-4 * evaluation.sigma
        # and the answer is not simply the input: the network has its say
        assert (answer - evaluation.x).abs().max() > 0.1 * evaluation.sigma


@dataclass
class Watched:
    """A model that keeps how many chunks each of its calls had."""

    model: Model
    chunks: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict_noise(
        self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, pooled: torch.Tensor | None
    ) -> torch.Tensor:
        self.chunks.append(context.shape[1] // 77)
        return self.model.predict_noise(x, timesteps, context, pooled)


def test_texts_that_cannot_be_levelled_are_evaluated_apart(model: Model) -> None:
    watched: Any = Watched(model)
    uneven = ask(chunks=4, negative=5, cfg=3.0)
    (answer,) = batching.evaluate(watched, [uneven])
    assert watched.chunks == [5, 4]
    (positive,), (negative,) = (
        batching.evaluate(model, [replace(uneven, cond=text, uncond=None)])
        for text in (uneven.cond, uneven.uncond)
        if text
    )
    assert torch.allclose(answer, negative + 3.0 * (positive - negative), atol=1e-4)


def test_guidance_is_the_scaled_difference_of_the_two_predictions(model: Model) -> None:
    guided = ask(cfg=4.0, sigma=2.0)
    assert guided.uncond is not None
    positive, negative = (
        batching.evaluate(model, [Evaluate(guided.x, 2.0, conditioning, None, 1.0)])[0]
        for conditioning in (guided.cond, guided.uncond)
    )
    expected = negative + 4.0 * (positive - negative)
    assert (positive - negative).abs().max() > 0.01
    assert torch.allclose(batching.evaluate(model, [guided])[0], expected, atol=1e-4)


def test_rows_are_two_with_guidance_and_one_without() -> None:
    assert batching.rows([ask(), ask(negative=None), ask()]) == 5
