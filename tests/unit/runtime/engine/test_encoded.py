import torch

from sd_runtime.engine.encoded import EncodedTexts
from sd_runtime.engine.work import Encode
from sd_runtime.prompt.encoding import Conditioning

TEXTS = [Encode(text) for text in "abc"]
ENCODED = [Conditioning(torch.zeros(1, 77, 8), torch.zeros(1, 4)) for _ in TEXTS]
SIZE = 4 * (77 * 8 + 4)


def test_as_many_texts_are_kept_as_there_is_room_for_those_used_last_first() -> None:
    kept = EncodedTexts(limit=2 * SIZE)
    kept.keep(TEXTS[0], ENCODED[0])
    kept.keep(TEXTS[1], ENCODED[1])
    assert kept.get(TEXTS[0]) is ENCODED[0]
    kept.keep(TEXTS[2], ENCODED[2])
    assert [kept.get(text) for text in TEXTS] == [ENCODED[0], None, ENCODED[2]]


def test_a_text_larger_than_the_room_is_not_kept() -> None:
    kept = EncodedTexts(limit=SIZE - 1)
    kept.keep(TEXTS[0], ENCODED[0])
    assert kept.get(TEXTS[0]) is None


def test_the_room_is_free_again_after_clearing() -> None:
    kept = EncodedTexts(limit=SIZE)
    kept.keep(TEXTS[0], ENCODED[0])
    kept.clear()
    kept.keep(TEXTS[1], ENCODED[1])
    assert [kept.get(text) for text in TEXTS[:2]] == [None, ENCODED[1]]
