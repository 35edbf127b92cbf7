"""The tab that makes pictures larger."""

from dataclasses import dataclass

import gradio as gr

from sd_page.layout import img2img, output, prompt
from sd_page.layout.form import Form
from sd_page.layout.output import Output
from sd_page.layout.prompt import Buttons
from sd_page.words import say


@dataclass(frozen=True)
class Extras:
    """Components that events speak of."""

    form: Form
    buttons: Buttons
    output: Output
    picture: gr.Image


def build(most_pixels: int) -> Extras:
    """Builds it here."""
    form = Form("extras")
    with gr.Row():
        with gr.Column(min_width=300):
            wrong = img2img.beside(form)
            image = img2img.picture(form, "image", "picture", wrong)
            img2img.judge(form, "image", image, most_pixels)
            _sizes(form)
            _upscalers(form)
        with gr.Column(min_width=300):
            buttons = prompt.buttons(form)
            shown = output.build(form)
    return Extras(form, buttons, shown, image)


def _sizes(form: Form) -> None:
    mode = form.add(
        "resize_mode",
        gr.Radio(
            [(say("scale_by"), 0), (say("scale_to"), 1)],
            value=0,
            label=say("resize_mode"),
            elem_id=form.id("resize_mode"),
        ),
    )
    with gr.Group() as by:
        form.add(
            "upscaling_resize",
            gr.Slider(1, 8, 2, step=0.05, label=say("resize"), elem_id=form.id("upscaling_resize")),
        )
    with gr.Group(visible=False) as to:
        for field, label in (("upscaling_resize_w", "width"), ("upscaling_resize_h", "height")):
            form.add(field, gr.Slider(8, 4096, 1024, step=8, label=say(label), elem_id=form.id(field)))
        form.add(
            "upscaling_crop", gr.Checkbox(True, label=say("crop_to_fit"), elem_id=form.id("upscaling_crop"))
        )
    mode.change(
        None,
        mode,
        [by, to],
        js="(mode) => [{__type__: 'update', visible: mode === 0}, {__type__: 'update', visible: mode === 1}]",
    )


def _upscalers(form: Form) -> None:
    for field in ("upscaler_1", "upscaler_2"):
        form.add(
            field,
            gr.Dropdown(label=say(field), value="None", allow_custom_value=True, elem_id=form.id(field)),
        )
    form.add(
        "extras_upscaler_2_visibility",
        gr.Slider(
            0, 1, 0, step=0.05, label=say("visibility"), elem_id=form.id("extras_upscaler_2_visibility")
        ),
    )
