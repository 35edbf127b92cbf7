"""The whole page: what stands above the tabs, the tabs, and what leads from one to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from sd_page import pictures, reading, requests, units, words
from sd_page.api import Door, Refused
from sd_page.blocks import Page
from sd_page.layout import (
    cards,
    control,
    extras,
    gallery,
    hires,
    img2img,
    output,
    png_info,
    prompt,
    sampling,
    top,
)
from sd_page.layout.cards import Cards
from sd_page.layout.control import Units
from sd_page.layout.form import Form, Updates
from sd_page.layout.img2img import Source
from sd_page.layout.lists import Lists, Parts
from sd_page.layout.output import Output
from sd_page.layout.prompt import Prompt
from sd_page.layout.running import Keeping, Running
from sd_page.layout.sampling import Sampling
from sd_page.layout.sending import Places, Sending
from sd_page.layout.top import Top
from sd_page.session import SHELF, Session
from sd_page.words import say

#: The browser's storage is its own; this only keeps it apart from other pages of the same server.
_STORED, _NO_SECRET = "sd-jobs", "sd-page"
#: Events that wait, and pages that are kept; of more, the oldest are forgotten and have to be loaded again.
_MOST_EVENTS, _MOST_SESSIONS = 512, 256


@dataclass(frozen=True)
class Making:
    """A tab that makes pictures of a prompt."""

    form: Form
    prompt: Prompt
    sampling: Sampling
    cards: Cards
    units: Units
    output: Output
    source: Source | None


def build(door: Door, folder: Path, most_pixels: int) -> gr.Blocks:
    """The page's Blocks; every visitor's requests go through `door`, files of pictures below `folder`.
    `most_pixels`: what the interface takes of one picture."""
    blocks = Page(folder, title="Stable Diffusion", analytics_enabled=False, fill_width=True)
    with blocks:
        state = gr.State(Session())
        browser = gr.BrowserState([], storage_key=_STORED, secret=_NO_SECRET)
        above = top.build()
        with gr.Tabs(elem_id="sd-tabs", selected="txt2img") as tabs:
            with gr.Tab(say("txt2img"), id="txt2img", elem_id="sd-txt2img"):
                first = _making("txt2img", above, door, most_pixels)
            with gr.Tab(say("img2img"), id="img2img", elem_id="sd-img2img"):
                second = _making("img2img", above, door, most_pixels)
            with gr.Tab(say("extras"), id="extras", elem_id="sd-extras"):
                third = extras.build(most_pixels)
            with gr.Tab(say("png_info"), id="png-info", elem_id="sd-png-info"):
                info = png_info.build(door)
            with gr.Tab(say("gallery"), id=SHELF, elem_id="sd-gallery"):
                shelf = gallery.build()
        keeping = Keeping(door, folder, most_pixels, state, browser, shelf.gallery)
        _run(blocks, keeping, first, second, third)
        parts = Parts(above, (first.form, second.form), third.form, (first.units, second.units),
                      (first.cards, second.cards))  # fmt: skip
        Lists(door, parts).wire(blocks)
        assert second.source is not None
        places = Places(
            tabs,
            {"txt2img": first.form, "img2img": second.form},
            {"txt2img": first.units, "img2img": second.units},
            second.source,
            third.picture,
            info,
        )
        _lead_on(Sending(door, places, state, most_pixels), state, first, second, third, shelf)
        # The interface has a queue of jobs, and bounds it; this one is of what the page's parts do.
        blocks.queue(default_concurrency_limit=None, max_size=_MOST_EVENTS, api_open=False)
        blocks.state_session_capacity = _MOST_SESSIONS
    # Gradio looks for every component that shows progress in the whole tree, at every stage of every event.
    for each in blocks.fns.values():
        each.show_progress_on = [above.alert]
    return blocks


def _making(tab: str, above: Top, door: Door, most_pixels: int) -> Making:
    form = Form(tab)
    form.add(top.CHECKPOINT, above.checkpoint)
    form.add(top.VAE, above.vae)
    form.add(top.CLIP_SKIP, above.clip_skip)
    typed = prompt.build(form)
    source = None
    with gr.Row():
        with gr.Column(min_width=300):
            if tab == "img2img":
                source = img2img.build(form, most_pixels)
            sampled = sampling.build(form)
            if tab == "txt2img":
                hires.build(form)
            steered = control.control(form, door, above.checkpoint, most_pixels)
            shown_cards = cards.cards(tab)
        with gr.Column(min_width=300, elem_classes="sd-results"):
            shown = output.build(form)
    return Making(form, typed, sampled, shown_cards, steered, shown, source)


def _run(blocks: gr.Blocks, keeping: Keeping, first: Making, second: Making, third: extras.Extras) -> None:
    source, most = second.source, keeping.most_pixels
    assert source is not None

    def of_txt2img(values: dict[str, Any], _given: Mapping[Component, Any]) -> dict[str, Any]:
        pictures.judge(units.named(values), most)
        return requests.txt2img(values, units.args(values))

    def of_img2img(values: dict[str, Any], given: Mapping[Component, Any]) -> dict[str, Any]:
        mode = given[source.mode]
        pictures.judge([*requests.named(values, mode), *units.named(values)], most)
        return requests.img2img(values, mode, units.args(values))

    def of_extras(values: dict[str, Any], _given: Mapping[Component, Any]) -> dict[str, Any]:
        pictures.judge([("image", values["image"])] if values["image"] else [], most)
        return requests.extras(values)

    Running("txt2img", first.form, first.prompt.buttons, first.output, keeping, of_txt2img).wire(blocks)
    Running("img2img", second.form, second.prompt.buttons, second.output, keeping, of_img2img).wire(
        blocks, more_inputs=frozenset({source.mode})
    )
    Running("extras", third.form, third.buttons, third.output, keeping, of_extras).wire(blocks)


def _lead_on(
    sending: Sending, state: gr.State, first: Making, second: Making, third: extras.Extras, shelf: Output
) -> None:
    """Choosing a picture, and sending it on."""
    shown = {
        "txt2img": first.output,
        "img2img": second.output,
        "extras": third.output,
        SHELF: shelf,
    }
    for tab, output_ in shown.items():
        _choose(tab, state, output_)
        sending.from_pictures(tab, output_.send, output_.alert)
    sending.from_png_info()
    for tab, making in (("txt2img", first), ("img2img", second)):
        sending.from_prompt(tab, making.prompt.read, making.prompt.prompt, making.output.alert)
        _reuse(tab, state, making)


def _choose(tab: str, state: gr.State, shown: Output) -> None:
    def choose(session: Session, event: gr.SelectData) -> str:
        session.chosen[tab] = int(event.index)
        picture = session.selected(tab)
        return picture.infotext if picture else ""

    shown.gallery.select(choose, [state], [shown.infotext], show_progress="hidden", api_visibility="private")


def _reuse(tab: str, state: gr.State, making: Making) -> None:
    def reuse(session: Session, request: gr.Request) -> Updates | Any:
        picture = session.selected(tab)
        seed = reading.seed_of(picture.infotext) if picture else None
        if seed is None:
            return gr.skip()
        if reading.can_be_shown(seed):
            return {making.sampling.seed: gr.update(value=seed)}
        told = words.sentence(words.language_of(request.headers), "too_large")
        fields, updates = making.form.complaint(Refused(422, "TooLarge", told, "seed")) or ([], {})
        session.complained.setdefault(tab, []).extend(fields)
        return updates

    making.sampling.reuse.click(
        reuse, [state], [making.sampling.seed], show_progress="hidden", api_visibility="private"
    )
