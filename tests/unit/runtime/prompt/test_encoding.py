from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sd_runtime import device
from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.errors import UnsupportedError
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.library import Library
from sd_runtime.models.text import Placed, TextStates
from sd_runtime.prompt import encoding
from sd_runtime.prompt.encoding import Conditioning
from sd_runtime.prompt.settings import Emphasis, TextSettings

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

ASTRONAUT = [320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496]
PLAIN = TextSettings()
NO_WORDS = Embeddings(Library([]))
DEMO = Path(__file__).parents[4] / "demo" / "models"
# The text encoder of the tests' checkpoint.
WIDTH = 64


def encode(
    model: Model,
    text: str,
    settings: TextSettings = PLAIN,
    embeddings: Embeddings = NO_WORDS,
    *,
    negative: bool = False,
) -> Conditioning:
    with torch.inference_mode():
        return encoding.encode(model, text, settings, embeddings, negative=negative)


def states(model: Model, tokens: list[int]) -> torch.Tensor:
    padded = [49406, *tokens, *[49407] * (76 - len(tokens))]
    result: torch.Tensor = model.text.network(torch.tensor([padded])).last_hidden_state
    return result


def test_a_prompt_is_tokenized_as_by_the_original(model: Model) -> None:
    encoded = encode(model, "a photo of an astronaut riding a horse on mars")
    assert torch.equal(encoded.context, states(model, ASTRONAUT))


def test_long_prompts_become_chunks_on_the_token_axis(model: Model) -> None:
    encoded = encode(model, "cat " * 80)
    assert encoded.context.shape == (1, 154, WIDTH)
    assert torch.allclose(encoded.context[:, 77:], states(model, [2368] * 5), atol=1e-5)


def test_break_equals_two_prompts_side_by_side(model: Model) -> None:
    both = encode(model, "a cat BREAK a dog").context
    apart = [encode(model, text).context for text in ("a cat", "a dog")]
    assert torch.allclose(both, torch.cat(apart, dim=1), atol=1e-5)


def test_phrases_are_kept_whole_as_far_as_the_settings_say(model: Model) -> None:
    text = "cat " * 70 + ", " + "dog " * 10
    moved = encode(model, text).context[:, 77:]
    assert torch.allclose(moved, states(model, [1929] * 10), atol=1e-5)
    cut = encode(model, text, TextSettings(comma_back_off=0)).context[:, 77:]
    assert torch.allclose(cut, states(model, [1929] * 6), atol=1e-5)


def weighted(plain: torch.Tensor) -> torch.Tensor:
    """The states of "a red cat" with the second word at 1.5."""
    weights = torch.ones(77, 1)
    weights[2] = 1.5  # begin, a, red
    return plain * weights


def test_emphasis_multiplies_the_states_and_restores_their_mean(model: Model) -> None:
    plain = encode(model, "a red cat").context[0]
    emphasised = encode(model, "a (red:1.5) cat").context[0]
    expected = weighted(plain) * (plain.mean() / weighted(plain).mean())
    assert torch.allclose(emphasised, expected, atol=1e-5)
    assert emphasised.mean().item() == pytest.approx(plain.mean().item(), rel=1e-3)


@pytest.mark.parametrize(
    ("emphasis", "same_as"),
    [(Emphasis.IGNORE, "a red cat"), (Emphasis.NONE, r"a \(red:1.5\) cat")],
)
def test_emphasis_may_be_left_out_or_be_text(model: Model, emphasis: Emphasis, same_as: str) -> None:
    encoded = encode(model, "a (red:1.5) cat", TextSettings(emphasis=emphasis))
    assert torch.equal(encoded.context, encode(model, same_as).context)


def test_emphasis_without_norm_multiplies_only(model: Model) -> None:
    encoded = encode(model, "a (red:1.5) cat", TextSettings(emphasis=Emphasis.NO_NORM))
    assert torch.equal(encoded.context[0], weighted(encode(model, "a red cat").context[0]))


def test_where_emphasis_is_text_break_is_text_too(model: Model) -> None:
    assert encode(model, "a BREAK b", TextSettings(emphasis=Emphasis.NONE)).context.shape[1] == 77


class TwoUnlike:
    """Two text encoders whose states differ in mean by far, and follow the place in the chunk."""

    zeroes_empty_negative = True
    layers = 1
    widths = (2, 3)

    def encode(
        self, tokens: Sequence[Sequence[int]], clip_skip: int, placed: Sequence[Placed] = ()
    ) -> TextStates:
        places = torch.arange(77, dtype=torch.float32)[None, :, None]
        return TextStates(
            (places.expand(len(tokens), -1, 2) + 1, 100 - places.expand(len(tokens), -1, 3)), torch.ones(1, 2)
        )


def test_emphasis_restores_the_mean_of_each_text_encoder_by_itself(model: Model) -> None:
    pair = replace(model, text=TwoUnlike())
    plain = encode(pair, "a red cat").context[0]
    emphasised = encode(pair, "a (red:5) cat").context[0]
    assert plain.shape == (77, 5)
    for part in (slice(0, 2), slice(2, 5)):
        assert emphasised[:, part].mean().item() == pytest.approx(plain[:, part].mean().item(), rel=1e-5)
    assert not torch.allclose(emphasised, plain, rtol=0.01)


def test_an_empty_negative_prompt_is_zeros_in_the_families_that_want_it(model: Model) -> None:
    pair = replace(model, text=TwoUnlike())
    empty = encode(pair, "", negative=True)
    assert not empty.context.any() and empty.pooled is not None and not empty.pooled.any()
    assert encode(pair, "").context.any() and encode(pair, "a", negative=True).context.any()
    assert encode(model, "", negative=True).context.any()


@pytest.mark.parametrize(("negative", "field"), [(False, "prompt"), (True, "negative_prompt")])
def test_a_prompt_of_too_many_chunks_is_refused_by_field(model: Model, negative: bool, field: str) -> None:
    most = " BREAK ".join(["a"] * 32)
    assert encode(model, most).context.shape[1] == 32 * 77
    with pytest.raises(UnsupportedError, match=rf"^{field}: .*33 chunks.*allowed: 32 chunks"):
        encode(model, f"{most} BREAK a", negative=negative)


def test_clip_skip_leaves_out_the_last_layers_and_keeps_the_final_norm(model: Model) -> None:
    layers = model.text.network.encoder.layers
    tokens = torch.tensor([[49406, 2368, *[49407] * 75]])
    full = encode(model, "cat").context
    skipped = encode(model, "cat", TextSettings(clip_skip=2)).context
    last = layers.pop(len(layers) - 1)
    try:
        without_last = model.text.network(tokens).last_hidden_state
    finally:
        layers.append(last)
    assert torch.allclose(skipped, without_last, atol=1e-5)
    assert not torch.allclose(skipped, full, atol=1e-2)


def test_clip_skip_beyond_the_layers_is_refused_with_the_range(model: Model) -> None:
    with pytest.raises(UnsupportedError, match=r"clip_skip: 4 .* 1 to 3"):
        encode(model, "cat", TextSettings(clip_skip=4))


# Textual inversions.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    (tmp_path / "models").mkdir()
    return folder


def teach(folder: Path, name: str, vectors: torch.Tensor) -> Embeddings:
    save_file({"emb_params": vectors.numpy().astype(np.float32)}, folder / f"{name}.safetensors")
    return Embeddings(Library([folder.parent]))


def vectors_of(model: Model, tokens: list[int]) -> torch.Tensor:
    """What the text encoder's own table has for these tokens."""
    table: torch.Tensor = model.text.network.get_input_embeddings().weight
    return table[tokens].detach()


def test_vectors_of_known_words_are_encoded_as_those_words(model: Model, folder: Path) -> None:
    embeddings = teach(folder, "demo-horse", vectors_of(model, ASTRONAUT[2:]))
    encoded = encode(model, "a photo demo-horse", PLAIN, embeddings)
    assert torch.allclose(encoded.context, states(model, ASTRONAUT), atol=1e-5)


def test_a_taught_word_is_the_same_in_any_case_and_chunk_and_under_weights(
    model: Model, folder: Path
) -> None:
    embeddings = teach(folder, "Demo-Cat", vectors_of(model, [2368]))
    for named, plain in (
        ("a DEMO-cat, demo-CAT", "a cat, cat"),
        ("cat " * 75 + "a demo-cat", "cat " * 75 + "a cat"),
        ("a (demo-cat:1.4) b", "a (cat:1.4) b"),
        ("a BREAK demo-cat", "a BREAK cat"),
    ):
        encoded = encode(model, named, PLAIN, embeddings).context
        assert torch.allclose(encoded, encode(model, plain).context, atol=1e-5), named


def test_the_words_that_a_text_names_are_told_once_each_and_in_order(model: Model, folder: Path) -> None:
    teach(folder, "first-word", torch.ones(1, WIDTH))
    embeddings = teach(folder, "second-word", torch.ones(2, WIDTH))
    encoded = encode(model, "second-word, first-word, second-word", PLAIN, embeddings)
    assert [name for name, _ in encoded.embeddings] == ["second-word", "first-word"]
    assert all(len(short_hash) == 12 for _, short_hash in encoded.embeddings)
    assert encode(model, "a second word", PLAIN, embeddings).embeddings == ()


def test_of_two_words_that_fit_the_longest_counts(model: Model, folder: Path) -> None:
    teach(folder, "demo cat", torch.ones(1, WIDTH))
    embeddings = teach(folder, "demo cat house", torch.ones(1, WIDTH))
    named = [
        encode(model, text, PLAIN, embeddings).embeddings
        for text in ("a demo cat house", "a demo cat hous", "demo cat demo cat house")
    ]
    assert [[name for name, _ in names] for names in named] == [
        ["demo cat house"],
        ["demo cat"],
        ["demo cat", "demo cat house"],
    ]


def test_a_word_taught_while_the_server_runs_is_known_at_once(model: Model, folder: Path) -> None:
    embeddings = teach(folder, "early-word", torch.ones(1, WIDTH))
    before = encode(model, "late-word", PLAIN, embeddings)
    revision = embeddings.revision
    teach(folder, "late-word", torch.ones(1, WIDTH))
    after = encode(model, "late-word", PLAIN, embeddings)
    assert embeddings.revision != revision
    assert before.embeddings == () and [name for name, _ in after.embeddings] == ["late-word"]
    assert not torch.allclose(before.context, after.context, atol=1e-3)


def test_a_word_for_another_kind_of_model_is_text(model: Model, folder: Path) -> None:
    embeddings = teach(folder, "demo-cat", torch.ones(1, WIDTH + 1))
    encoded = encode(model, "a demo-cat", PLAIN, embeddings)
    assert encoded.embeddings == ()
    assert torch.equal(encoded.context, encode(model, "a demo-cat").context)


def test_no_hook_stays_on_the_text_encoder(model: Model, folder: Path) -> None:
    embeddings = teach(folder, "demo-cat", torch.ones(1, WIDTH))
    encode(model, "a demo-cat", PLAIN, embeddings)
    with pytest.raises(UnsupportedError):
        encode(model, "a demo-cat", TextSettings(clip_skip=99), embeddings)
    assert not model.text.network.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_the_demos_word_means_something_to_the_demos_checkpoint(folder: Path, ending: str) -> None:
    shutil.copy(DEMO / "demo-goldie" / f"demo-goldie.{ending}", folder)
    demo = checkpoint.load(DEMO / "demo-sd15" / "demo-sd15.safetensors", device.choose("cpu"), DigestCache())
    text = "demo-goldie on the left, gray background"
    plain, taught = encode(demo, text), encode(demo, text, PLAIN, Embeddings(Library([folder.parent])))
    star = encode(demo, "large yellow star on the left, gray background")
    assert [name for name, _ in taught.embeddings] == ["demo-goldie"]
    # It means a large yellow star, and the last place of the text has seen it: not the same, but nearer.
    far, near = ((star.context[0, 76] - each.context[0, 76]).norm() for each in (plain, taught))
    assert near < 0.7 * far
