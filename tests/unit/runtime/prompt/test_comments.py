import pytest

from sd_runtime.prompt.comments import strip


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", "a cat"),
        ("a cat # sleeping", "a cat "),
        ("# all of it", ""),
        ("a\n# a line\nb", "a\nb"),
        ("a # here\nb # there\n\nc", "a \nb \n\nc"),
        ("a #b # c", "a "),
    ],
)
def test_comments_go(prompt: str, expected: str) -> None:
    assert strip(prompt) == expected


def test_a_prompt_without_comments_is_stripped_to_itself() -> None:
    once = strip("a # b\n# c\nd")
    assert strip(once) == once
