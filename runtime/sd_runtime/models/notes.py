"""What people, trainers and other tools wrote about a model file: within it, and in files beside it.

Words that call up what it teaches, a sentence or two about it, the strength to use it at. Whoever wrote them
may have written anything: texts are cut, numbers judged, and what cannot be read says nothing. Knows nothing
of what the file itself is.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sd_runtime.models.digests import FileKey, key_of

_MOST_WORDS, _LONGEST_WORD, _LONGEST_TEXT = 16, 200, 1000
#: Of a dataset's tags, where no more is known.
_MOST_TAGS = 8
#: Of a file with notes: those of Civitai list all pictures of a model.
_MOST_BYTES = 4 * 1024 * 1024
#: Of a strength that a prompt may give.
_MOST_WEIGHT = 100
_KEPT = 4096

_TAG = re.compile(r"<[^<>]*>")
#: Pictures beside a model file, by what follows its name without ending (A1111's and its extensions').
_PICTURES = tuple(
    f"{between}.{ending}" for between in (".preview", "") for ending in ("png", "jpg", "jpeg", "webp")
)


@dataclass(frozen=True, slots=True)
class Notes:
    """What was written."""

    trigger_words: tuple[str, ...] = ()
    description: str | None = None
    #: Strength to use it at; None: nobody says.
    weight: float | None = None

    def before(self, other: "Notes") -> "Notes":
        """These, and of the other ones what these do not say."""
        return Notes(
            self.trigger_words or other.trigger_words,
            self.description or other.description,
            other.weight if self.weight is None else self.weight,
        )


NOTHING = Notes()


class Folder:
    """What lies in one folder below a root, looked at once, so that files of a large one are not asked for
    one by one. Links that lead out of the root are not followed."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        try:
            self._names = frozenset(each.name for each in path.iterdir())
        except OSError:
            self._names = frozenset()

    def notes(self, stem: str) -> Notes:
        """What the files beside the model file of this name (without ending) say of it: what its user wrote
        in A1111's page first, then what Civitai tells."""
        found = NOTHING
        for name, read in ((f"{stem}.json", _of_user), (f"{stem}.civitai.info", _of_civitai)):
            if name in self._names and self._stays_inside(name):
                found = found.before(read(_json(self._path / name)))
        return found

    def picture(self, stem: str) -> Path | None:
        """The picture of the model file of this name; None: there is none."""
        name = next((stem + each for each in _PICTURES if stem + each in self._names), None)
        return self._path / name if name is not None and self._stays_inside(name) else None

    def _stays_inside(self, name: str) -> bool:
        path = self._path / name
        if not path.is_symlink():
            return True
        try:
            return path.resolve(strict=True).is_relative_to(self._root.resolve())
        except (OSError, RuntimeError):
            return False


def within(metadata: Mapping[str, str]) -> Notes:
    """What stands beside the tensors: modelspec's words, else the tags that most pictures of the training
    have, as kohya's trainer counts them."""
    words = _words(metadata.get("modelspec.trigger_phrase"))
    return Notes(
        words or _frequent(metadata.get("ss_tag_frequency")), _text(metadata.get("modelspec.description"))
    )


def _of_user(told: Mapping[str, Any]) -> Notes:
    return Notes(
        _words(told.get("activation text")),
        _text(told.get("description")),
        _weight(told.get("preferred weight")),
    )


def _of_civitai(told: Mapping[str, Any]) -> Notes:
    words = told.get("trainedWords")
    named = [each for word in words for each in _words(word)] if isinstance(words, list) else []
    model = told.get("model")
    told_of_model = model.get("description") if isinstance(model, dict) else None
    return Notes(_few(named), _text(told.get("description")) or _text(told_of_model))


def _frequent(counted: str | None) -> tuple[str, ...]:
    """{"dataset": {"tag": count}} to the tags, the most frequent first."""
    counts: dict[str, int] = {}
    for tags in _parsed(counted or "").values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return _few(sorted(counts, key=lambda tag: -counts[tag]), _MOST_TAGS)


def _words(told: object) -> tuple[str, ...]:
    """A text with commas between its words, which is how prompts are written."""
    return _few(told.split(",")) if isinstance(told, str) else ()


def _few(words: Iterable[str], most: int = _MOST_WORDS) -> tuple[str, ...]:
    plain = (" ".join(word.split()) for word in words)
    return tuple(dict.fromkeys(word for word in plain if 0 < len(word) <= _LONGEST_WORD))[:most]


def _text(told: object) -> str | None:
    """As plain text: Civitai's is HTML."""
    if not isinstance(told, str):
        return None
    # More than enough for what is shown, however much of it is markup.
    plain = " ".join(html.unescape(_TAG.sub(" ", told[: 16 * _LONGEST_TEXT])).split())
    return (plain if len(plain) <= _LONGEST_TEXT else f"{plain[: _LONGEST_TEXT - 1]}…") or None


def _weight(told: object) -> float | None:
    """0 is A1111's way to say nothing."""
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        return None
    # So that it is false of what is no number, too.
    return float(told) if 0 < abs(told) <= _MOST_WEIGHT else None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return _read(path, key_of(path.stat()))
    except OSError:
        return {}


@lru_cache(maxsize=_KEPT)
def _read(path: Path, key: FileKey) -> Mapping[str, Any]:
    """What is kept is small: the few entries that somebody asks for."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return {}
    told = _parsed(path.read_bytes().decode("utf-8-sig", "replace"))
    wanted = ("activation text", "description", "preferred weight", "trainedWords", "model")
    return {name: told[name] for name in wanted if name in told}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
