"""The documentation as a site: every page is built without a warning, and every link leads somewhere."""

import html.parser
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Page(html.parser.HTMLParser):
    """Where a page links to, and where it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {each for each in (given.get("id"), given.get("name")) if each}
        self.links += [each for key in ("href", "src") if (each := given.get(key))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Built as `make site` does, in a process of its own: Sphinx keeps much in module globals."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-j", "auto", "-c", "docs"]
    done = subprocess.run(
        [*command, "-d", str(out / "doctrees"), ".", str(out / "html")],
        cwd=ROOT,
        # Sphinx's own deprecations, of which MyST has some, are not ours to act on.
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_no_link_of_the_site_is_dead(site: pathlib.Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.is_file() or (target in pages and anchor not in pages[target].anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


def test_every_page_is_reached_from_the_first(site: pathlib.Path) -> None:
    begin = site / "index.html"
    seen, ahead = set[pathlib.Path](), [begin]
    while ahead:
        path = ahead.pop()
        if path in seen or path.suffix != ".html":
            continue
        seen.add(path)
        text = path.read_text()
        ahead += [
            target
            for link in [*Page(text).links, *(["docs/index.html"] if path == begin else [])]
            if (target := (path.parent / link.partition("#")[0]).resolve()).is_file()
        ]
    own = {"search.html", "genindex.html"}
    assert {str(path.relative_to(site)) for path in set(site.rglob("*.html")) - seen} - own == set()


def test_no_script_or_font_comes_from_another_host(site: pathlib.Path) -> None:
    """The pages are read in clusters without a way out, too."""
    for path in site.rglob("*.html"):
        for line in path.read_text().splitlines():
            if "<script" in line or "<link" in line:
                assert 'src="http' not in line, (path, line)
                assert 'href="http' not in line, (path, line)
