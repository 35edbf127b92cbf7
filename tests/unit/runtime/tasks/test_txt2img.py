from typing import Any

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.tasks.txt2img import Txt2Img

GOOD: dict[str, Any] = {
    "prompt": "a cat",
    "negative_prompt": "",
    "width": 512,
    "height": 768,
    "steps": 20,
    "cfg_scale": 7.0,
    "sampler": "Euler a",
    "scheduler": "automatic",
    "seed": 1,
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 65, "width: 65 .* multiples of 8"),
        ("height", 0, "height: 0 "),
        ("steps", 0, "steps: 0 .* 1 or more"),
        ("cfg_scale", float("nan"), "cfg_scale: nan .* finite"),
        ("clip_skip", 0, "clip_skip: 0 "),
        ("seed", -1, "seed: -1 "),
        ("sampler", "DDIM", "sampler: 'DDIM' .* Euler a"),
        ("scheduler", "kl_optimal", "scheduler: 'kl_optimal' .* karras"),
        ("prompt", "[a|b]", "^prompt: .*alternation"),
        ("negative_prompt", "<lora:x:1>", "^negative_prompt: .*extra network"),
    ],
)
def test_a_bad_value_is_refused_on_construction_by_name(field: str, value: object, message: str) -> None:
    Txt2Img(**GOOD)
    with pytest.raises(UnsupportedError, match=message):
        Txt2Img(**{**GOOD, field: value})
