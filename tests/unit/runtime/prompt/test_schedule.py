import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import schedule
from sd_runtime.prompt.schedule import Composition, Entry, compose

PIECES = ["(", ")", "[", "]", "\\", ":", ":5", ":.5", "|", " ", "a", "cat", " AND ", ":1.5 ", "2", "é", "\n"]
PROMPTS = st.lists(st.sampled_from(PIECES)).map("".join) | st.text()


def entries(prompt: str, steps: int = 10, second_pass: int | None = None) -> list[tuple[int, str]]:
    (part,) = compose(prompt, steps, second_pass=second_pass).parts
    return [(entry.until, entry.text) for entry in part.entries]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [(10, "")]),
        ("a cat", [(10, "a cat")]),
        ("a [cat:dog:4] here", [(4, "a cat here"), (10, "a dog here")]),
        ("a [dog:4]", [(4, "a "), (10, "a dog")]),
        ("a [cat::4]", [(4, "a cat"), (10, "a ")]),
        ("a [cat:dog:0.5]", [(5, "a cat"), (10, "a dog")]),
        ("a [cat:dog:.29]", [(2, "a cat"), (10, "a dog")]),
        ("a [cat:dog: 4 ]", [(4, "a cat"), (10, "a dog")]),
        ("[cat:dog:1.0]", [(10, "cat")]),
        ("[cat:dog:1e1]", [(10, "cat")]),
        ("[cat:dog:99]", [(10, "cat")]),
        ("[cat:dog:" + "9" * 400 + "]", [(10, "cat")]),
        # what ends before the first step is never drawn
        ("[cat:dog:0]", [(10, "dog")]),
        ("[cat:dog:0.05]", [(10, "dog")]),
        ("[cat:dog:-3]", [(10, "dog")]),
        ("[:5]", [(10, "")]),
        # nesting
        ("[[a:b:2]:c:5]", [(2, "a"), (5, "b"), (10, "c")]),
        ("[a:[b:c:8]:5]", [(5, "a"), (8, "b"), (10, "c")]),
        ("([cat:dog:4]:1.2)", [(4, "(cat:1.2)"), (10, "(dog:1.2)")]),
        ("[(cat:1.2):[dog]:4]", [(4, "(cat:1.2)"), (10, "[dog]")]),
        ("[a:b:3] [c:d:6]", [(3, "a c"), (6, "b c"), (10, "b d")]),
        # attention is not for this module
        ("a [cat] (dog:1.3)", [(10, "a [cat] (dog:1.3)")]),
        (r"\[cat:dog:4\]", [(10, r"\[cat:dog:4\]")]),
        (r"[a\:b:4]", [(4, ""), (10, r"a\:b")]),
        # no schedule
        ("[a:b]", [(10, "[a:b]")]),
        ("[a:b:c:4]", [(10, "[a:b:c:4]")]),
        ("[a|b:c:4]", [(10, "[a|b:c:4]")]),
        ("[a:b:(4)]", [(10, "[a:b:(4)]")]),
        ("(a:b:4)", [(10, "(a:b:4)")]),
        ("a | b", [(10, "a | b")]),
        ("(a|b)", [(10, "(a|b)")]),
        # brackets without a partner are text, and what they stand in is no schedule
        ("] ) [a:b:4]", [(4, "] ) a"), (10, "] ) b")]),
        ("[ ( [a:b:4]", [(4, "[ ( a"), (10, "[ ( b")]),
        ("[a (b:c:4]", [(10, "[a (b:c:4]")]),
        ("[a) b:c:4]", [(10, "[a) b:c:4]")]),
        ("[x (y] :4]", [(10, "[x (y] :4]")]),
    ],
)
def test_editing(prompt: str, expected: list[tuple[int, str]]) -> None:
    assert entries(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("[a|b]", ["a", "b", "a", "b", "a", "b"]),
        ("[a|b|c]x", ["ax", "bx", "cx", "ax", "bx", "cx"]),
        ("[fe|]male", ["female", "male", "female", "male", "female", "male"]),
        ("[|]", ["", "", "", "", "", ""]),
        ("[[a:b:3]|c]", ["a", "c", "a", "c", "b", "c"]),
        ("[[a|b]:c:3]", ["a", "b", "a", "c", "c", "c"]),
        ("[(a|b)|c]", ["(a|b)", "c", "(a|b)", "c", "(a|b)", "c"]),
    ],
)
def test_alternation(prompt: str, texts: list[str]) -> None:
    (part,) = compose(prompt, 6).parts
    assert [part.at(step) for step in range(1, 7)] == texts


def test_neighbours_of_equal_text_are_one_entry() -> None:
    assert entries("[a|a|b]", steps=6) == [(2, "a"), (3, "b"), (5, "a"), (6, "b")]


def test_a_step_is_compared_as_the_number_of_those_done() -> None:
    composition = compose("[a:b:2]", 5)
    drawn = [text for step in range(5) for text, _ in composition.at(step)]
    assert drawn == ["a", "a", "a", "b", "b"]


def test_beyond_the_last_step_the_last_text_is_drawn() -> None:
    assert compose("[a:b:2]", 5).at(1000) == (("b", 1.0),)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a:b:.5]", [(8, "b")]),
        ("[a:b:10]", [(8, "b")]),
        ("[a:b:1.5]", [(4, "a"), (8, "b")]),
        ("[a:b:12]", [(2, "a"), (8, "b")]),
        ("[a:b:2.0]", [(8, "a")]),
    ],
)
def test_the_second_pass_counts_on_behind_the_first(prompt: str, expected: list[tuple[int, str]]) -> None:
    assert entries(prompt, steps=10, second_pass=8) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a AND b", (("a", 1.0), ("b", 1.0))),
        ("a :1.2 AND b: -0.5 AND c:.3", (("a", 1.2), ("b", -0.5), ("c", 0.3))),
        ("a cat:1.3", (("a cat", 1.3),)),
        ("(a cat:1.3)", (("(a cat:1.3)", 1.0),)),
        ("SAND and LANDS", (("SAND and LANDS", 1.0),)),
        ("AND", (("", 1.0), ("", 1.0))),
        ("a ANDb", (("a ANDb", 1.0),)),
        ("[a AND b:5]", (("[a", 1.0), ("b:5]", 1.0))),
    ],
)
def test_texts_side_by_side(prompt: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert compose(prompt, 10).at(0) == expected


def test_each_text_side_by_side_has_its_own_schedule() -> None:
    composition = compose("[a:b:2] AND c:0.5", 5)
    assert composition.at(2) == (("a", 1.0), ("c", 0.5))
    assert composition.at(3) == (("b", 1.0), ("c", 0.5))
    assert composition.texts() == ("a", "b", "c")


def test_a_negative_prompt_has_schedules_but_nothing_side_by_side() -> None:
    composition = compose("[a:b:2] AND c:0.5", 5, negative=True)
    assert composition.at(0) == (("a AND c:0.5", 1.0),)
    assert composition.at(4) == (("b AND c:0.5", 1.0),)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a:101 AND b", r"^hr_prompt: 'a \(weight 101\)'"),
        ("a AND b:" + "9" * 400, "weight inf"),
        (" AND ".join("a" * 17), "17 texts joined by AND.*at most 16"),
        ("(" * 65, "at most 64 brackets"),
        ("([" * 40, "at most 64 brackets"),
        ("x" * 20_000 + "[1|2|3][1|2|3|4|5|6|7]", "becomes other texts over 150 steps.*262144 characters"),
        ("[|]" * 5000 + "[1|2|3]", "1000000 brackets"),
    ],
)
def test_a_prompt_beyond_the_limits_is_refused_with_the_limit(prompt: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        compose(prompt, 150, field="hr_prompt")


@given(PROMPTS, st.integers(1, 12), st.none() | st.integers(1, 12), st.booleans())
def test_any_prompt_is_composed_or_refused_by_name(
    prompt: str, steps: int, second_pass: int | None, negative: bool
) -> None:
    try:
        composition = compose(prompt, steps, second_pass=second_pass, negative=negative, field="field")
    except UnsupportedError as error:
        assert error.field == "field"
        return
    demand_whole(composition, steps if second_pass is None else second_pass)
    if negative:
        assert len(composition.parts) == 1


def demand_whole(composition: Composition, steps: int) -> None:
    """Every part tells every step, in order, and every text is one of those told."""
    texts = composition.texts()
    for part in composition.parts:
        untils = [entry.until for entry in part.entries]
        assert untils == sorted(set(untils)) and untils[0] >= 1 and untils[-1] == steps
        assert all(entry.text in texts for entry in part.entries)
    assert all(text in texts for step in range(steps + 1) for text, _ in composition.at(step))


@given(st.text())
def test_a_text_without_the_syntax_stays_as_it_is(text: str) -> None:
    plain = re.sub(r"[\[\]:]|\bAND\b", "", text)
    assert compose(plain, 5, negative=True).at(0) == ((plain, 1.0),)
    assert compose(plain, 5).at(0) == ((plain.strip(), 1.0),)


@given(st.text(alphabet="ab ,()"), st.integers(1, 20))
def test_a_change_at_a_step_is_where_it_is_written(text: str, when: int) -> None:
    balanced = re.sub(r"[()]", "", text)
    (part,) = compose(f"[x{balanced}:y:{when}]", 20).parts
    expected = (Entry(when, f"x{balanced}"), Entry(20, "y")) if when < 20 else (Entry(20, f"x{balanced}"),)
    assert part.entries == expected


LONG = 16_384


@pytest.mark.parametrize(
    "prompt",
    [
        "[a|b]" * (LONG // 5),
        "[a:b:5]" * (LONG // 7),
        "[" * 30 + "a" + "|b]" * 30 + "[c:d:.5]" * 1000,
        "[a:" + "1" * LONG + "x]",
        "[a" + ":" * LONG + "5]",
        "[a" * LONG,
        "(a" * 60 + "[b|c]" * 2000 + ")" * 60,
        "a AND " * (LONG // 6),
        "a:" * (LONG // 2),
        "]" * LONG,
        "\\" * LONG,
        " " * LONG,
        " :" * (LONG // 2),
    ],
    ids=lambda prompt: prompt[:6],
)
def test_no_prompt_takes_long_to_compose(prompt: str) -> None:
    began = time.perf_counter()
    with suppress(UnsupportedError):
        compose(prompt, 150)
    assert time.perf_counter() - began < 1


def test_the_texts_of_all_steps_share_their_memory() -> None:
    (part,) = compose("[" + "x" * 100_000 + "|y]", 150).parts
    assert len(part.entries) == 150
    assert len({id(entry.text) for entry in part.entries}) == 2
    assert sum(len(text) for text in {entry.text for entry in part.entries}) < schedule.MAX_CHARACTERS
