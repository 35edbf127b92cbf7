"""A1111's extra networks: `<lora:name:…>` and `<hypernet:name:…>` taken out of a prompt. Pure text.

Positions and names of what follows are A1111's: a LoRA's strength in the text encoder, in the U-Net (the
same if not given), the rank to cut it to; each also by name (`te=`, `unet=`, `dyn=`). Knows no files: whether
there is one of that name is for whoever asks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import grammar

LORA, HYPERNET = "lora", "hypernet"
#: Of one prompt: each makes every evaluation slower.
MAX_COUNT = 32
MAX_RANK = 65_536

ALLOWED = (
    "<lora:name>, <lora:name:strength>, <lora:name:text encoder:unet:rank>, te=, unet= and dyn= by name, lyco"
    f" for lora, and <hypernet:name:strength>; strengths from -{grammar.MAX_WEIGHT} to {grammar.MAX_WEIGHT},"
    f" at most {MAX_COUNT} in a prompt"
)

# What LyCORIS' own extension for A1111 was called by.
_KINDS = {"lora": LORA, "lyco": LORA, "hypernet": HYPERNET}
#: What may be given behind a name: in this order, or by name.
_ARGUMENTS = {LORA: ("te", "unet", "dyn"), HYPERNET: ("multiplier",)}

_MENTION = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One network as a prompt names it."""

    kind: str  # LORA or HYPERNET
    name: str
    #: Strength in the U-Net.
    unet: float
    #: Strength in the text encoders; of a hypernetwork the same number, without effect.
    text: float
    #: Rank that a LoRA is cut to; None: its own.
    rank: int | None
    #: The whole of it, as in the prompt.
    written: str


def split(prompt: str, *, field: str = "prompt") -> tuple[str, tuple[Mention, ...]]:
    """The prompt without its extra networks, and these in order.

    Raises `UnsupportedError` about `field`, quoting the network, for an unknown kind and for what follows the
    name and cannot be read.
    """
    # Behind the last > none can end, so that none needs to be looked for there, < by <.
    end = prompt.rfind(">") + 1
    mentions: list[Mention] = []
    for found in _MENTION.finditer(prompt, 0, end):
        if len(mentions) == MAX_COUNT:
            raise UnsupportedError(field, found[0], ALLOWED)
        mentions.append(_read(found[0], found[1], found[2], field))
    return _MENTION.sub("", prompt[:end]) + prompt[end:], tuple(mentions)


def _read(written: str, kind: str, content: str, field: str) -> Mention:
    if kind not in _KINDS:
        raise UnsupportedError(field, written, ALLOWED)
    name, *rest = content.split(":")
    arguments = _arguments(rest, _ARGUMENTS[_KINDS[kind]])
    if not name or arguments is None:
        raise UnsupportedError(field, written, ALLOWED)
    first = "te" if _KINDS[kind] == LORA else "multiplier"
    text = _strength(arguments.get(first, "1"))
    unet = text if "unet" not in arguments else _strength(arguments["unet"])
    rank = _rank(arguments["dyn"]) if "dyn" in arguments else None
    if text is None or unet is None or rank == 0:
        raise UnsupportedError(field, written, ALLOWED)
    return Mention(kind=_KINDS[kind], name=name, unet=unet, text=text, rank=rank, written=written)


def _arguments(given: Sequence[str], known: tuple[str, ...]) -> dict[str, str] | None:
    """By name; what is named counts for more than a position, as with A1111. None: not understood."""
    named: dict[str, str] = {}
    positions: list[str] = []
    for argument in given:
        name, equals, value = argument.partition("=")
        if equals:
            named[name.strip()] = value
        else:
            positions.append(argument)
    if len(positions) > len(known) or not named.keys() <= set(known):
        return None
    return {**dict(zip(known, positions, strict=False)), **named}


def _strength(written: str) -> float | None:
    number = written.strip()
    if not grammar.NUMBER.fullmatch(number) or abs(float(number)) > grammar.MAX_WEIGHT:
        return None
    return float(number)


def _rank(written: str) -> int:
    """0: none that there is."""
    number = written.strip()
    is_rank = number.isascii() and number.isdecimal() and len(number) <= len(str(MAX_RANK))
    return int(number) if is_rank and int(number) <= MAX_RANK else 0
