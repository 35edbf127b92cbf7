"""Names that a manifest may have, made from names that people gave their files. Pure."""

import re
import unicodedata

from sd_operator import names
from sd_operator.api.bundle import FILE_NAME_LENGTH, FILE_NAME_PATTERN

SUFFIX = ".safetensors"
_UNFIT = re.compile(r"[^A-Za-z0-9_.+()\[\] -]+")


def label(text: str, *, otherwise: str) -> str:
    """A DNS label that reads like the text; `otherwise` when no letter of it can be kept."""
    words = re.sub(r"[^a-z0-9]+", "-", _latin(text).lower()).strip("-")
    return names.fit(words) if words else otherwise


def numbered(name: str, number: int) -> str:
    """The label with a number behind it, cut so that both fit."""
    tail = f"-{number}"
    return f"{name[: names.MAX_LABEL - len(tail)].rstrip('-')}{tail}"


def file_name(stem: str, *, otherwise: str, number: int = 1) -> str:
    """A name for a file on the volume, as near to the given one as the rule allows."""
    tail = SUFFIX if number == 1 else f"-{number}{SUFFIX}"
    kept = _UNFIT.sub("_", _latin(stem)).lstrip(".")
    if not kept.strip("_. -"):
        kept = otherwise
    return kept[: FILE_NAME_LENGTH - len(tail)] + tail


def fits(name: str) -> bool:
    """Whether a file may have this name on the volume."""
    return len(name) <= FILE_NAME_LENGTH and re.fullmatch(FILE_NAME_PATTERN, name) is not None


def _latin(text: str) -> str:
    """The text with accents taken off what has them: é is e."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))
