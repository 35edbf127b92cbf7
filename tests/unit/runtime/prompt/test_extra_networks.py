import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.extra_networks import HYPERNET, LORA, MAX_COUNT, Mention, split


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("<lora:x>", {"kind": LORA, "text": 1.0, "unet": 1.0, "rank": None}),
        ("<lora:x:0.8>", {"kind": LORA, "text": 0.8, "unet": 0.8, "rank": None}),
        ("<lora:x:0.8:-1>", {"kind": LORA, "text": 0.8, "unet": -1.0, "rank": None}),
        ("<lora:x:0.8:.5:16>", {"kind": LORA, "text": 0.8, "unet": 0.5, "rank": 16}),
        ("<lora:x:te=0.2>", {"kind": LORA, "text": 0.2, "unet": 0.2, "rank": None}),
        ("<lora:x:unet=0.2>", {"kind": LORA, "text": 1.0, "unet": 0.2, "rank": None}),
        ("<lora:x:0.8:dyn=4>", {"kind": LORA, "text": 0.8, "unet": 0.8, "rank": 4}),
        ("<lora:x:te=0:0.8:unet= 2 >", {"kind": LORA, "text": 0.0, "unet": 2.0, "rank": None}),
        ("<lyco:x:0.5>", {"kind": LORA, "text": 0.5, "unet": 0.5, "rank": None}),
        ("<hypernet:x>", {"kind": HYPERNET, "text": 1.0, "unet": 1.0, "rank": None}),
        ("<hypernet:x:0.3>", {"kind": HYPERNET, "text": 0.3, "unet": 0.3, "rank": None}),
        ("<hypernet:x:multiplier=0.3>", {"kind": HYPERNET, "text": 0.3, "unet": 0.3, "rank": None}),
    ],
)
def test_what_follows_a_name(written: str, expected: dict[str, object]) -> None:
    text, (mention,) = split(f"a {written} cat")
    assert text == "a  cat"
    assert mention == Mention(name="x", written=written, **expected)  # type: ignore[arg-type]


def test_extra_networks_are_taken_out_in_order_and_what_only_begins_like_one_stays() -> None:
    text, mentions = split("1 < 2 <lora:dir/a b-c.v2:1> <b> cat <hypernet:y> a > b <lora:z")
    assert text == "1 < 2  <b> cat  a > b <lora:z"
    assert [mention.name for mention in mentions] == ["dir/a b-c.v2", "y"]


def test_a_prompt_without_extra_networks_stays_as_it_is() -> None:
    assert split("a (cat:1.2), [dog]") == ("a (cat:1.2), [dog]", ())


@pytest.mark.parametrize(
    "written",
    [
        "<foo:bar>",
        "<LORA:bar>",
        "<lora::1>",
        "<lora:x:strong>",
        "<lora:x:>",
        "<lora:x:101>",
        "<lora:x:1:nan>",
        "<lora:x:1:1:0>",
        "<lora:x:1:1:-4>",
        "<lora:x:1:1:99999999999>",
        "<lora:x:1:1:4:5>",
        "<lora:x:lbw=1>",
        "<hypernet:x:1:1>",
        "<hypernet:x:te=1>",
    ],
)
def test_an_extra_network_that_is_not_understood_is_refused_and_quoted(written: str) -> None:
    with pytest.raises(UnsupportedError, match=r"hr_prompt: .* allowed: <lora:name>") as refusal:
        split(f"a {written} cat", field="hr_prompt")
    assert refusal.value.value == written


def test_more_than_a_prompt_may_have_are_refused() -> None:
    assert len(split("<lora:x>" * MAX_COUNT)[1]) == MAX_COUNT
    with pytest.raises(UnsupportedError, match=f"at most {MAX_COUNT} in a prompt"):
        split("<lora:x>" * (MAX_COUNT + 1))


PIECES = ["<", ">", ":", "lora", "hypernet", "x", "1", "-.5", "te=", "dyn=", " ", "=", "é"]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_any_prompt_is_split_or_refused_by_name(prompt: str) -> None:
    try:
        text, mentions = split(prompt, field="prompt")
    except UnsupportedError as error:
        assert error.field == "prompt"
        return
    assert len(text) + sum(len(mention.written) for mention in mentions) == len(prompt)
    assert all(mention.written in prompt for mention in mentions)


LONG = 16_384


@pytest.mark.parametrize(
    "prompt",
    ["<a:" * LONG, "<a:" * LONG + ">", "<" + "a" * LONG, "<a" * LONG + ":>", "<lora:x>" * LONG, "<:>" * LONG],
    ids=lambda prompt: prompt[:6],
)
def test_no_prompt_takes_long_to_split(prompt: str) -> None:
    began = time.perf_counter()
    with suppress(UnsupportedError):
        split(prompt)
    assert time.perf_counter() - began < 1
