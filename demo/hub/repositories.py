"""The folder a hub serves: `<root>/<organisation>/<name>/<files>`, read once at the start.

A repository has one revision, `main`. Its commit is made from the files' contents, so that it changes when
they do and is the same wherever they are served. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAIN = "main"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a repository."""

    location: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A model repository: its id (`organisation/name`), commit and files by their path within it."""

    id: str
    commit: str
    entries: Mapping[str, Entry]

    def has_revision(self, revision: str) -> bool:
        return revision in (MAIN, self.commit)


def read(root: Path) -> dict[str, Repository]:
    """All repositories below a folder, by id."""
    folders = (folder for folder in sorted(root.glob("*/*")) if folder.is_dir())
    return {repository.id: repository for repository in map(_read_one, folders)}


def _read_one(folder: Path) -> Repository:
    entries = {
        path.relative_to(folder).as_posix(): _read_entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    contents = "\n".join(f"{entry.sha256} {path}" for path, entry in entries.items())
    # The commit only names the contents, with the 40 digits that clients expect of one.
    commit = hashlib.sha256(contents.encode()).hexdigest()[:40]
    return Repository(id=f"{folder.parent.name}/{folder.name}", commit=commit, entries=entries)


def _read_entry(path: Path) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(location=path, size=path.stat().st_size, sha256=digest)
