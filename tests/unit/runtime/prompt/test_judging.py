import subprocess
import sys
import time
from contextlib import suppress

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.judging import judge


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat",
        "a [b:c:0.5] AND (d:1.3):0.5",
        "[a|b|c]",
        " BREAK ".join("a" * 32),
        "a | b: c",
        "(((",
        ")]",
    ],
)
def test_what_can_be_drawn_passes(prompt: str) -> None:
    judge("prompt", prompt, 20)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a" * 65_537, "65537 characters"),
        (" BREAK ".join("a" * 33), "33 chunks.*allowed: 32 chunks"),
        ("(" * 65, "at most 64 brackets"),
        ("a AND (b:101)", "weight 101"),
        ("[a:(b:101):0.5]", "weight 101"),
        ("a:1000 AND b", "weight 1000"),
        (" AND ".join("a" * 17), "17 texts"),
    ],
)
def test_what_exceeds_a_limit_is_refused_by_field(prompt: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^hr_prompt: .*{told}"):
        judge("hr_prompt", prompt, 20)


@pytest.mark.parametrize("field", ["negative_prompt", "hr_negative_prompt"])
def test_a_negative_prompt_is_judged_as_it_is_read(field: str) -> None:
    judge(field, " AND ".join("a" * 17) + ":1000", 20)
    with pytest.raises(UnsupportedError, match=rf"^{field}: .*weight 101"):
        judge(field, "(b:101)", 20)


LONG = 16_384


@pytest.mark.parametrize(
    "prompt",
    [
        "[(a)|b][(c)|d|e]" * (LONG // 16),
        "[a:(" * (LONG // 4),
        "(a:" + "1" * LONG + "x) AND ",
        "(" * 30 + "(a)[b|c]" * (LONG // 8) + ":0)" * 30,
        "BREAK[|]" * (LONG // 8),
    ],
    ids=lambda prompt: prompt[:6],
)
def test_no_prompt_takes_long_to_judge(prompt: str) -> None:
    began = time.perf_counter()
    with suppress(UnsupportedError):
        judge("prompt", prompt, 150)
    assert time.perf_counter() - began < 2


def test_judging_needs_no_torch() -> None:
    code = (
        "import sys, sd_runtime.prompt.judging, sd_runtime.prompt.styles, sd_runtime.prompt.comments,"
        " sd_runtime.prompt.extra_networks, sd_runtime.adapters.embedding; sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    )
