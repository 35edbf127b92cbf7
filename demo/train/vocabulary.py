"""The few words that the demo's captions use, numbered densely, and the whole CLIP vocabulary made from
them.

Training embeds only the known words, and one row for all others; the shipped table has CLIP's 49,408 rows,
in which every word that training never saw has the row of the unknown one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo.draw.words import ARRANGEMENTS, BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES

TOKENIZER = Path(__file__).parents[2] / "runtime/sd_runtime/models/configs/clip_tokenizer"
TOKENS = 77
UNKNOWN = 0  # the dense number of every word that is not known
_GRAMMAR = ("a", "on", "background", "picture", "drawing", "of", ",")
_RELATIONS = tuple(words for both in ARRANGEMENTS.values() for words in both)
KNOWN_WORDS = (*_GRAMMAR, *COLOURS, *BACKGROUNDS, *SHAPES, *SIZES, *PLACES.values(), *_RELATIONS)


class Vocabulary:
    """Dense numbers of the known tokens. `more` are words that a later training adds."""

    def __init__(self, more: Sequence[str] = ()) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
        base = sorted(set(self.clip_ids(KNOWN_WORDS).flatten().tolist()))
        added = set(self.clip_ids(more).flatten().tolist()) if more else set()
        # The words added later come last, so that earlier numbers stay.
        self.known = [*base, *sorted(added - set(base))]
        self._dense = torch.full((self.tokenizer.vocab_size,), UNKNOWN)
        self._dense[self.known] = torch.arange(1, len(self.known) + 1)

    def __len__(self) -> int:
        return len(self.known) + 1

    def clip_ids(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, 77) CLIP token ids, padded with the end token as Stable Diffusion 1.5 does."""
        batch = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        ids: torch.Tensor = batch["input_ids"]
        return ids

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, 77) dense token numbers."""
        return self._dense[self.clip_ids(texts)]

    def use_in(self, text_encoder: CLIPTextModel) -> None:
        """Gives a text encoder a table of the dense numbers, with random rows."""
        table = nn.Embedding(len(self), text_encoder.config.hidden_size)
        nn.init.normal_(table.weight, std=0.02)
        text_encoder.set_input_embeddings(table)

    def expand(self, rows: torch.Tensor) -> torch.Tensor:
        """CLIP's whole table (49,408, width) from the dense rows."""
        table = rows[UNKNOWN].expand(self.tokenizer.vocab_size, -1).clone()
        table[self.known] = rows[1 : len(self.known) + 1]
        return table
