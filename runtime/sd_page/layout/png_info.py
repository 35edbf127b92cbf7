"""The tab that reads what a picture tells of its making."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components.base import Component

from sd_page import pictures, requests, words
from sd_page.api import Api, Door, Refused
from sd_page.layout import img2img
from sd_page.layout.form import Form, Updates
from sd_page.words import say


@dataclass(frozen=True)
class PngInfo:
    """Components that events speak of."""

    form: Form
    picture: gr.Image
    infotext: gr.Textbox
    alert: gr.HTML
    #: Buttons by destination.
    send: dict[str, gr.Button]


def build(door: Door) -> PngInfo:
    """Builds it here."""
    form = Form("png-info")
    with gr.Row():
        with gr.Column(min_width=300):
            wrong = img2img.beside(form)
            picture = img2img.picture(form, "image", "picture", wrong)
        with gr.Column(min_width=300):
            alert = gr.HTML(visible=False, elem_id=form.id("alert"), elem_classes="sd-alert")
            infotext = gr.Textbox(
                label=say("parameters"),
                lines=8,
                interactive=False,
                buttons=["copy"],
                elem_id=form.id("infotext"),
            )
            with gr.Row(elem_classes="sd-send"):
                labels = ("txt2img", "img2img", "inpaint", "extras")
                send = {
                    each: gr.Button(
                        say(f"to_{each}"), size="sm", min_width=130, elem_id=form.id(f"to-{each}")
                    )
                    for each in labels
                }
    built = PngInfo(form, picture, infotext, alert, send)
    _wire(door, built)
    return built


def _wire(door: Door, built: PngInfo) -> None:
    form = built.form

    async def read(given: dict[Component, Any], request: gr.Request) -> Updates:
        language = words.language_of(request.headers)
        path = form.values(given)["image"]
        cleared = form.cleared("image")
        if not path:
            return cleared | {built.infotext: ""}
        # However large: what is read stands before its pixels.
        if pictures.wrong_with(path, None) is not None:
            return form.judged("image", path, None, language) | {built.infotext: ""}
        try:
            told = await ask(door.api(request.headers), requests.base64_of(path))
        except Refused as refused:
            _, updates = form.complaint(refused) or ([], {})
            return updates | {built.infotext: ""}
        return cleared | {built.infotext: told["info"] or words.sentence(language, "no_parameters")}

    built.picture.change(
        read,
        {built.picture},
        [built.infotext, *form.outputs],
        preprocess=False,
        show_progress="hidden",
        api_visibility="private",
    )


async def ask(api: Api, picture: str) -> dict[str, Any]:
    """What the interface reads in a picture (base64): its infotext as `info`, and in parts as `parameters`.
    Raises `Refused`."""
    told: dict[str, Any] = await api.post("/sdapi/v1/png-info", {"image": picture})
    return told
