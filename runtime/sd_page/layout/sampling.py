"""How a picture is sampled: sampler, steps, size, batch, guidance, seed."""

from dataclasses import dataclass

import gradio as gr

from sd_page.layout.form import Form
from sd_page.words import say

_SIDE = 512


@dataclass(frozen=True)
class Sampling:
    """Components that events speak of."""

    width: gr.Slider
    height: gr.Slider
    seed: gr.Number
    reuse: gr.Button


def build(form: Form) -> Sampling:
    """Builds it here."""
    with gr.Row():
        for field, label in (("sampler_name", "sampler"), ("scheduler", "scheduler")):
            form.add(
                field,
                gr.Dropdown(label=say(label), allow_custom_value=True, min_width=160, elem_id=form.id(field)),
            )
    form.add("steps", gr.Slider(1, 150, 20, step=1, label=say("steps"), elem_id=form.id("steps")))
    with gr.Row(elem_classes="sd-size"):
        width = _side(form, "width")
        height = _side(form, "height")
        swap = gr.Button(
            say("swap"),
            scale=0,
            min_width=48,
            size="sm",
            elem_id=form.id("swap"),
            elem_classes=["sd-icon", "sd-swap"],
        )
    swap.click(None, [width, height], [width, height], js="(width, height) => [height, width]")
    with gr.Row():
        form.add("n_iter", gr.Slider(1, 16, 1, step=1, label=say("batch_count"), elem_id=form.id("n_iter")))
        form.add(
            "batch_size", gr.Slider(1, 8, 1, step=1, label=say("batch_size"), elem_id=form.id("batch_size"))
        )
    form.add("cfg_scale", gr.Slider(1, 30, 7, step=0.5, label=say("cfg_scale"), elem_id=form.id("cfg_scale")))
    return _with_seed(form, width, height)


def _side(form: Form, field: str) -> gr.Slider:
    return form.add(
        field, gr.Slider(64, 2048, _SIDE, step=8, label=say(field), min_width=160, elem_id=form.id(field))
    )


def _with_seed(form: Form, width: gr.Slider, height: gr.Slider) -> Sampling:
    with gr.Row(elem_classes="sd-seed"):
        seed = form.add(
            "seed", gr.Number(-1, precision=0, label=say("seed"), min_width=160, elem_id=form.id("seed"))
        )
        random = gr.Button(
            say("random_seed"), scale=0, min_width=48, size="sm", elem_id=form.id("random"),
            elem_classes=["sd-icon", "sd-random"],
        )  # fmt: skip
        reuse = gr.Button(
            say("reuse_seed"), scale=0, min_width=48, size="sm", elem_id=form.id("reuse"),
            elem_classes=["sd-icon", "sd-reuse"],
        )  # fmt: skip
    random.click(None, None, seed, js="() => -1")
    return Sampling(width, height, seed, reuse)
