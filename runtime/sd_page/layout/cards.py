"""Cards of LoRAs, embeddings and hypernetworks: a click inserts what uses one at the prompt's cursor.

The lists are HTML that the server writes; the browser inserts and searches (`static/cards.js`).
"""

import html
from collections.abc import Sequence

import gradio as gr

from sd_page import catalogue, words, words_cards
from sd_page.catalogue import Catalogue, Model
from sd_page.layout.form import Updates
from sd_page.words import say

#: Types of models in the order of their tabs, each with what its keys of words end in.
_TYPES = {
    catalogue.LORA: "lora",
    catalogue.EMBEDDING: "embedding",
    catalogue.HYPERNETWORK: "hypernetwork",
}
#: Trigger words that a card shows; what a LoRA was trained on may be hundreds.
_MOST_WORDS = 12


class Cards:
    """The cards of one tab."""

    def __init__(self, into: Sequence[str], lists: dict[str, gr.HTML]) -> None:
        self._into = into
        self._lists = lists

    @property
    def outputs(self) -> list[gr.HTML]:
        """All that `refill` changes."""
        return list(self._lists.values())

    def refill(self, known: Catalogue, language: words.Language) -> Updates:
        """What there is now, judged against the checkpoint that `known` was asked with."""
        return {
            shown: gr.update(value=listing(known.of_type(type_), type_, self._into, language))
            for type_, shown in self._lists.items()
        }


def cards(tab: str) -> Cards:
    """The three lists, as tabs. They insert into the tab's prompt, or its negative one where the cursor was
    there last."""
    with gr.Tabs(elem_id=f"sd-{tab}-cards"):
        lists = {}
        for type_, word in _TYPES.items():
            with gr.Tab(say(f"cards_{word}"), elem_id=f"sd-{tab}-cards-{word}"):
                lists[type_] = gr.HTML(
                    js_on_load=None, apply_default_css=False, elem_id=f"sd-{tab}-cards-{word}-list"
                )
    return Cards((f"sd-{tab}-prompt", f"sd-{tab}-negative_prompt"), lists)


def listing(models: Sequence[Model], type_: str, into: Sequence[str], language: words.Language) -> str:
    """One list as HTML. `into`: ids of the elements whose text fields are written in, the usual one first."""
    word = _TYPES[type_]
    name = words_cards.sentence(language, f"cards_list_{word}")
    search = words_cards.sentence(language, "cards_search")
    if not models:
        return f'<p class="sd-cards-none">{_text(words_cards.sentence(language, "cards_none"))}</p>'
    items = "".join(card(each, language) for each in models)
    inserted = words_cards.sentence(language, "cards_inserted", text="{text}")
    no_match = words_cards.sentence(language, "cards_no_match")
    return (
        f'<div class="sd-cards" data-into="{_text(" ".join(into))}" data-inserted="{_text(inserted)}">'
        f'<input type="search" class="sd-cards-search" aria-label="{_text(f"{search}: {name}")}"'
        f' placeholder="{_text(search)}" autocomplete="off" spellcheck="false">'
        f'<ul class="sd-cards-list" aria-label="{_text(name)}">{items}</ul>'
        f'<p class="sd-cards-none" hidden>{_text(no_match)}</p>'
        '<p class="sd-cards-said" role="status"></p>'
        "</div>"
    )


def card(model: Model, language: words.Language) -> str:
    """One card as an item of a list: a button that inserts, and one for each trigger word. One that cannot be
    used can be reached and read, and inserts nothing."""
    picture = '<span class="sd-card-blank" aria-hidden="true"></span>'
    if model.preview:
        picture = f'<img src="{_text(model.preview)}" alt="" loading="lazy" decoding="async">'
    barred = ' aria-disabled="true"' if model.reason else ""
    details = [f'<span class="sd-card-name">{_text(model.name)}</span>']
    if model.facts:
        details.append(f'<span class="sd-card-facts">{_text(model.facts)}</span>')
    if model.reason:
        reason = words_cards.sentence(language, "cards_barred", reason=model.reason)
        details.append(f'<span class="sd-card-reason">{_text(reason)}</span>')
    elif model.description:
        details.append(f'<span class="sd-card-description">{_text(model.description)}</span>')
    searched = " ".join((model.name, model.file, *model.trigger_words)).lower()
    return (
        f'<li class="sd-card" data-searched="{_text(searched)}">'
        f'<button type="button" class="sd-card-insert" data-insert="{_text(model.insert)}"'
        f' title="{_text(model.insert or model.name)}"{barred}>{picture}{"".join(details)}</button>'
        f"{_trigger_words(model, language)}</li>"
    )


def _trigger_words(model: Model, language: words.Language) -> str:
    if model.reason or not model.trigger_words:
        return ""
    label = words_cards.sentence(language, "cards_trigger_words", name=model.name)
    buttons = "".join(
        f'<button type="button" class="sd-card-word" data-insert="{_text(word)}">{_text(word)}</button>'
        for word in model.trigger_words[:_MOST_WORDS]
    )
    return f'<div class="sd-card-words" role="group" aria-label="{_text(label)}">{buttons}</div>'


def _text(text: str) -> str:
    return html.escape(text, quote=True)
