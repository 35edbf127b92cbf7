"""The text encoders of every family, tiny and with random weights, against their networks' own answers."""

from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sd_runtime.models.text import (
    ClipEncoder,
    ClipPairEncoder,
    OpenClipEncoder,
    Placed,
    PooledEncoder,
    TextEncoder,
)

BEGIN, END = 98, 99
TOKENS = [[BEGIN, 5, 6, 7, *[END] * 73], [BEGIN, *[8] * 75, END]]
#: As OpenCLIP pads.
ZERO_PADDED = [[BEGIN, 5, 6, 7, END, *[0] * 72], TOKENS[1]]


def config(width: int, layers: int = 3) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=100,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=12,
        num_hidden_layers=layers,
        num_attention_heads=2,
        initializer_range=0.5,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=END,
    )


@pytest.fixture(scope="module")
def clip() -> Any:
    torch.manual_seed(1)
    return CLIPTextModel(config(16)).eval()


@pytest.fixture(scope="module")
def open_clip() -> Any:
    torch.manual_seed(2)
    return CLIPTextModelWithProjection(config(24)).eval()


@pytest.fixture(autouse=True)
def inference() -> Any:
    with torch.inference_mode():
        yield


def hidden(network: Any, tokens: list[list[int]], layer: int) -> torch.Tensor:
    states: torch.Tensor = network(torch.tensor(tokens), output_hidden_states=True).hidden_states[layer]
    return states


def test_sd15_is_the_last_layer_behind_the_final_norm(clip: Any) -> None:
    encoded = ClipEncoder(clip).encode(TOKENS, 1)
    assert torch.equal(encoded.states[0], clip(torch.tensor(TOKENS)).last_hidden_state)
    assert encoded.pooled is None


def test_sd2_is_the_last_but_one_layer_behind_the_final_norm_padded_with_zero(open_clip: Any) -> None:
    encoded = OpenClipEncoder(open_clip).encode(TOKENS, 1)
    expected = open_clip.text_model.final_layer_norm(hidden(open_clip, ZERO_PADDED, -2))
    assert torch.equal(encoded.states[0], expected)
    assert encoded.pooled is None


def test_sd2_is_the_same_from_a_folder_that_leaves_the_unused_layer_out(open_clip: Any) -> None:
    shorter = CLIPTextModel(config(24, layers=2)).eval()
    shorter.load_state_dict(open_clip.text_model.state_dict(), strict=False)
    whole = OpenClipEncoder(open_clip).encode(TOKENS, 1).states[0]
    cut = OpenClipEncoder(shorter, has_last_layer=False).encode(TOKENS, 1).states[0]
    assert torch.allclose(whole, cut, atol=1e-6)


def test_sdxl_is_the_last_but_one_layer_of_both_without_norm_and_the_pooled_vector_of_the_first_chunk(
    clip: Any, open_clip: Any
) -> None:
    encoded = ClipPairEncoder(clip, open_clip).encode(TOKENS, 1)
    assert torch.equal(encoded.states[0], hidden(clip, TOKENS, -2))
    assert torch.equal(encoded.states[1], hidden(open_clip, ZERO_PADDED, -2))
    assert encoded.pooled is not None
    assert torch.equal(encoded.pooled, open_clip(torch.tensor(ZERO_PADDED)).text_embeds[:1])


def test_sdxls_refiner_is_what_sdxls_second_encoder_is(clip: Any, open_clip: Any) -> None:
    pair, alone = (
        ClipPairEncoder(clip, open_clip).encode(TOKENS, 1),
        PooledEncoder(open_clip).encode(TOKENS, 1),
    )
    assert torch.equal(alone.states[0], pair.states[1])
    assert pair.pooled is not None and alone.pooled is not None
    assert torch.equal(alone.pooled, pair.pooled)


def test_clip_skip_changes_sd15_alone(clip: Any, open_clip: Any) -> None:
    for encoder, changes in (
        (ClipEncoder(clip), True),
        (OpenClipEncoder(open_clip), False),
        (ClipPairEncoder(clip, open_clip), False),
        (PooledEncoder(open_clip), False),
    ):
        first, second = encoder.encode(TOKENS, 1).states[0], encoder.encode(TOKENS, 2).states[0]
        assert torch.equal(first, second) is not changes


def test_the_end_mark_is_the_chunks_own_whatever_the_configuration_says(open_clip: Any) -> None:
    before = OpenClipEncoder(open_clip).encode(TOKENS, 1).states[0]
    open_clip.config.eos_token_id = 2
    try:
        after = OpenClipEncoder(open_clip).encode(TOKENS, 1).states[0]
    finally:
        open_clip.config.eos_token_id = END
    assert torch.equal(before, after)


def test_widths_are_those_of_a_tokens_vectors(clip: Any, open_clip: Any) -> None:
    assert ClipEncoder(clip).widths == (16,)
    assert OpenClipEncoder(open_clip).widths == (24,)
    assert ClipPairEncoder(clip, open_clip).widths == (16, 24)
    assert PooledEncoder(open_clip).widths == (24,)


def test_placed_vectors_stand_in_place_of_their_tokens_in_every_encoder(clip: Any, open_clip: Any) -> None:
    known = [7, 11, 13]
    encoders: list[tuple[TextEncoder, list[Any]]] = [
        (ClipEncoder(clip), [clip]),
        (OpenClipEncoder(open_clip), [open_clip]),
        (ClipPairEncoder(clip, open_clip), [clip, open_clip]),
        (PooledEncoder(open_clip), [open_clip]),
    ]
    named = [TOKENS[0], [BEGIN, 8, *known, *[8] * 71, END]]
    for encoder, networks in encoders:
        vectors = tuple(network.get_input_embeddings().weight[known].detach().numpy() for network in networks)
        placed = encoder.encode(TOKENS, 1, [Placed(1, 2, vectors)])
        expected = encoder.encode(named, 1)
        for got, wanted in zip(placed.states, expected.states, strict=True):
            assert torch.allclose(got, wanted, atol=1e-5)
        plain = encoder.encode(TOKENS, 1)
        assert not torch.allclose(placed.states[0][1], plain.states[0][1], atol=1e-3)
