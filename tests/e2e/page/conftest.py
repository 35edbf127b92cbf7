"""One pod with everything the page can choose from, and a Chromium that looks at it.

E2E_PAGE=http://127.0.0.1:7860 looks at a server that somebody has started by hand instead, with the same
models, styles and user; what needs the cluster is then skipped.
"""

import contextlib
import os
from collections.abc import Iterator

import page_pod
import pytest
from browsing import Visit, chromium, visit
from conftest import make_namespace
from page_pod import Place
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if given := os.environ.get("E2E_PAGE"):
        yield Place(given.rstrip("/"))
        return
    cluster = request.getfixturevalue("cluster")
    with contextlib.contextmanager(make_namespace)(cluster, "page") as kube:
        page_pod.serve(kube)
        with kube.service_url("shapes") as url:
            yield Place(url, kube)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def seen(browser: Browser, place: Place) -> Iterator[Visit]:
    """The page in a fresh browser of desktop size."""
    with visit(browser, place.url) as found:
        yield found
