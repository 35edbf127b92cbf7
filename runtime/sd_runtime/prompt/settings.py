"""How texts become conditioning, beyond their words: plain data, importable without torch."""

from dataclasses import dataclass
from enum import StrEnum


class Emphasis(StrEnum):
    """What a weight in the prompt does to its token's states (A1111's option `emphasis`)."""

    #: Multiplied, then all states scaled so that their mean is as before.
    ORIGINAL = "Original"
    #: Multiplied only.
    NO_NORM = "No norm"
    #: The syntax is read and the weights are left out.
    IGNORE = "Ignore"
    #: The syntax is text.
    NONE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """The same for all texts of a picture."""

    #: 1: the last layer of the text encoder.
    clip_skip: int = 1
    emphasis: Emphasis = Emphasis.ORIGINAL
    #: How many tokens before the end of a full chunk a comma may stand so that it is cut there; 0: never.
    comma_back_off: int = 20
    #: The aesthetic score that goes with a prompt, and with a negative one, to networks that are told one
    #: (SDXL's refiner).
    score: float = 6.0
    negative_score: float = 2.5
