"""Infotext as A1111 writes and reads it."""

import time

import pytest

from sd_runtime.a1111 import infotext

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
