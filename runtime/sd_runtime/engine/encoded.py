"""Texts that were encoded, kept while there is room: the empty negative prompt and the prompt of a batch's
pictures come again and again. Device thread only.
"""

from collections import OrderedDict
from collections.abc import Hashable

from sd_runtime.prompt.encoding import Conditioning

#: A chunk of SDXL takes 0.6 MiB; a prompt may have many.
BYTES_KEPT = 64 * 1024 * 1024


class EncodedTexts:
    """The texts that were used last, as many as `limit` bytes hold."""

    def __init__(self, limit: int = BYTES_KEPT) -> None:
        self._limit = limit
        self._size = 0
        self._texts: OrderedDict[Hashable, Conditioning] = OrderedDict()

    def get(self, text: Hashable) -> Conditioning | None:
        """What the text was encoded to, if that is still known."""
        found = self._texts.get(text)
        if found is not None:
            self._texts.move_to_end(text)
        return found

    def keep(self, text: Hashable, encoded: Conditioning) -> None:
        """Remembers a text that is not known, and forgets those not used for longest if need be."""
        self._texts[text] = encoded
        self._size += encoded.size
        while self._size > self._limit:
            _, forgotten = self._texts.popitem(last=False)
            self._size -= forgotten.size

    def clear(self) -> None:
        """Forgets all: they belong to the model that encoded them."""
        self._texts.clear()
        self._size = 0
