"""How the documentation becomes a site: `make site`, into build/site.

The source folder is the repository's root (`sphinx-build -c docs . build/site`), so that every link between
Markdown files is the same on a Git forge and on the site, and none is rewritten by hand. A file that a page
links to and that is no page, such as a manifest, is copied to the site; a link to a folder leads to the
folder's README, or to a list of its files that is made here. Knows nothing of what the pages say.
"""

import shutil
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

_ROOT = Path(__file__).resolve().parents[1]
#: Where the site has the folders that pages link to and that have no README.
_FOLDERS = "_folders"

project = "sd-operator"
author = "The sd-operator authors"
# No year: two builds of one commit are the same.
project_copyright = author
version = release = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
language = "en"

extensions = ["myst_parser"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/**.md", "**/README.md"]
# Sphinx would walk through them.
exclude_patterns = [".*", "build", "**/__pycache__", "**/node_modules"]
myst_heading_anchors = 5
nitpicky = True

html_theme = "furo"
html_title = f"sd-operator {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]
# The site's first page leads to docs/index.
html_extra_path = ["site"]


def _folder_of(link: pending_xref, app: Sphinx) -> str | None:
    """The folder of the repository that a link of a page leads to, if it leads to one."""
    path, _ = app.env.relfn2path(link["reftarget"].partition("#")[0], link["refdoc"])
    folder = path.rstrip("/")
    return folder if folder and (_ROOT / folder).is_dir() else None


def _lead_to_folders(app: Sphinx, doctree: nodes.document) -> None:
    """MyST finds files; links to folders are settled here, before it looks."""
    for link in list(doctree.findall(pending_xref)):
        folder = _folder_of(link, app) if link["reftype"] == "myst" and not link.get("refdomain") else None
        if folder is None:
            continue
        page = f"{folder}/README"
        if page not in app.env.all_docs:
            page = f"{_FOLDERS}/{folder}/index"
            app.env.metadata[app.env.docname].setdefault("folders", []).append(folder)
        address = relative_uri(f"{app.env.docname}.html", f"{page}.html")
        link.replace_self(nodes.reference("", "", *link.children, refuri=address, internal=True))


def _list_folders(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each such folder, with its files beside it."""
    for folder in sorted({each for page in app.env.metadata.values() for each in page.get("folders", [])}):
        shutil.copytree(_ROOT / folder, app.outdir / _FOLDERS / folder, dirs_exist_ok=True)
        files = sorted(path for path in (_ROOT / folder).iterdir() if path.is_file())
        items = "".join(f'<li><a href="{escape(path.name)}">{escape(path.name)}</a></li>' for path in files)
        body = f"<h1>{escape(folder)}</h1><ul>{items}</ul>"
        yield f"{_FOLDERS}/{folder}/index", {"title": folder, "body": body}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", _lead_to_folders)
    app.connect("html-collect-pages", _list_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
