"""What one browser session has: its jobs, and the pictures that came of them.

Kept on the server for as long as the page is open; the ids of its jobs also in the browser, so that a page
that is loaded anew finds them again.
"""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sd_page.reading import Made, ending_of, seed_of

#: Jobs that a page that is loaded anew looks for.
_REMEMBERED = 20
#: The tab that shows all pictures, and how many at most.
SHELF = "gallery"
_MOST = 200
#: The form of a job's id: whose it is, where there are several replicas, and which.
_JOB = re.compile(r"[0-9a-f]+(?:\.[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's file, below the page's folder."""

    path: Path
    infotext: str
    job: str


@dataclass
class Session:
    """Belongs to one page in one browser; handed to every handler of it."""

    #: Tab by job, in the order of their beginning.
    jobs: dict[str, str] = field(default_factory=dict)
    #: The job under way, by tab.
    running: dict[str, str] = field(default_factory=dict)
    #: The pictures that a tab shows, and which of them is chosen; the gallery has all, the newest first.
    shown: dict[str, list[Picture]] = field(default_factory=lambda: {SHELF: []})
    chosen: dict[str, int] = field(default_factory=dict)
    #: The fields that a refusal's sentences stand beside, by tab.
    complained: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, tab: str, job: str) -> None:
        """A job was handed in."""
        self.jobs[job] = tab
        self.running[tab] = job

    def end(self, tab: str) -> None:
        """The tab's job has ended, however."""
        self.running.pop(tab, None)

    def forget(self, job: str) -> None:
        """The server no longer knows it."""
        self.jobs.pop(job, None)

    def take(self, tab: str, job: str, made: list[Made], folder: Path) -> list[Picture]:
        """Keeps a job's pictures as files, and shows them in the tab. Their names cannot be guessed: whoever
        knows one may fetch it."""
        own = folder / secrets.token_urlsafe(16)
        own.mkdir(parents=True, mode=0o700)
        taken = []
        for place, each in enumerate(made):
            seed = seed_of(each.infotext)
            name = f"{place:05}{'' if seed is None else f'-{seed}'}.{ending_of(each.data)}"
            (own / name).write_bytes(each.data)
            taken.append(Picture(own / name, each.infotext, job))
        self.shown[tab], self.chosen[tab] = taken, 0
        self.shown[SHELF] = [*taken, *(each for each in self.shown[SHELF] if each.job != job)][:_MOST]
        self.chosen[SHELF] = 0
        return taken

    def selected(self, tab: str) -> Picture | None:
        """The picture that is chosen in a tab; None: there is none."""
        shown = self.shown.get(tab) or []
        chosen = self.chosen.get(tab, 0)
        return shown[chosen] if 0 <= chosen < len(shown) else None

    def stored(self) -> list[list[str]]:
        """What the browser keeps."""
        return [[job, tab] for job, tab in self.jobs.items()][-_REMEMBERED:]

    def adopt(self, stored: Any) -> None:
        """Takes over what a browser has kept; what is not of this form is passed over."""
        for each in stored if isinstance(stored, list) else []:
            if isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each):
                job, tab = each
                if _JOB.fullmatch(job):
                    self.jobs.setdefault(job, tab)
