"""What one chooses from on the page: checkpoints, cards of what is added to them, styles."""

import copy
import re

import numpy as np
from browsing import Visit, encoded, pixels_of, visit
from page_pod import Place, everything, hub_file
from playwright.sync_api import Browser, expect
from shapes import agreement, ask, pixels

PROMPT = "a large red circle on a white background"
CRESCENT = "a large red crescent on the left, white background"


def test_a_checkpoint_is_chosen_for_this_visit_alone(seen: Visit, browser: Browser, place: Place) -> None:
    seen.choose("Checkpoint", re.compile("demo-crescent"), seen.page.locator("body"))
    titles = [each["title"] for each in place.call("/sdapi/v1/sd-models")]
    (title,) = [each for each in titles if each.startswith("demo-crescent")]
    facts = seen.page.locator("#sd-top-facts")
    expect(facts).to_contain_text("Family: SD15")
    expect(facts).to_contain_text(title.partition("[")[2].rstrip("]"))
    seen.small(CRESCENT)
    (picture,) = seen.generate()
    assert "Model: demo-crescent" in picture.info["parameters"]
    assert agreement([encoded(picture)], [CRESCENT])[0]["shape"]
    assert "demo-sd15" in place.call("/sdapi/v1/options")["sd_model_checkpoint"]
    with visit(browser, place.url) as other:
        checkpoint = other.labelled("Checkpoint", other.page.locator("body"))
        expect(checkpoint).to_have_value(re.compile("demo-sd15"))


def test_a_checkpoint_that_came_later_is_there_after_refresh(seen: Visit, place: Place) -> None:
    kube = place.cluster
    more = copy.deepcopy(everything())
    source = hub_file("demo-crescent", "demo-crescent.safetensors")
    late = {"name": "late", "type": "Checkpoint", "fileName": "came-later.safetensors", "source": source}
    more["spec"]["files"].append(late)
    kube.apply(more)
    kube.wait(lambda: "came-later" in str(place.call("/sdapi/v1/sd-models")), "the file to be listed", 120)
    whole = seen.page.locator("body")
    seen.press("Refresh", whole)
    seen.choose("Checkpoint", re.compile("came-later"), whole)
    seen.small(CRESCENT)
    (picture,) = seen.generate()
    assert "Model: came-later" in picture.info["parameters"]


def test_a_loras_card_shows_what_it_is_and_a_click_writes_it_into_the_prompt(
    seen: Visit, place: Place
) -> None:
    seen.small(f"{PROMPT}, ")
    seen.cards("LoRA")
    card = seen.card("demo-gilded")
    expect(card).to_contain_text("gilded figures")
    picture = card.locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    card.click()
    prompt = seen.labelled("Prompt")
    expect(prompt).to_have_value(re.compile(r"<lora:demo-gilded:(1|1\.0|0\.8)>"))
    (made,) = seen.generate()
    assert 'Lora hashes: "demo-gilded: ' in made.info["parameters"]
    (wanted,) = place.call("/sdapi/v1/txt2img", ask(prompt.input_value()))["images"]
    assert np.array_equal(pixels_of(made), pixels(wanted))


def test_cards_of_embeddings_and_hypernetworks_insert_theirs(seen: Visit) -> None:
    seen.small("")
    seen.cards("Embeddings")
    seen.card("demo-goldie").click()
    expect(seen.labelled("Prompt")).to_have_value(re.compile("demo-goldie"))
    seen.cards("Hypernetworks")
    seen.card("demo-blackout").click()
    expect(seen.labelled("Prompt")).to_have_value(
        re.compile(r"demo-goldie.*<hypernet:demo-blackout:1(\.0)?>")
    )
    (made,) = seen.generate()
    assert "TI hashes" in made.info["parameters"]


def test_what_is_for_another_family_cannot_be_inserted_and_says_why(seen: Visit) -> None:
    seen.small(PROMPT)
    seen.cards("LoRA")
    card = seen.card("of-sdxl")
    expect(card.get_by_role("button")).to_have_attribute("aria-disabled", "true")
    expect(card).to_contain_text("SDXL")
    card.get_by_role("button").click(force=True)
    expect(seen.labelled("Prompt")).to_have_value(PROMPT)


def test_a_style_is_added_to_the_prompt_by_the_api(seen: Visit) -> None:
    seen.small("a large red circle")
    seen.choose("Styles", "On white")
    seen.page.keyboard.press("Escape")
    (picture,) = seen.generate()
    assert picture.info["parameters"].startswith("a large red circle, white background\n")
    assert agreement([encoded(picture)], [PROMPT])[0]["all"]
