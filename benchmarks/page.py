"""How long it takes from opening the page to the first picture: `python -m benchmarks.page`.

A server of the demo's checkpoint is a process of its own, and Chromium (hack/chromium) opens its page with
an empty cache each time: the address, the page that can be used, the first picture. By turns, the same
picture by the API. `--url` measures a server that runs elsewhere, with the same model, in its place.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import table
from benchmarks.pictures import http, rig
from benchmarks.pictures.section import Section
from benchmarks.rig.processes import ROOT

REPEATS = 10
BODY: dict[str, Any] = http.BODY | {"steps": 20}
#: How the page calls what the request's body has.
FIELDS = {
    "Prompt": "prompt",
    "Width": "width",
    "Height": "height",
    "Sampling steps": "steps",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
}
WAIT = 120_000
#: The lists are filled, and the button can be pressed.
_READY = """() => { const button = document.querySelector('#sd-txt2img-generate');
    const lists = ['#sd-top-checkpoint input', '#sd-txt2img-sampler_name input'];
    return button && !button.disabled && lists.every(each => document.querySelector(each)?.value); }"""
_SHOWN = """() => { const image = document.querySelector('#sd-txt2img-gallery img');
    return image && image.complete && image.naturalWidth > 0; }"""


@dataclass
class Seconds:
    """Of one repeat each."""

    interactive: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    entered: list[float] = field(default_factory=list)
    picture: list[float] = field(default_factory=list)
    api: list[float] = field(default_factory=list)


def main() -> int:
    """0 when it was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="visits, and requests of the API")
    parser.add_argument("--url", help="a server that runs, in place of one of our own")
    parser.add_argument("--auth", help="its user:password")
    parser.add_argument("--output", type=Path, help="a file for the table")
    given = parser.parse_args()
    auth = tuple(given.auth.split(":", 1)) if given.auth else None
    with server(given.url) as url, chromium() as browser:
        text = section(measure(browser, url, auth, given.repeats), given.repeats).markdown()
    head = f"# The page\n\n{table.provenance_of(('runtime', 'modelfiles'))} {given.url or 'On loopback'}."
    print(f"{head}\n\n{text}")
    if given.output:
        given.output.write_text(f"{head}\n\n{text}\n")
    return 0


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The one that was given, else one of our own, which serves."""
    if url is not None:
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rig.lay_out(root)
        with http.serving(root) as base:
            yield base


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own, or Debian's."""
    found = subprocess.run(["hack/chromium"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=["--no-sandbox"])
        yield browser
        browser.close()


def measure(browser: Browser, url: str, auth: tuple[str, ...] | None, repeats: int) -> Seconds:
    """The page and the API by turns, after one round that is not counted."""
    seconds = Seconds()
    with httpx.Client(base_url=url, auth=auth, timeout=WAIT / 1000) as client:  # type: ignore[arg-type]
        for number in range(repeats + 1):
            taken = Seconds() if number == 0 else seconds
            _visit(browser, url, auth, taken)
            began = time.perf_counter()
            client.post("/sdapi/v1/txt2img", json=BODY).raise_for_status()
            taken.api.append(time.perf_counter() - began)
    return seconds


def _visit(browser: Browser, url: str, auth: tuple[str, ...] | None, taken: Seconds) -> None:
    """In a browser that has never been here."""
    credentials = {"username": auth[0], "password": auth[1]} if auth else None
    context = browser.new_context(http_credentials=credentials)  # type: ignore[arg-type]
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url, timeout=WAIT)
    page.wait_for_function(_READY, timeout=WAIT)
    opened = time.perf_counter()
    _enter(page)
    entered = time.perf_counter()
    page.locator("#sd-txt2img-generate").click()
    page.wait_for_function(_SHOWN, timeout=WAIT)
    shown = time.perf_counter()
    page.goto(url, timeout=WAIT)
    page.wait_for_function(_READY, timeout=WAIT)
    taken.again.append(time.perf_counter() - shown)
    context.close()
    taken.interactive.append(opened - began)
    taken.entered.append(entered - opened)
    taken.picture.append(shown - entered)


def _enter(page: Page) -> None:
    """What the request's body says."""
    panel = page.locator("#sd-txt2img")
    for label, name in FIELDS.items():
        plain = panel.get_by_label(label, exact=True)
        place = plain.or_(panel.get_by_label(f"number input for {label}", exact=True))
        place.filter(visible=True).fill(str(BODY[name]))
    sampler = page.get_by_label("Sampling method", exact=True).filter(visible=True)
    sampler.click()
    page.get_by_role("option", name=str(BODY["sampler_name"]), exact=True).filter(visible=True).click()


def section(seconds: Seconds, repeats: int) -> Section:
    """Medians and the slowest."""
    first = [sum(each) for each in zip(seconds.interactive, seconds.entered, seconds.picture, strict=True)]
    rows = [
        ("from the address to a page that can be used, nothing cached", seconds.interactive),
        ("the same once more, from the browser's cache", seconds.again),
        ("entering a request, as fast as a machine types", seconds.entered),
        ("from Generate to the picture on the page", seconds.picture),
        ("from the address to the first picture", first),
        ("the same picture by POST /sdapi/v1/txt2img", seconds.api),
    ]
    told = [(what, f"{statistics.median(each):.2f} s", f"{max(each):.2f} s") for what, each in rows]
    note = f"Of {repeats} visits, each in a fresh browser; {BODY['steps']} steps at 64x64."
    return Section("From opening the page to the first picture", ("what", "median", "slowest"), told, note)


if __name__ == "__main__":
    sys.exit(main())
