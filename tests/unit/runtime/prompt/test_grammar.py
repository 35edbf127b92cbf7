import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.grammar import Fragment, parse, refuse_unserved

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
