"""What came of a tab's job: where it stands, its pictures, what they tell, and where they can be sent."""

from dataclasses import dataclass

import gradio as gr

from sd_page.layout.form import Form
from sd_page.words import say

#: Where a picture can be sent: the key of the button's label by its destination.
DESTINATIONS = {
    "img2img": "to_img2img",
    "inpaint": "to_inpaint",
    "extras": "to_extras",
    "png-info": "to_png_info",
}


@dataclass(frozen=True)
class Output:
    """Its components."""

    alert: gr.HTML
    standing: gr.HTML
    gallery: gr.Gallery
    infotext: gr.Textbox
    #: Buttons by destination.
    send: dict[str, gr.Button]


def build(form: Form, *, followed: bool = True) -> Output:
    """Builds it here; `followed`: a job of this tab is followed."""
    alert = gr.HTML(visible=False, elem_id=form.id("alert"), elem_classes="sd-alert")
    standing = gr.HTML(visible=followed, elem_id=form.id("standing"), elem_classes="sd-standing")
    gallery = gr.Gallery(
        label=say("pictures" if followed else "gallery"),
        columns=2 if followed else 4,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=form.id("gallery"),
    )
    with gr.Row(elem_classes="sd-send"):
        send = {
            destination: gr.Button(say(label), size="sm", min_width=130, elem_id=form.id(f"to-{destination}"))
            for destination, label in DESTINATIONS.items()
        }
    infotext = gr.Textbox(
        label=say("parameters"),
        lines=3,
        interactive=False,
        buttons=["copy"],
        elem_id=form.id("infotext"),
    )
    return Output(alert, standing, gallery, infotext, send)
