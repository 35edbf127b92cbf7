"""How the page looks and reads: for everybody's senses, at any size, dark and light, in two languages.

Screenshots are left in build/page.
"""

import io
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import DESKTOP, PHONE, Visit, visit
from conftest import ROOT
from page_pod import Place
from PIL import Image
from playwright.sync_api import Browser, expect

PROMPT = "a large red circle on a white background"
TABS = ("txt2img", "img2img", "Extras", "PNG info", "Gallery")
SIZES = {"desktop": DESKTOP, "phone": PHONE}
SHOTS = ROOT / "build" / "page"


def photograph(seen: Visit, name: str, *, whole: bool = True) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    seen.page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(browser: Browser, place: Place, size: str, scheme: str) -> None:
    with visit(browser, place.url, viewport=SIZES[size], color_scheme=scheme) as seen:
        seen.small(PROMPT)
        seen.generate()
        found = {}
        for tab in TABS:
            seen.go(tab)
            seen.page.wait_for_timeout(400)  # fading in, texts are of less contrast
            photograph(seen, f"{tab.replace(' ', '-')}-{size}-{scheme}")
            for finding in Axe().run(seen.page).response["violations"]:
                if finding["impact"] in ("serious", "critical"):
                    found[f"{tab}: {finding['id']}"] = [each["html"][:300] for each in finding["nodes"]]
        assert not found


@pytest.mark.parametrize("tab", TABS)
def test_nothing_is_cut_off_on_a_phone(browser: Browser, place: Place, tab: str) -> None:
    with visit(browser, place.url, viewport=PHONE, has_touch=True, is_mobile=True) as seen:
        seen.go(tab)
        for part in ("Hires. fix", "ControlNet"):
            if seen.panel.get_by_role("button", name=part).filter(visible=True).count():
                seen.unfold(part)
        widths = seen.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1] == PHONE["width"]
        outside = seen.page.evaluate(_OUTSIDE, PHONE["width"])
        assert not outside


#: What one presses or fills in that does not lie within the width, and can be scrolled to by nothing.
_OUTSIDE = """width => [...document.querySelectorAll('button, input, textarea, select')]
    .filter(each => each.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}))
    .filter(each => { const box = each.getBoundingClientRect();
        return box.width > 2 && (box.left < -1 || box.right > width + 1); })
    .filter(each => !each.closest('[aria-hidden=true]'))
    .filter(each => { for (let up = each.parentElement; up; up = up.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return false; return true; })
    .map(each => each.outerHTML.slice(0, 200))"""


def test_a_picture_is_made_on_a_phone(browser: Browser, place: Place) -> None:
    with visit(browser, place.url, viewport=PHONE, has_touch=True, is_mobile=True) as seen:
        seen.small(PROMPT)
        button = seen.part("generate")
        button.scroll_into_view_if_needed()
        expect(button).to_be_in_viewport(ratio=1)
        assert len(seen.generate()) == 1


def brightness(seen: Visit) -> float:
    """0 to 255, of what is behind everything."""
    shot = Image.open(io.BytesIO(seen.page.screenshot())).convert("L")
    return float(np.median(np.asarray(shot)))


def test_the_page_follows_the_systems_darkness_and_a_switch(browser: Browser, place: Place) -> None:
    for scheme, is_dark in (("dark", True), ("light", False)):
        with visit(browser, place.url, color_scheme=scheme) as seen:
            assert (brightness(seen) < 100) == is_dark
            seen.page.get_by_role("button", name=re.compile("dark|light", re.I)).first.click()
            seen.page.wait_for_timeout(500)
            assert (brightness(seen) < 100) != is_dark


def test_the_page_is_chinese_in_a_chinese_browser(browser: Browser, place: Place) -> None:
    with visit(browser, place.url, locale="zh-CN") as seen:
        expect(seen.part("generate")).to_have_text("生成")
        text = seen.page.locator("body").inner_text()
        for words in ("提示词", "采样", "模型", "种子"):
            assert words in text
        for english in ("Sampling steps", "Negative prompt", "Batch count", "Generate", "Checkpoint"):
            assert english not in text
        photograph(seen, "txt2img-desktop-chinese")


def test_no_other_host_is_asked(seen: Visit) -> None:
    seen.small(PROMPT)
    seen.generate()
    for tab in TABS:
        seen.go(tab)
        seen.page.wait_for_timeout(300)
    assert len(seen.requests) > 20
    assert seen.foreign() == set()


def test_the_browser_complains_of_nothing(browser: Browser, place: Place) -> None:
    with visit(browser, place.url) as seen:
        seen.small(PROMPT)
        seen.generate()
        assert seen.complaints == []
