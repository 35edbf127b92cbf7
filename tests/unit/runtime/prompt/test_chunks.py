import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.chunks import PLACEHOLDER, SIZE, Chunk, Marks, Run, Taught, cut, demand_few

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


@pytest.mark.parametrize(
    ("back_off", "first"),
    [(0, 75), (14, 75), (15, 61), (20, 61), (75, 61)],
)
def test_how_far_back_a_comma_may_stand(back_off: int, first: int) -> None:
    chunks = cut([Run([*words(60), 9, *words(20, 300)])], MARKS, comma_back_off=back_off)
    assert len(contents(chunks)[0]) == first


def test_a_taught_word_takes_a_place_for_each_vector() -> None:
    (chunk,) = cut([Run([5, Taught(0, 3), 6], 1.5), Run([Taught(1, 1)])], MARKS)
    assert chunk.tokens[:7] == [MARKS.begin, 5, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, 6, PLACEHOLDER]
    assert chunk.weights[:8] == [1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.0, 1.0]
    assert chunk.taught == ((2, 0), (6, 1))
    assert len(chunk.tokens) == 77


def test_a_taught_word_is_never_parted() -> None:
    first, second = cut([Run([*words(73), Taught(0, 3), 6])], MARKS)
    assert contents([first]) == [words(73)]
    assert second.taught == ((1, 0),)
    assert contents([second]) == [[PLACEHOLDER] * 3 + [6]]


def test_a_taught_word_may_fill_a_chunk() -> None:
    chunks = cut([Run([Taught(0, SIZE), Taught(1, SIZE)])], MARKS)
    assert [chunk.taught for chunk in chunks] == [((1, 0),), ((1, 1),)]


def test_a_taught_word_behind_the_last_comma_of_a_full_chunk_moves_with_its_phrase() -> None:
    first, second = cut([Run([*words(60), 9, *words(10, 300), Taught(7, 4), 5])], MARKS)
    assert contents([first]) == [[*words(60), 9]] and first.taught == ()
    assert second.taught == ((11, 7),)


def test_a_taught_word_that_does_not_fit_leaves_the_phrase_before_it_where_it_is() -> None:
    first, second = cut([Run([*words(60), 9, *words(13, 300), Taught(7, 4)])], MARKS)
    assert contents([first]) == [[*words(60), 9, *words(13, 300)]]
    assert second.taught == ((1, 7),)


@given(
    st.lists(
        st.none()
        | st.tuples(
            st.lists(
                st.integers(10, 99) | st.just(9) | st.builds(Taught, st.integers(0, 9), st.integers(1, 75))
            ),
            st.floats(-2, 2),
        ),
        max_size=8,
    ),
    st.integers(0, 75),
)
def test_every_token_is_in_one_chunk_with_its_weight(
    given_runs: list[tuple[list[int | Taught], float] | None], back_off: int
) -> None:
    runs = [Run(None) if run is None else Run(*run) for run in given_runs]
    chunks = cut(runs, MARKS, comma_back_off=back_off)
    placed = [
        (token, weight)
        for chunk in chunks
        for token, weight in zip(chunk.tokens, chunk.weights, strict=True)
        if token not in (MARKS.begin, MARKS.end)
    ]
    asked = [
        pair
        for run in runs
        for token in run.tokens or ()
        for pair in (
            [(token, run.weight)] if isinstance(token, int) else [(PLACEHOLDER, run.weight)] * token.length
        )
    ]
    assert placed == asked
    assert [number for chunk in chunks for _, number in chunk.taught] == [
        token.number for run in runs for token in run.tokens or () if isinstance(token, Taught)
    ]
    contents(chunks)


def test_a_prompt_of_too_many_chunks_is_refused() -> None:
    demand_few("hr_prompt", 32)
    with pytest.raises(UnsupportedError, match=r"^hr_prompt: .*33 chunks.*allowed: 32 chunks"):
        demand_few("hr_prompt", 33)
