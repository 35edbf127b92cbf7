"""Infotext as A1111 writes and reads it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_runtime.a1111 import infotext

#: Of a prompt: what separates lines is left out, and the space at a line's ends, which readers cut.
lines = (
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)
    .map(str.strip)
    .filter(lambda line: line and not line.startswith(infotext.NEGATIVE_PROMPT))
)
prompts = st.lists(lines, max_size=3).map("\n".join)
#: Of a parameter: anything that can be written.
values = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)

WRITTEN_BY_A1111 = """a castle, (stone:1.2)
with towers
Negative prompt: blurry
low quality
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 965400086, Size: 512x768, \
Model hash: 45dee52b, Model: name, Lora hashes: "one: 1234, two: 5678", Version: v1.10.1"""


def test_reads_what_a1111_writes():
    assert infotext.read(WRITTEN_BY_A1111) == {
        "Prompt": "a castle, (stone:1.2)\nwith towers",
        "Negative prompt": "blurry\nlow quality",
        "Steps": "20",
        "Sampler": "Euler a",
        "Schedule type": "Automatic",
        "CFG scale": "7",
        "Seed": "965400086",
        "Size-1": "512",
        "Size-2": "768",
        "Model hash": "45dee52b",
        "Model": "name",
        "Lora hashes": "one: 1234, two: 5678",
        "Version": "v1.10.1",
        "Clip skip": "1",
        "RNG": "GPU",
        "Hires sampler": "Use same sampler",
        "Inpaint area": "Whole picture",
        "Masked content": "original",
        "Masked area padding": "32",
    }


def test_writes_the_three_parts_in_order_and_leaves_out_what_is_none():
    text = infotext.write(
        "a cat", "blurry", {"Steps": 20, "Model hash": None, "CFG scale": 7.0, "Size": "8x9"}
    )
    assert text == "a cat\nNegative prompt: blurry\nSteps: 20, CFG scale: 7.0, Size: 8x9"


def test_writes_no_negative_prompt_when_there_is_none():
    assert infotext.write("a cat", "", {"Steps": 20}) == "a cat\nSteps: 20"


def test_writes_only_parameters_when_there_is_no_prompt():
    assert infotext.write("", "", {"Steps": 20}) == "Steps: 20"


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("a cat", ""),
        ("", "blurry"),
        ("", ""),
        ("two\nlines", "and\ntwo more"),
        ('commas, colons: and "quotes"', "Steps: 3, or not"),
        ("ein Bär, 一只猫", "🐈"),
        ("(a:1.2) [b] \\(c\\)", ""),
    ],
)
def test_prompts_are_read_back_as_written(prompt, negative):
    read = infotext.read(infotext.write(prompt, negative, {"Steps": 1, "Sampler": "Heun", "Seed": 2}))
    assert (read["Prompt"], read["Negative prompt"], read["Steps"]) == (prompt, negative, "1")


@pytest.mark.parametrize(
    "value", ["plain", "a, b", "a: b", "two\nlines", 'say "x", twice', "back\\slash: x", "Bär, 猫"]
)
def test_values_are_read_back_as_written(value):
    read = infotext.read(infotext.write("p", "", {"Steps": 1, "Sampler": "Heun", "Module": value, "Seed": 2}))
    assert read["Module"] == value
    assert read["Seed"] == "2"


@given(prompts, prompts, st.lists(values, min_size=3, max_size=6))
def test_whatever_is_written_is_read_back(prompt, negative, told):
    parameters = {f"Key {number}": value for number, value in enumerate(told)}
    read = infotext.read(infotext.write(prompt, negative, parameters | {"Version": "x"}))
    assert (read["Prompt"], read["Negative prompt"]) == (prompt, negative)
    sizes = {key: value for key, value in parameters.items() if f"{key}-1" in read}
    assert {key: read[key] for key in parameters if key not in sizes} == {
        key: value for key, value in parameters.items() if key not in sizes
    }
    assert {key: f"{read[f'{key}-1']}x{read[f'{key}-2']}" for key in sizes} == sizes


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    assert infotext.PROMPT in infotext.read(text)


def test_a_last_line_with_fewer_than_three_pairs_belongs_to_the_prompt():
    assert infotext.read("a cat\nSteps: 20, Seed: 1")["Prompt"] == "a cat\nSteps: 20, Seed: 1"


def test_a_value_that_only_looks_quoted_stands_for_itself():
    assert infotext.unquote('"a\\x"') == '"a\\x"'
    assert infotext.unquote('"') == '"'


@pytest.mark.parametrize(
    "line",
    ["a" * 1_000_000, "a" * 65_000, " " * 65_000 + "x", "a " * 32_000, 'aa: "' * 13_000, 'aa: "x' * 10_000],
    ids=["a megabyte", "one word", "spaces", "words", "quotes", "open quotes"],
)
def test_a_last_line_made_to_be_slow_is_read_quickly(line):
    began = time.perf_counter()
    infotext.read(f"a cat\n{line}")
    assert time.perf_counter() - began < 2


def test_a_last_line_that_is_too_long_belongs_to_the_prompt():
    line = "Steps: 20, Sampler: Heun, Seed: 1, Module: " + "a" * 70_000
    assert infotext.read(f"a cat\n{line}")["Prompt"] == f"a cat\n{line}"
