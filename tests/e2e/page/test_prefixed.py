"""The page behind a path: a proxy that gives it on, and one that takes it away."""

from collections.abc import Iterator

import pytest
from browsing import Visit, visit
from page_pod import Place
from playwright.sync_api import Browser
from prefixing import prefixed
from shapes import call, instance

PROMPT = "a large red circle on a white background"
PATH = "/pictures/shapes"


@pytest.fixture(scope="module")
def inside(place: Place) -> Iterator[str]:
    """Address of an instance that knows of its path."""
    kube = place.cluster
    kube.apply(instance("prefixed", env=[{"name": "SD_ROOT_PATH", "value": PATH}]))
    kube.wait_condition("sdinstance", "prefixed", "Ready", seconds=300)
    with kube.service_url("prefixed") as url:
        yield url
    kube.run("delete", "sdinstance/prefixed", "--wait=true")


@pytest.mark.parametrize("strip", [False, True], ids=["the path is given on", "the path is taken away"])
def test_a_picture_is_made_under_the_path(browser: Browser, inside: str, strip: bool) -> None:
    with prefixed(inside, PATH, strip=strip) as outside, visit(browser, f"{outside}/") as seen:
        assert call(outside, "/sdapi/v1/sd-models")
        seen.small(PROMPT)
        (picture,) = seen.generate()
        assert picture.size == (64, 64)
        assert not _elsewhere(seen)


def _elsewhere(seen: Visit) -> list[str]:
    """What was asked for that is not below the page's address."""
    return [each for each in seen.requests if each.startswith("http") and not each.startswith(seen.url)]
