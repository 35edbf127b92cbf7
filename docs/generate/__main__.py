"""Writes the pages that are made from code and charts: `python -m docs.generate [--check]`.

Each page has a module that makes its text (A1111's table has its own, in the runtime). Nothing here knows how
pages become a site.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docs.generate import conditions, metrics, reference, rights, settings
from sd_runtime.a1111 import compatibility

FOLDER: Final = Path(__file__).resolve().parents[1]

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "a1111-compatibility.md": lambda: compatibility.markdown() + "\n",
    "conditions.md": conditions.document,
    "metrics.md": metrics.document,
    "rbac.md": rights.document,
    "reference.md": reference.document,
    "settings.md": settings.document,
}


def stale() -> list[str]:
    """The pages that are not what the code says now."""
    return [
        name
        for name, text in PAGES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text()
    ]


def main(arguments: list[str]) -> int:
    """Write them, or with --check say which are stale."""
    if arguments == ["--check"]:
        names = stale()
        for name in names:
            sys.stderr.write(f"docs/{name} is stale: run `make docs`\n")
        return 1 if names else 0
    if arguments:
        sys.stderr.write(f"usage: python -m docs.generate [--check] (got {' '.join(arguments)})\n")
        return 2
    for name, text in PAGES.items():
        (FOLDER / name).write_text(text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
