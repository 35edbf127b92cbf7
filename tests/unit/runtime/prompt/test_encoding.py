from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from sd_runtime.errors import UnsupportedError
from sd_runtime.models.text import TextStates
from sd_runtime.prompt import encoding

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

ASTRONAUT = [320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496]


def states(model: Model, tokens: list[int]) -> torch.Tensor:
    padded = [49406, *tokens, *[49407] * (76 - len(tokens))]
    result: torch.Tensor = model.text.network(torch.tensor([padded])).last_hidden_state
    return result


def test_a_prompt_is_tokenized_as_by_the_original(model: Model) -> None:
    encoded = encoding.encode(model, "a photo of an astronaut riding a horse on mars", 1)
    assert torch.equal(encoded.context, states(model, ASTRONAUT))


def test_long_prompts_become_chunks_on_the_token_axis(model: Model) -> None:
    encoded = encoding.encode(model, "cat " * 80, 1)
    assert encoded.context.shape == (1, 154, 64)
    assert torch.allclose(encoded.context[:, 77:], states(model, [2368] * 5), atol=1e-5)


def test_break_equals_two_prompts_side_by_side(model: Model) -> None:
    both = encoding.encode(model, "a cat BREAK a dog", 1).context
    apart = [encoding.encode(model, text, 1).context for text in ("a cat", "a dog")]
    assert torch.allclose(both, torch.cat(apart, dim=1), atol=1e-5)


def test_emphasis_multiplies_the_states_and_restores_their_mean(model: Model) -> None:
    plain = encoding.encode(model, "a red cat", 1).context[0]
    emphasised = encoding.encode(model, "a (red:1.5) cat", 1).context[0]
    weights = torch.ones(77, 1)
    weights[2] = 1.5  # begin, a, red
    weighted = plain * weights
    assert torch.allclose(emphasised, weighted * (plain.mean() / weighted.mean()), atol=1e-5)
    assert emphasised.mean().item() == pytest.approx(plain.mean().item(), rel=1e-3)


class TwoUnlike:
    """Two text encoders whose states differ in mean by far, and follow the place in the chunk."""

    zeroes_empty_negative = True
    layers = 1

    def encode(self, tokens: list[list[int]], clip_skip: int) -> TextStates:
        places = torch.arange(77, dtype=torch.float32)[None, :, None]
        return TextStates(
            (places.expand(len(tokens), -1, 2) + 1, 100 - places.expand(len(tokens), -1, 3)), None
        )


def test_emphasis_restores_the_mean_of_each_text_encoder_by_itself(model: Model) -> None:
    pair = replace(model, text=TwoUnlike())
    plain = encoding.encode(pair, "a red cat", 1).context[0]
    emphasised = encoding.encode(pair, "a (red:5) cat", 1).context[0]
    assert plain.shape == (77, 5)
    for part in (slice(0, 2), slice(2, 5)):
        assert emphasised[:, part].mean().item() == pytest.approx(plain[:, part].mean().item(), rel=1e-5)
    assert not torch.allclose(emphasised, plain, rtol=0.01)


@pytest.mark.parametrize(("negative", "field"), [(False, "prompt"), (True, "negative_prompt")])
def test_a_prompt_of_too_many_chunks_is_refused_by_field(model: Model, negative: bool, field: str) -> None:
    most = " BREAK ".join(["a"] * 32)
    assert encoding.encode(model, most, 1).context.shape[1] == 32 * 77
    with pytest.raises(UnsupportedError, match=rf"^{field}: .*33 chunks.*allowed: 32 chunks"):
        encoding.encode(model, f"{most} BREAK a", 1, negative=negative)


def test_clip_skip_leaves_out_the_last_layers_and_keeps_the_final_norm(model: Model) -> None:
    layers = model.text.network.encoder.layers
    tokens = torch.tensor([[49406, 2368, *[49407] * 75]])
    full = encoding.encode(model, "cat", 1).context
    skipped = encoding.encode(model, "cat", 2).context
    last = layers.pop(len(layers) - 1)
    try:
        without_last = model.text.network(tokens).last_hidden_state
    finally:
        layers.append(last)
    assert torch.allclose(skipped, without_last, atol=1e-5)
    assert not torch.allclose(skipped, full, atol=1e-2)


def test_clip_skip_beyond_the_layers_is_refused_with_the_range(model: Model) -> None:
    with pytest.raises(UnsupportedError, match=r"clip_skip: 4 .* 1 to 3"):
        encoding.encode(model, "cat", 4)
