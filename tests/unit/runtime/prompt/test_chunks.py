import pytest

from sd_runtime.prompt.chunks import Chunk, Marks, Run, cut

MARKS = Marks(begin=1, end=2, comma=9)


def contents(chunks: list[Chunk]) -> list[list[int]]:
    """The chunks without their marks and padding, after checking those."""
    for chunk in chunks:
        assert len(chunk.tokens) == len(chunk.weights) == 77
        assert chunk.tokens[0] == MARKS.begin and chunk.tokens[-1] == MARKS.end
    return [[token for token in chunk.tokens[1:] if token != MARKS.end] for chunk in chunks]


def words(count: int, start: int = 100) -> list[int]:
    return list(range(start, start + count))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], [[]]),
        (words(3), [words(3)]),
        (words(75), [words(75)]),
        (words(76), [words(75), [175]]),
        (words(151), [words(75), words(75, 175), [250]]),
        # a comma among the last 20: what follows it moves on
        ([*words(60), 9, *words(20, 300)], [[*words(60), 9], words(20, 300)]),
        # the last of several commas counts
        (
            [*words(58), 9, *words(5, 200), 9, *words(20, 300)],
            [[*words(58), 9, *words(5, 200), 9], words(20, 300)],
        ),
        # a comma further back than 20 does not
        ([*words(54), 9, *words(30, 300)], [[*words(54), 9, *words(20, 300)], words(10, 320)]),
        # a comma that would be the first of the next chunk does not call its own phrase back
        ([*words(60), 9, *words(14, 300), 9, 5], [[*words(60), 9, *words(14, 300)], [9, 5]]),
    ],
)
def test_cutting(tokens: list[int], expected: list[list[int]]) -> None:
    assert contents(cut([Run(tokens)], MARKS)) == expected


def test_a_full_chunk_that_ends_in_a_comma_is_kept_whole() -> None:
    tokens = [*words(74), 9, 5]
    assert contents(cut([Run(tokens)], MARKS)) == [[*words(74), 9], [5]]


def test_break_begins_a_new_chunk() -> None:
    assert contents(cut([Run([5]), Run(None), Run([6])], MARKS)) == [[5], [6]]


def test_break_forgets_the_comma_before_it() -> None:
    chunks = cut([Run([9]), Run(None), Run(words(76))], MARKS)
    assert contents(chunks) == [[9], words(75), [175]]


def test_weights_follow_their_tokens_over_a_cut_and_marks_weigh_one() -> None:
    chunks = cut([Run(words(60), 1.0), Run([9], 1.0), Run(words(20, 300), 1.5)], MARKS)
    assert chunks[0].weights == [1.0] * 77
    assert chunks[1].weights == [1.0] + [1.5] * 20 + [1.0] * 56
