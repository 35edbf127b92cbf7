import itertools
import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.grammar import MAX_WEIGHT, Fragment, parse

UP, DOWN = 1.1, 1 / 1.1

# What a prompt's brackets, numbers and words can be put together from.
PIECES = ["(", ")", "[", "]", "\\", ":", ":1.3", ":-.5", "|", " ", "a", "cat", "BREAK", ",", "1", "é", "\n"]
PROMPTS = st.lists(st.sampled_from(PIECES)).map("".join) | st.text()


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", UP)]),
        ("a [cat] here", [("a ", 1), ("cat", DOWN), (" here", 1)]),
        ("(cat:1.3)", [("cat", 1.3)]),
        ("(cat: 0.5 )", [("cat", 0.5)]),
        ("(cat:.5)", [("cat", 0.5)]),
        ("(cat:-1)", [("cat", -1)]),
        ("((cat))", [("cat", UP * UP)]),
        ("((cat:2) dog)", [("cat", 2 * UP), (" dog", UP)]),
        ("(a (b:2):0.5)", [("a ", 0.5), ("b", 1.0)]),
        ("([cat])", [("cat", DOWN * UP)]),
        (r"\(cat\)", [("(cat)", 1)]),
        (r"(a\)b)", [("a)b", UP)]),
        (r"\[a\] \\", [(r"[a] " + "\\", 1)]),
        (r"a\b", [(r"a\b", 1)]),
        ("a (cat", [("a ", 1), ("cat", UP)]),
        ("a [cat", [("a ", 1), ("cat", DOWN)]),
        ("cat) dog]", [("cat) dog]", 1)]),
        ("(cat:1.3", [("cat:1.3", UP)]),
        ("cat:1.3", [("cat:1.3", 1)]),
        ("(a:b)", [("a:b", UP)]),
        ("()", [("", 1)]),
        ("a BREAK b", [("a", 1), None, ("b", 1)]),
        ("(a BREAK b)", [("a", UP), None, ("b", UP)]),
        ("BREAK", [None]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("a \n BREAK\tb  BREAK c ", [("a", 1), None, ("b", 1), None, ("c ", 1)]),
        ("a BREAK BREAK b", [("a", 1), None, None, ("b", 1)]),
        ("(a [b) c]", [("a ", UP), ("b", 1), (" c", DOWN)]),
        ("[a (b] c:2)", [("a ", DOWN), ("b", DOWN * 2), (" c", 2)]),
        ("(a:b:2)", [("a:b", 2)]),
        ("(a:100)", [("a", 100)]),
        ("a (1.1) b", [("a ", 1), ("1.1", UP), (" b", 1)]),
    ],
)
def test_attention_syntax(prompt: str, fragments: list[tuple[str, float] | None]) -> None:
    expected = [
        Fragment(None) if part is None else Fragment(part[0], pytest.approx(part[1])) for part in fragments
    ]
    assert parse(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a (red:101) cat", r"^negative_prompt: 'red \(weight 101\)' .* -100 to 100"),
        ("(cat:-101)", "weight -101"),
        ("(((cat:50):50):50)", "weight 125000"),
        ("((cat:" + "9" * 400 + "):0)", "weight nan"),
        ("(" * 65 + "cat", "at most 64 brackets open at one place"),
        ("[" * 40 + "(" * 25 + "cat", "at most 64 brackets open at one place"),
    ],
)
def test_a_prompt_beyond_the_limits_is_refused_with_the_limit(prompt: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        parse(prompt, field="negative_prompt")


@given(PROMPTS)
def test_any_prompt_is_parsed_or_refused_by_name(prompt: str) -> None:
    try:
        fragments = parse(prompt, field="prompt")
    except UnsupportedError as error:
        assert error.field == "prompt"
        return
    assert fragments
    assert all(abs(fragment.weight) <= MAX_WEIGHT for fragment in fragments)
    assert all(
        a.text is None or b.text is None or a.weight != b.weight for a, b in itertools.pairwise(fragments)
    )


@given(st.text().filter(lambda text: "BREAK" not in text))
def test_an_escaped_text_is_that_text_with_weight_one(text: str) -> None:
    assert parse(re.sub(r"([\\()\[\]])", r"\\\1", text)) == [Fragment(text, 1.0)]


@given(st.text(alphabet="ab c,\n"), st.integers(-9900, 9900))
def test_a_weight_is_read_as_it_is_written(text: str, hundredths: int) -> None:
    (fragment,) = parse(f"(a{text}:{hundredths / 100})")
    assert fragment == Fragment(f"a{text}", hundredths / 100)


LONG = 16_384


@pytest.mark.parametrize(
    "prompt",
    [
        "[a:" + "1" * LONG + "x]",
        "(a:" + "1" * LONG + "x)",
        "(a" + ": " * (LONG // 2) + ")",
        " " * LONG + "x",
        "(a" * (LONG // 2),
        "[a" * (LONG // 2),
        "BREAK " * (LONG // 6),
        "(a)" * (LONG // 3),
        "(" * 32 + "(a)" * (LONG // 3 - 64) + ":0)" * 32,
    ],
    ids=lambda prompt: prompt[:6],
)
def test_no_prompt_takes_long_to_parse(prompt: str) -> None:
    began = time.perf_counter()
    for _ in range(5):
        with suppress(UnsupportedError):
            parse(prompt)
    assert time.perf_counter() - began < 1
