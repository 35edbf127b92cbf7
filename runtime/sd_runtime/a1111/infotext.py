"""The text that a picture carries about its making: A1111's format, written and read back.

    a prompt, which may have several lines
    Negative prompt: the same
    Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, Seed: 1, Size: 512x512, …

The format marks its parts only by position and these words, so a prompt with a line that begins with
"Negative prompt:" cannot be told from what it imitates; A1111 has the same limit.
"""

import json
import re
from collections.abc import Mapping

PROMPT = "Prompt"
NEGATIVE_PROMPT = "Negative prompt"

#: The key is bounded and begins at a word, or a long line without colons would be searched again from each of
#: its characters.
_PAIR = re.compile(r'\b(\w[\w \-/]{1,63}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
#: Fewer pairs than this, and the last line is taken for a line of the prompt.
_FEWEST_PAIRS = 3
#: A longer last line is not looked through for pairs: it is prompt text too.
_LONGEST_LINE = 64 * 1024
#: What a reader assumes where the text does not say, as A1111's reader does.
_ASSUMED = {
    "Clip skip": "1",
    "Schedule type": "Automatic",
    "RNG": "GPU",
    "Hires sampler": "Use same sampler",
    "Inpaint area": "Whole picture",
    "Masked content": "original",
    "Masked area padding": "32",
}


def write(prompt: str, negative_prompt: str, parameters: Mapping[str, object]) -> str:
    """The infotext; parameters keep their order, those that are None are left out."""
    pairs = [f"{key}: {quote(value)}" for key, value in parameters.items() if value is not None]
    negative = f"\n{NEGATIVE_PROMPT}: {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{', '.join(pairs)}".strip()


def read(text: str) -> dict[str, str]:
    """Prompt, negative prompt and every parameter; `Size: 8x9` becomes `Size-1` and `Size-2`."""
    *lines, last = text.strip().split("\n")
    parameters = pairs(last)
    if len(parameters) < _FEWEST_PAIRS:
        lines.append(last)
        parameters = []
    found = _prompts(lines)
    for key, value in parameters:
        found |= _parameter(key, value)
    return found | {key: value for key, value in _ASSUMED.items() if key not in found}


def pairs(line: str) -> list[tuple[str, str]]:
    """The keys of a last line with their values as they stand there; none of a line that is too long."""
    return _PAIR.findall(line) if len(line) <= _LONGEST_LINE else []


def quote(value: object) -> str:
    """A value as it stands in the last line: JSON where it would break the line apart, or would not be read
    back as it is."""
    text = str(value)
    plain = not any(mark in text for mark in ",\n:") and text == text.strip() and not text.startswith('"')
    return text if plain else json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    """The value behind `quote`; text that is not JSON stands for itself."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _prompts(lines: list[str]) -> dict[str, str]:
    parts: dict[str, list[str]] = {PROMPT: [], NEGATIVE_PROMPT: []}
    current = PROMPT
    for line in (line.strip() for line in lines):
        if line.startswith(f"{NEGATIVE_PROMPT}:"):
            current = NEGATIVE_PROMPT
            line = line.removeprefix(f"{NEGATIVE_PROMPT}:").strip()
        parts[current].append(line)
    return {key: "\n".join(part) for key, part in parts.items()}


def _parameter(key: str, value: str) -> dict[str, str]:
    size = _SIZE.fullmatch(value)
    if size:
        return {f"{key}-1": size[1], f"{key}-2": size[2]}
    return {key: unquote(value.strip())}
