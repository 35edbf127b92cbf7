"""What a picture of NovelAI says of how it was made, in A1111's words.

Such a picture has PNG texts: `Software`, the prompt as `Description`, and the settings as JSON in `Comment`.
"""

import json
from collections.abc import Mapping
from typing import Any

#: NovelAI's samplers under A1111's names; what is not known becomes "Euler a", as A1111 does.
_SAMPLERS = {
    "k_euler": "Euler",
    "k_euler_ancestral": "Euler a",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_ancestral": "DPM2 a",
    "k_dpm_fast": "DPM fast",
    "k_dpm_adaptive": "DPM adaptive",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpmpp_sde": "DPM++ SDE",
    "ddim": "DDIM",
    "plms": "PLMS",
}
_ANY_SAMPLER = "Euler a"


def parameters(items: Mapping[str, str], size: tuple[int, int]) -> str:
    """The generation parameters, of a picture so wide and high; "" where the texts are not NovelAI's."""
    if items.get("Software") != "NovelAI":
        return ""
    try:
        said = json.loads(items["Comment"])
        return _line(items.get("Description", ""), said, size)
    # Somebody else's file may say anything in it.
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _line(prompt: str, said: Mapping[str, Any], size: tuple[int, int]) -> str:
    sampler = _SAMPLERS.get(str(said["sampler"]), _ANY_SAMPLER)
    # Its encoder leaves out the last layer, and its seeds have this offset.
    return (
        f"{prompt}\nNegative prompt: {said['uc']}\n"
        f"Steps: {said['steps']}, Sampler: {sampler}, CFG scale: {said['scale']}, Seed: {said['seed']},"
        f" Size: {size[0]}x{size[1]}, Clip skip: 2, ENSD: 31337"
    )
