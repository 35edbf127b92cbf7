import time
from contextlib import suppress

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.grammar import Fragment, parse, refuse_unserved, without_extra_networks

UP, DOWN = 1.1, 1 / 1.1


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
    ("prompt", "found"),
    [
        ("a [cat:dog:0.5] here", r"\[cat:dog:0.5\] \(prompt editing\)"),
        ("[cat:10]", r"\[cat:10\] \(prompt editing\)"),
        ("[cat::0.5]", r"\[cat::0.5\] \(prompt editing\)"),
        ("[(cat:1.2):dog:3]", r"\(prompt editing\)"),
        ("a [cat|dog]", r"\[cat\|dog\] \(alternation\)"),
        ("[cat|]", r"\(alternation\)"),
        ("[(cat:1.2)|dog]", r"\(alternation\)"),
        ("a cat AND a dog", r"AND \(composition with AND\)"),
        ("a <lora:name:0.8>", r"<lora:name:0.8> \(extra network\)"),
        ("<hypernet:x:1>", r"<hypernet:x:1> \(extra network\)"),
    ],
)
def test_syntax_that_is_not_served_is_refused_and_quoted(prompt: str, found: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^negative_prompt: .*{found}"):
        refuse_unserved("negative_prompt", prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a [cat]",
        "[a:b]",
        "(a|b)",
        "a | b",
        "SAND and LANDS",
        "1 < 2: yes > no",
        r"\[a|b\]",
        "[see (a|b)]",
        "[a (b:1.2)]",
    ],
)
def test_what_only_looks_like_it_is_accepted(prompt: str) -> None:
    refuse_unserved("prompt", prompt)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a (red:101) cat", r"negative_prompt: 'red \(attention weight 101\)' .* -100 to 100"),
        ("(cat:-101)", "attention weight -101"),
        ("(((cat:50):50):50)", "attention weight 125000"),
        ("((cat:" + "9" * 400 + "):0)", "attention weight nan"),
        ("(" * 65 + "cat", "at most 64 brackets open at one place"),
        ("[" * 40 + "(" * 25 + "cat", "at most 64 brackets open at one place"),
    ],
)
def test_a_prompt_beyond_the_limits_is_refused_with_the_limit(prompt: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        refuse_unserved("negative_prompt", prompt)


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
        "<a:" * (LONG // 3),
        "BREAK " * (LONG // 6),
        "(a)" * (LONG // 3),
        "(" * 32 + "(a)" * (LONG // 3 - 64) + ":0)" * 32,
    ],
    ids=lambda prompt: prompt[:6],
)
def test_no_prompt_takes_long_to_judge(prompt: str) -> None:
    began = time.perf_counter()
    for _ in range(5):
        with suppress(UnsupportedError):
            refuse_unserved("prompt", prompt)
        without_extra_networks(prompt)
    assert time.perf_counter() - began < 1


def test_extra_networks_are_left_out_and_what_only_begins_like_one_stays() -> None:
    assert without_extra_networks("a <lora:x:1> cat <b> <lora:y") == "a  cat <b> <lora:y"
