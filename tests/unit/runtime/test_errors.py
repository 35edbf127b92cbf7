"""How an error repeats what it was given."""

import pytest

from sd_runtime.errors import UnsupportedError, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [("a cat", "'a cat'"), (None, "None"), (1.5, "1.5"), ({"a": [1, 2]}, "{'a': [1, 2]}")],
)
def test_a_short_value_is_repeated_as_it_is(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 1000, ["x" * 99] * 5, 10**400, {"k" * 90: "v" * 90}, [[]] * 1000])
def test_a_long_value_is_cut(value: object) -> None:
    assert len(shown(value)) <= 100
    assert "…" in shown(value)


def test_what_is_allowed_is_never_cut_off() -> None:
    message = str(UnsupportedError("f" * 1000, "v" * 1000, ["one", "two"]))
    assert message.endswith("allowed: one, two")
    assert len(message) < 300
