"""A card inserts exactly what its model says, whatever it is called; one that cannot be used says why."""

from dataclasses import replace
from html.parser import HTMLParser

import page_answers as answers
import pytest

from sd_page import catalogue, words
from sd_page.catalogue import Model
from sd_page.layout import cards

_MIDNIGHT, _XL = answers.known().of_type("LoRA")
_HOSTILE = "</button><script>alert(1)</script> \"x\" onload='y' &amp; ${value}"
_INTO = ("sd-txt2img-prompt", "sd-txt2img-negative_prompt")


class _Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if attributes.get("class") == name]


def _list(*models: Model, type_: str = catalogue.LORA, language: str = words.ENGLISH) -> _Elements:
    return _Elements(cards.listing(models, type_, _INTO, language))


def test_a_card_inserts_what_the_model_says() -> None:
    (button,) = _list(_MIDNIGHT).of_class("sd-card-insert")
    assert button["data-insert"] == "<lora:Midnight:1>"
    assert "aria-disabled" not in button


def test_trigger_words_are_inserted_one_by_one() -> None:
    shown = _list(_MIDNIGHT).of_class("sd-card-word")
    assert [each["data-insert"] for each in shown] == ["starry", "midnight blue"]


def test_of_hundreds_of_trigger_words_the_first_are_shown() -> None:
    many = replace(_MIDNIGHT, trigger_words=tuple(f"word {number}" for number in range(300)))
    shown = _list(many).of_class("sd-card-word")
    assert [each["data-insert"] for each in shown] == [f"word {number}" for number in range(12)]


def test_a_card_that_cannot_be_used_says_why_and_can_still_be_reached() -> None:
    told = _list(_XL)
    (button,) = told.of_class("sd-card-insert")
    assert button["aria-disabled"] == "true"
    assert "disabled" not in button
    assert "Cannot be used: It is for SDXL; the checkpoint is for SD15." in told.text


def test_trigger_words_of_a_model_that_cannot_be_used_are_not_offered() -> None:
    assert _list(replace(_MIDNIGHT, reason="no")).of_class("sd-card-word") == []


def test_whatever_a_model_says_stays_text() -> None:
    hostile = Model(
        type=catalogue.LORA,
        name=_HOSTILE,
        file=_HOSTILE,
        family=_HOSTILE,
        insert=_HOSTILE,
        trigger_words=(_HOSTILE,),
        description=_HOSTILE,
        preview=_HOSTILE,
    )
    told = _list(hostile, replace(hostile, reason=_HOSTILE))
    plain = _list(_MIDNIGHT, replace(_MIDNIGHT, reason="no"))
    assert {tag for tag, _ in told.found} == {tag for tag, _ in plain.found}
    assert told.of_class("sd-card-insert")[0]["data-insert"] == _HOSTILE
    assert told.text.count(_HOSTILE) == 7


def test_a_preview_is_shown_only_where_there_is_one() -> None:
    images = [attributes for tag, attributes in _list(_MIDNIGHT, _XL).found if tag == "img"]
    assert [(each["src"], each["alt"]) for each in images] == [
        ("v1/models/preview?type=LoRA&name=Midnight", "")
    ]


def test_cards_are_found_by_name_file_and_trigger_word() -> None:
    model = replace(_MIDNIGHT, file="styles/Night.safetensors")
    (item,) = _list(model).of_class("sd-card")
    searched = item["data-searched"] or ""
    assert all(word in searched for word in ("midnight", "styles/night", "starry"))


def test_a_list_knows_the_prompts_it_writes_in() -> None:
    (shown,) = _list(_MIDNIGHT).of_class("sd-cards")
    assert shown["data-into"] == "sd-txt2img-prompt sd-txt2img-negative_prompt"


@pytest.mark.parametrize("language", [words.ENGLISH, words.CHINESE])
@pytest.mark.parametrize("type_", [catalogue.LORA, catalogue.EMBEDDING, catalogue.HYPERNETWORK])
def test_a_list_has_a_name_of_its_own_in_every_language(type_: str, language: str) -> None:
    told = _list(_MIDNIGHT, type_=type_, language=language)
    (search,) = told.of_class("sd-cards-search")
    (shown,) = told.of_class("sd-cards-list")
    assert shown["aria-label"] in (search["aria-label"] or "")


def test_a_list_without_models_says_so() -> None:
    assert _list().text == "There are none in this server's folder of models."
