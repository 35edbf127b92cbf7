"""Prompt, negative prompt and styles, and the buttons that begin and end a job."""

from dataclasses import dataclass

import gradio as gr

from sd_page.layout.form import Form
from sd_page.words import say


@dataclass(frozen=True)
class Buttons:
    """What begins a job and takes it back."""

    generate: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Prompt:
    """What is typed, and its buttons."""

    prompt: gr.Textbox
    negative: gr.Textbox
    read: gr.Button
    buttons: Buttons


def build(form: Form) -> Prompt:
    """Builds it here."""
    with gr.Row(elem_classes="sd-prompt"):
        with gr.Column(scale=5, min_width=280):
            prompt = form.add(
                "prompt",
                gr.Textbox(
                    label=say("prompt"),
                    placeholder=say("prompt_hint"),
                    lines=3,
                    elem_id=form.id("prompt"),
                ),
            )
            negative = form.add(
                "negative_prompt",
                gr.Textbox(
                    label=say("negative_prompt"),
                    placeholder=say("negative_hint"),
                    lines=2,
                    elem_id=form.id("negative_prompt"),
                ),
            )
        with gr.Column(scale=1, min_width=200):
            pair = buttons(form)
            form.add(
                "styles",
                gr.Dropdown(
                    label=say("styles"), multiselect=True, allow_custom_value=True, elem_id=form.id("styles")
                ),
            )
            read = gr.Button(say("read_prompt"), size="sm", elem_id=form.id("read"))
    return Prompt(prompt, negative, read, pair)


def buttons(form: Form) -> Buttons:
    """Generate and Cancel."""
    generate = gr.Button(
        say("generate"), variant="primary", elem_id=form.id("generate"), elem_classes="sd-generate"
    )
    cancel = gr.Button(say("cancel"), variant="stop", interactive=False, elem_id=form.id("cancel"))
    return Buttons(generate, cancel)
