"""What the modules of files are called. Knows nothing of what is in a file."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sd_plugin.contract import LONGEST_WORDS, line
from sd_plugin.shelves import Found

#: What A1111 calls the ones that everybody has.
WELL_KNOWN = {
    "realesrgan_x4plus": "R-ESRGAN 4x+",
    "realesrgan-x4plus": "R-ESRGAN 4x+",
    "realesrgan_x4plus_anime_6b": "R-ESRGAN 4x+ Anime6B",
    "realesrgan-x4plus-anime": "R-ESRGAN 4x+ Anime6B",
}
_LONGEST_NAME = 63
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_+.-]+")


@dataclass(frozen=True, slots=True)
class Name:
    """Of a module, each as the contract spells it; `name` and `label` are no other module's."""

    name: str
    label: str
    aliases: tuple[str, ...]


def named(files: Iterable[Found], *, most: int) -> tuple[dict[Name, Found], frozenset[str]]:
    """The files by what their modules are called: by their own names, with a number where another has that
    already. Of files with one path below several roots the first counts. And sentences on what is not as
    the files' names say: numbers, and files beyond `most`, which are left out."""
    chosen: dict[Name, Found] = {}
    names: set[str] = set()
    labels: set[str] = set()
    told: set[str] = set()
    left_out = 0
    for found in _once(files):
        if len(chosen) >= most:
            left_out += 1
            continue
        stem = found.path.name.rpartition(".")[0]
        name = _free(_spelled(stem), names, "-{}", _LONGEST_NAME)
        if name != _spelled(stem):
            told.add(f"{found.path}: its module is called {name}, as another file has its name")
        label = _free(_words(WELL_KNOWN.get(stem.lower(), stem)) or name, labels, " ({})", LONGEST_WORDS)
        names.add(name)
        labels.add(label)
        aliases = dict.fromkeys(filter(None, map(_words, (stem, found.path.name))))
        chosen[Name(name, label, tuple(aliases))] = found
    if left_out:
        told.add(f"there are {left_out} upscalers beyond the {most} that may be: they are left out")
    return chosen, frozenset(told)


def _once(files: Iterable[Found]) -> Iterator[Found]:
    there: set[tuple[str, str]] = set()
    for found in files:
        # The folder of its type, and the path below that.
        key = found.path.parents[found.name.count("/")].name, found.name
        if key not in there:
            there.add(key)
            yield found


def _free(wanted: str, taken: set[str], numbered: str, longest: int) -> str:
    """What is wanted, or that with the lowest number that makes it nobody's yet."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = numbered.format(number)
        name = wanted[: longest - len(suffix)] + suffix
    return name


def _words(text: str) -> str:
    return line(text, LONGEST_WORDS)


def _spelled(stem: str) -> str:
    spelled = _NOT_IN_NAMES.sub("-", stem.lower()).lstrip("_+.-")
    return spelled[:_LONGEST_NAME] or "upscaler"
