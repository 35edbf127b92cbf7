"""A visitor of the page: what somebody does in a browser, by the names that are read there, and sees.

Knows how Gradio builds its components, so that no test has to. Expectations are the tests' own.
"""

import base64
import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from conftest import ROOT
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from shapes import PASSWORD, USER, Pixels

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
#: Milliseconds for what the server answers at once, and for pictures.
SOON, LONG = 20_000, 120_000
#: Milliseconds between two looks at what moves, and how many that are alike mean that it has come to rest.
_LOOK, _AT_REST = 200, 4
_CHANGED = "ERR_NETWORK_CHANGED"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that hack/chromium finds or installs."""
    found = subprocess.run(["hack/chromium"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A browser of its own (cookies, storage) with the page open, and the tab of it one is in."""

    page: Page
    url: str
    tab: str = "txt2img"
    #: Addresses of all that the browser asked for.
    requests: list[str] = field(default_factory=list)
    #: What the browser itself told of as wrong.
    complaints: list[str] = field(default_factory=list)
    #: Why requests had no answer.
    broken: list[str] = field(default_factory=list)

    @property
    def panel(self) -> Locator:
        """What belongs to the tab."""
        return self.page.locator(f"#sd-{self.tab}")

    def go(self, tab: str) -> None:
        head = self.page.locator("#sd-tabs > .tab-wrapper")
        shown = head.get_by_role("tab", name=tab, exact=True)
        if not shown.is_visible():
            # Where there is no room for all, the others are in a menu.
            head.get_by_role("button", name="More tabs").click()
            shown = head.locator(".overflow-dropdown").get_by_role("button", name=tab, exact=True)
        shown.click()
        self.tab = {"PNG info": "png-info"}.get(tab, tab.lower())

    def part(self, name: str) -> Locator:
        """An element of the tab by its id."""
        return self.page.locator(f"#sd-{self.tab}-{name}")

    def labelled(self, label: str, within: Locator | None = None) -> Locator:
        """The one visible field of that name; of a slider its number."""
        inside = within or self.panel
        plain = inside.get_by_label(label, exact=True)
        return plain.or_(inside.get_by_label(f"number input for {label}", exact=True)).filter(visible=True)

    def fill(self, **values: object) -> None:
        """Fields by name, with underscores for blanks."""
        for name, value in values.items():
            self.enter(name.replace("_", " "), value)

    def enter(self, label: str, value: object, within: Locator | None = None) -> None:
        """Types into a field and leaves it."""
        place = self.labelled(label, within)
        place.fill(str(value))
        place.blur()

    def choose(self, label: str, option: str | re.Pattern[str], within: Locator | None = None) -> None:
        """An entry of a list."""
        self.labelled(label, within).click()
        entry = self.page.get_by_role("option", name=option, exact=isinstance(option, str))
        entry.filter(visible=True).first.click()

    def press(self, name: str, within: Locator | None = None) -> None:
        (within or self.panel).get_by_role("button", name=name, exact=True).filter(visible=True).click()

    def unfold(self, name: str) -> None:
        """Opens a part of the tab that is folded."""
        head = self.panel.get_by_role("button", name=name).filter(visible=True).first
        if "open" not in (head.get_attribute("class") or ""):
            head.click()

    def small(self, prompt: str, **values: object) -> None:
        """A request like `shapes.ask`, and what else is to be entered."""
        plain = {"Width": 64, "Height": 64, "Sampling_steps": 20, "CFG_scale": 3, "Seed": 1}
        self.fill(Prompt=prompt, **(plain | values))
        self.choose("Sampling method", "Euler")

    def inner(self, name: str) -> None:
        """Goes to a tab within the tab."""
        self.panel.get_by_role("tab", name=name, exact=True).filter(visible=True).click()

    def tick(self, label: str, within: Locator | None = None) -> None:
        (within or self.panel).get_by_label(label, exact=True).filter(visible=True).first.check()

    def cards(self, kind: str) -> None:
        """Opens the cards of LoRAs, Embeddings or Hypernetworks."""
        self.panel.get_by_role("tab", name=kind, exact=True).filter(visible=True).click()

    def card(self, name: str) -> Locator:
        return self.panel.locator(".sd-card").filter(visible=True).filter(has_text=name).first

    def draw(self, editor: Locator, line: list[tuple[float, float]], *, side: int, radius: int) -> None:
        """Paints along a line of points, which are shares of a square picture's sides, with the mouse."""
        size = editor.get_by_role("button", name="Brush Size", exact=True)
        # The editor takes up its brush by itself once the picture is there.
        expect(size).to_be_visible(timeout=LONG)
        size.click()
        editor.locator("input[type=range]").last.fill(str(radius))
        size.click()
        editor.locator("canvas").last.scroll_into_view_if_needed()
        # The picture is in the middle of its canvas, this many times enlarged.
        shown = side * self._zoom(editor)
        box = editor.locator("canvas").last.bounding_box()
        assert box is not None
        (first, *others) = [
            (
                box["x"] + box["width"] / 2 + (x - 0.5) * shown,
                box["y"] + box["height"] / 2 + (y - 0.5) * shown,
            )
            for x, y in line
        ]
        mouse = self.page.mouse
        mouse.move(*first)
        mouse.down()
        for point in others:
            mouse.move(*point, steps=12)
        mouse.up()

    def _zoom(self, editor: Locator) -> float:
        """How many times enlarged an editor shows its picture, once it has come to rest."""
        told = editor.get_by_role("button", name="%")
        seen: list[str] = []
        while len(seen) < _AT_REST or len(set(seen[-_AT_REST:])) > 1:
            self.page.wait_for_timeout(_LOOK)
            seen.append(told.inner_text())
        return float(seen[-1].rstrip("%")) / 100

    # Pictures.

    def shown(self) -> list[str]:
        """Addresses of the pictures that came out in this tab."""
        found: list[str] = (
            self.part("gallery")
            .locator("button img")
            .evaluate_all("images => [...new Set(images.map(image => image.src))]")
        )
        return found

    def generate(self, count: int = 1) -> list[Image.Image]:
        """Presses Generate and waits for so many new pictures."""
        before = set(self.shown())
        self.press("Generate")
        return self.await_pictures(before, count)

    def await_pictures(self, before: set[str], count: int = 1) -> list[Image.Image]:
        names = json.dumps(sorted(before))
        self.page.wait_for_function(
            f"""() => {{
                const seen = new Set([...document.querySelectorAll('#sd-{self.tab}-gallery button img')]
                    .map(image => image.src).filter(each => !{names}.includes(each)));
                return seen.size >= {count};
            }}""",
            timeout=LONG,
        )
        self.idle()
        return [self.open(each) for each in self.shown() if each not in before]

    def idle(self) -> None:
        """Waits until nothing is under way in the tab."""
        expect(self.page.get_by_role("progressbar").filter(visible=True)).to_have_count(0, timeout=LONG)

    def open(self, address: str) -> Image.Image:
        """The picture of an address, with what it tells of its making."""
        answer = self.page.context.request.get(address)
        assert answer.ok, (answer.status, address)
        return Image.open(io.BytesIO(answer.body()))

    def give(self, picture: Image.Image | bytes, place: Locator) -> None:
        """Uploads a picture to a field."""
        content = picture if isinstance(picture, bytes) else png(picture)
        file = {"name": "picture.png", "mimeType": "image/png", "buffer": content}
        place.locator("input[type=file]").first.set_input_files([file])  # type: ignore[list-item]

    def pictures_of_gallery(self) -> list[Image.Image]:
        """What the tab Gallery has, where one must be."""
        self.tab = "gallery"
        expect(self.panel.locator("button img").first).to_be_visible(timeout=SOON)
        return [self.open(each) for each in self.shown()]

    def parameters(self) -> Locator:
        """Where the tab tells how a picture was made."""
        return self.part("infotext").locator("textarea")

    def alerts(self) -> str:
        return " ".join(self.page.get_by_role("alert").filter(visible=True).all_inner_texts())

    def note(self, status: int, url: str) -> None:
        """Of an answer: a challenge is how a browser learns that there is a password."""
        if status >= 400 and status != 401:
            self.complaints.append(f"{status} {url}")

    def foreign(self) -> set[str]:
        """Other hosts than the page's that the browser asked."""
        hosts = {urlsplit(each).netloc for each in self.requests if urlsplit(each).scheme in _OUTSIDE}
        return hosts - {urlsplit(self.url).netloc}


_OUTSIDE = ("http", "https", "ws", "wss")


@contextlib.contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """Opens the page in a context of its own (`options` are the context's) and waits until it can be used."""
    context = browser.new_context(
        **{
            "viewport": DESKTOP,
            "locale": "en-US",
            "http_credentials": {"username": USER, "password": PASSWORD},
            **options,
        }
    )
    try:
        yield arrive(context, url)
    finally:
        context.close()


def arrive(context: BrowserContext, url: str) -> Visit:
    """A new page of the context."""
    context.set_default_timeout(SOON)
    page = context.new_page()
    found = Visit(page, url)
    context.on("request", lambda request: found.requests.append(request.url))
    page.on("websocket", lambda socket: found.requests.append(socket.url))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("response", lambda answer: found.note(answer.status, answer.url))
    page.on("requestfailed", lambda request: found.broken.append(str(request.failure)))
    page.goto(url)
    ready(found)
    return found


def ready(visit: Visit) -> None:
    """Waits until the page can be used: the server has said what there is to choose from. Chromium gives up
    whatever it is fetching when an interface of its machine comes or goes, as those of pods do on a node;
    the page is then opened again."""
    while True:
        try:
            _filled(visit, SOON)
            return
        except AssertionError:
            if not any(_CHANGED in each for each in visit.broken):
                break
        visit.broken.clear()
        visit.complaints.clear()
        visit.page.reload()
    _filled(visit, LONG)


def _filled(visit: Visit, timeout: float) -> None:
    for name in ("checkpoint", "sampler_name"):
        field = visit.page.locator(f"#sd-top-{name}, #sd-txt2img-{name}").locator("input")
        expect(field).not_to_have_value("", timeout=timeout)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def encoded(picture: Image.Image) -> str:
    """In base64, as the API's answers have it."""
    return base64.b64encode(png(picture)).decode()


def pixels_of(picture: Image.Image) -> Pixels:
    """(height, width, 3), signed."""
    return np.asarray(picture.convert("RGB")).astype(np.int16)
