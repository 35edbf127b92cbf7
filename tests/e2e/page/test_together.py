"""How far one's job is, taking it back, and several people at once: each sees only what is his own."""

import re
import time
from collections.abc import Iterator

import pytest
from browsing import LONG, SOON, Visit, ready, visit
from page_pod import Place
from playwright.sync_api import Browser, expect

PROMPT = "a large red circle on a white background"
#: Takes a while on two processor cores.
SLOW = {"Width": 256, "Height": 256, "Sampling_steps": 150, "Batch_count": 2}


@pytest.fixture
def other(browser: Browser, place: Place) -> Iterator[Visit]:
    """Somebody else's browser."""
    with visit(browser, place.url) as found:
        yield found


def progress(seen: Visit) -> float:
    """0 to 100, of the job under way."""
    bar = seen.part("standing").get_by_role("progressbar")
    expect(bar).to_be_visible(timeout=SOON)
    return float(bar.get_attribute("aria-valuenow") or 0)


def start(seen: Visit, **values: object) -> None:
    """Begins a slow job and waits until it is on its way."""
    seen.small(PROMPT, **(SLOW | values))
    seen.press("Generate")
    seen.page.wait_for_function(
        "() => Number(document.querySelector('#sd-txt2img-standing [role=progressbar]')?.ariaValueNow) > 0",
        timeout=LONG,
    )


def test_a_job_tells_its_step_its_time_and_how_it_looks(seen: Visit) -> None:
    start(seen)
    first = progress(seen)
    expect(seen.part("standing")).to_contain_text(re.compile(r"\b\d+ ?(/|of) ?150\b"), timeout=SOON)
    expect(seen.part("standing")).to_contain_text(re.compile(r"\d+ ?s\b"), timeout=SOON)
    preview = seen.part("standing").locator("img")
    expect(preview).to_be_visible(timeout=SOON)
    seen.page.wait_for_function(
        "before => Number(document.querySelector('#sd-txt2img-standing [role=progressbar]')"
        "?.ariaValueNow) > before",
        arg=first,
        timeout=SOON,
    )
    seen.press("Cancel")
    seen.idle()


def test_cancel_takes_back_the_own_job(seen: Visit, place: Place) -> None:
    start(seen)
    seen.press("Cancel")
    seen.idle()
    # The call of the network that is under way goes on to its end.
    until = time.monotonic() + 20
    while (count := place.call("/sdapi/v1/progress")["state"]["job_count"]) and time.monotonic() < until:
        time.sleep(0.2)
    assert count == 0
    assert seen.shown() == []
    seen.small(PROMPT, Batch_count=1)
    assert len(seen.generate()) == 1


def test_who_waits_sees_its_place_and_takes_back_only_its_own(seen: Visit, other: Visit) -> None:
    """Another checkpoint's job waits until those before it are done."""
    start(seen)
    other.choose("Checkpoint", re.compile("demo-crescent"), other.page.locator("body"))
    other.small(PROMPT)
    other.press("Generate")
    expect(other.part("standing")).to_contain_text("place 1 in the queue", timeout=SOON)
    other.press("Cancel")
    other.idle()
    before = progress(seen)
    seen.page.wait_for_function(
        "before => Number(document.querySelector('#sd-txt2img-standing [role=progressbar]')"
        "?.ariaValueNow) > before",
        arg=before,
        timeout=SOON,
    )
    assert other.shown() == []
    seen.press("Cancel")
    seen.idle()


def test_two_at_once_see_their_own_pictures_alone(seen: Visit, other: Visit) -> None:
    seen.small(PROMPT, Seed=101, Sampling_steps=60)
    other.small("a small blue star on a white background", Seed=202, Sampling_steps=60)
    before = [set(each.shown()) for each in (seen, other)]
    for each in (seen, other):
        each.press("Generate")
    for each, known, seed in ((seen, before[0], 101), (other, before[1], 202)):
        (picture,) = each.await_pictures(known)
        assert f"Seed: {seed}," in picture.info["parameters"]
    for each, seed, foreign in ((seen, 101, 202), (other, 202, 101)):
        each.go("Gallery")
        (picture,) = each.pictures_of_gallery()
        assert f"Seed: {seed}," in picture.info["parameters"]
        assert f"Seed: {foreign}" not in each.page.content()


def test_a_stranger_gets_no_picture_by_its_address_without_the_password(
    seen: Visit, browser: Browser
) -> None:
    seen.small(PROMPT)
    seen.generate()
    (address,) = seen.shown()
    context = browser.new_context()
    assert context.request.get(address).status == 401
    context.close()


def test_a_page_that_is_loaded_again_goes_on_with_its_job(seen: Visit) -> None:
    seen.small(PROMPT, Seed=5)
    seen.generate()
    start(seen, Batch_count=1, Sampling_steps=60, Seed=6)
    seen.page.reload()
    ready(seen)
    progress(seen)
    seen.idle()
    until = time.monotonic() + 20
    while time.monotonic() < until and not seen.shown():
        seen.page.wait_for_timeout(200)
    told = [seen.open(each).info["parameters"] for each in seen.shown()]
    assert any("Seed: 6," in each for each in told), told
    seen.go("Gallery")
    kept = [each.info["parameters"] for each in seen.pictures_of_gallery()]
    assert any("Seed: 5," in each for each in kept), kept
