"""The texts that a pass draws, evaluation by evaluation, as conditioning.

A schedule's steps are counted in evaluations, as A1111 does: a sampler of second order has two of them a
step. A text is encoded when it is needed, and kept for the next evaluations. Knows no latents and no
sampler. Importing it does not import torch.
"""

from collections import OrderedDict
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from sd_runtime.adapters.uses import AdapterUse
from sd_runtime.engine.work import Encode, Work
from sd_runtime.prompt import schedule
from sd_runtime.tasks.recipe import Guided, evaluations

#: Texts side by side are at most `schedule.MAX_PARTS`, and an alternation comes back to its texts soon.
_KEPT = 2 * (schedule.MAX_PARTS + 1)

if TYPE_CHECKING:
    from sd_runtime.prompt.encoding import Conditioning


class Texts:
    """The prompt and the negative prompt of one pass."""

    def __init__(self, guided: Guided, *, after: Guided | None = None) -> None:
        """`after` is the pass before this one: schedules go on counting behind it (hires fix)."""
        self._guided = guided
        self._adapters = guided.adapters
        count, second = evaluations(after or guided), evaluations(guided) if after else None
        self._prompt = schedule.compose(guided.prompt, count, second_pass=second)
        self._negative = schedule.compose(
            guided.negative_prompt, count, second_pass=second, negative=True, field="negative_prompt"
        )
        # Those used last: a long alternation may have hundreds, each of them megabytes.
        self._encoded: OrderedDict[tuple[str, bool], Conditioning] = OrderedDict()
        self._embeddings: dict[tuple[str, str], None] = {}

    @property
    def embeddings(self) -> tuple[tuple[str, str], ...]:
        """Trigger and short hash of the textual inversions in the texts that were encoded so far."""
        return tuple(self._embeddings)

    def go_on(self, adapters: tuple[AdapterUse, ...]) -> None:
        """Another checkpoint goes on, which encodes texts in its own way and with these adapters."""
        self._adapters = adapters
        self._encoded.clear()

    def weights(self, evaluation: int) -> tuple[float, ...]:
        """Of the texts side by side (AND)."""
        return tuple(weight for _, weight in self._prompt.at(evaluation))

    def prompt(self, evaluation: int) -> "Generator[Work, Any, tuple[tuple[Conditioning, float], ...]]":
        """The texts of an evaluation, counted from 0, and their weights."""
        texts = []
        for text, weight in self._prompt.at(evaluation):
            texts.append(((yield from self._encode(text, negative=False)), weight))
        return tuple(texts)

    def negative(self, evaluation: int) -> "Generator[Work, Any, Conditioning]":
        """The negative prompt of an evaluation."""
        ((text, _),) = self._negative.at(evaluation)
        return (yield from self._encode(text, negative=True))

    def _encode(self, text: str, *, negative: bool) -> "Generator[Work, Any, Conditioning]":
        found = self._encoded.get((text, negative))
        if found is None:
            found = yield Encode(text, self._guided.text, self._adapters, negative)
            self._encoded[text, negative] = found
            self._embeddings.update(dict.fromkeys(found.embeddings))
            if len(self._encoded) > _KEPT:
                self._encoded.popitem(last=False)
        self._encoded.move_to_end((text, negative))
        return found
