"""The files below the folders of models that may be models, by name and by kind of file; none is opened.

Symbolic links are followed only inside the folder that is imported, because the volume holds nothing else,
and a linked file is named by where it really lies: a link need not mean the same where the volume is mounted.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles.kinds import ModelType
from sd_operator.bundle.importing import layouts
from sd_operator.bundle.importing.layouts import ModelFolder
from sd_operator.bundle.importing.reporting import Report

SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".pkl"})
_UNFINISHED = frozenset({".part", ".partial", ".aria2", ".crdownload", ".download", ".incomplete", ".tmp"})
# What the tools and their helpers put beside models: not worth a word.
_DOCUMENTS = frozenset(
    {".txt", ".md", ".json", ".yaml", ".yml", ".info", ".html", ".csv", ".py", ".log", ".url"}
)
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".mp4", ".webm"})
_BESIDE = _DOCUMENTS | _PICTURES | {".ini", ".db", ".sha256", ".md5"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is a model by its name."""

    path: Path  # without symbolic links
    name: str  # as the tool shows it: the link's own where there is one
    below: tuple[str, ...]  # the subfolders between the folder of its type and the file
    hint: ModelType
    linked: Path | None = None  # the link it was found by


def candidates(root: Path, folders: list[ModelFolder], report: Report) -> list[Candidate]:
    """What lies in the folders, in the order of the paths; a file that is met twice counts once."""
    walk = _Walk(root, folders, report)
    for folder in folders:
        walk.take(folder)
    found: dict[Path, Candidate] = {}
    # A file by its own name goes before any link to it.
    for candidate in sorted(walk.found, key=lambda each: (each.linked is not None, each.linked or each.path)):
        first = found.setdefault(candidate.path, candidate)
        if first is not candidate and candidate.linked is not None:
            report.left_out(
                candidate.linked, f"a link to {_relative(root, first.path)}, which is taken as such"
            )
    return sorted(found.values(), key=lambda each: each.path)


def models_in(folder: Path) -> int:
    """How many files there are models by their name; links are not followed."""
    return sum(Path(name).suffix.lower() in SUFFIXES for _, _, files in os.walk(folder) for name in files)


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


class _Walk:
    def __init__(self, root: Path, folders: list[ModelFolder], report: Report) -> None:
        self._root = root
        self._report = report
        # Each of them is walked for itself, whatever else leads there.
        self._entered = {folder.path for folder in folders}
        self.found: list[Candidate] = []

    def take(self, folder: ModelFolder) -> None:
        """Take the files of a folder, and of those inside it."""
        pending: list[tuple[Path, tuple[str, ...]]] = [(folder.path, ())]
        while pending:
            path, below = pending.pop()
            for entry in self._entries(path):
                inner = self._take(entry, folder, below)
                if inner is not None and inner not in self._entered:
                    self._entered.add(inner)
                    pending.append((inner, (*below, entry.name)))

    def _entries(self, path: Path) -> list[Path]:
        try:
            return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            self._report.left_out(path, f"cannot be read: {error.strerror}")
            return []

    def _take(self, entry: Path, folder: ModelFolder, below: tuple[str, ...]) -> Path | None:
        """Keep the entry when it is a model by its name; a folder is handed back, to be entered."""
        try:
            linked = entry if entry.is_symlink() else None
            real = entry.resolve(strict=True) if linked else entry
            mode = real.stat().st_mode
        # RuntimeError is what Python 3.11 and 3.12 make of a loop.
        except (OSError, RuntimeError) as error:
            self._report.left_out(entry, _unreachable(error))
            return None
        if not real.is_relative_to(self._root):
            self._report.left_out(
                entry, f"a link to {real}, outside of the folder; the volume would not have it"
            )
            return None
        if stat.S_ISDIR(mode):
            if linked and entry.is_relative_to(real):
                self._report.left_out(entry, "a link to a folder that it lies in")
                return None
            return real
        reason = _unfit(entry.name, mode)
        if reason is None:
            hint = layouts.hint(folder, entry.name)
            self.found.append(Candidate(real, entry.name, below, hint, linked))
        elif reason:
            self._report.left_out(entry, reason)
        return None


def _unreachable(error: Exception) -> str:
    if isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno == errno.ELOOP):
        return "a link that leads to itself"
    if isinstance(error, FileNotFoundError):
        return "a broken link"
    return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"


def _unfit(name: str, mode: int) -> str | None:
    """Why a file is no model by its name; empty when that needs no telling, None when it may be one."""
    suffix = Path(name).suffix.lower()
    if suffix in _BESIDE:
        return ""
    if suffix in _UNFINISHED:
        return "an unfinished download"
    if suffix not in SUFFIXES:
        return f"by its name no model file ({', '.join(sorted(SUFFIXES))})"
    return None if stat.S_ISREG(mode) else "no regular file"
