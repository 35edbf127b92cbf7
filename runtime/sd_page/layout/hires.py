"""Hires fix: a second pass over the enlarged picture, of txt2img."""

import gradio as gr

from sd_page.layout.form import Form
from sd_page.words import say


def build(form: Form) -> None:
    """Builds it here."""
    on = form.add("enable_hr", gr.Checkbox(False, label=say("hires"), elem_id=form.id("enable_hr")))
    with gr.Column(visible=False, elem_id=form.id("hires")) as group:
        with gr.Row():
            form.add(
                "hr_upscaler",
                gr.Dropdown(
                    label=say("upscaler"),
                    allow_custom_value=True,
                    min_width=240,
                    elem_id=form.id("hr_upscaler"),
                ),
            )
            form.add(
                "hr_second_pass_steps",
                gr.Slider(
                    0, 150, 0, step=1, label=say("hires_steps"), min_width=240, info=say("zero_same"),
                    elem_id=form.id("hr_second_pass_steps"),
                ),
            )  # fmt: skip
            form.add(
                "denoising_strength",
                gr.Slider(
                    0,
                    1,
                    0.7,
                    step=0.01,
                    label=say("denoising"),
                    min_width=240,
                    elem_id=form.id("denoising_strength"),
                ),
            )
        with gr.Row():
            form.add(
                "hr_scale",
                gr.Slider(
                    1, 4, 2, step=0.05, label=say("upscale_by"), min_width=240, elem_id=form.id("hr_scale")
                ),
            )
            for field, label in (("hr_resize_x", "resize_width"), ("hr_resize_y", "resize_height")):
                form.add(
                    field,
                    gr.Slider(
                        0,
                        2048,
                        0,
                        step=8,
                        label=say(label),
                        info=say("zero_off"),
                        min_width=240,
                        elem_id=form.id(field),
                    ),
                )
    on.change(None, on, group, js="(on) => ({__type__: 'update', visible: on})")
