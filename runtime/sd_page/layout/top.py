"""What stands above the tabs: the session's checkpoint with its facts, VAE, clip skip, and the colours."""

import html
from dataclasses import dataclass

import gradio as gr

from sd_page import reading, words
from sd_page.catalogue import Model, Option
from sd_page.words import say

_BUILT_IN_VAES = ("Automatic", "None")
CHECKPOINT, VAE, CLIP_SKIP = (
    "override_settings.sd_model_checkpoint",
    "override_settings.sd_vae",
    "override_settings.CLIP_stop_at_last_layers",
)


@dataclass(frozen=True)
class Top:
    """Its components."""

    checkpoint: gr.Dropdown
    vae: gr.Dropdown
    clip_skip: gr.Slider
    refresh: gr.Button
    facts: gr.HTML
    alert: gr.HTML


def build() -> Top:
    """Builds it here."""
    with gr.Row(elem_classes="sd-top", equal_height=False):
        with gr.Column(scale=4, min_width=280):
            checkpoint = gr.Dropdown(
                label=say("checkpoint"), allow_custom_value=True, elem_id="sd-top-checkpoint"
            )
            facts = gr.HTML(elem_id="sd-top-facts", elem_classes="sd-facts")
        refresh = gr.Button(
            say("refresh"),
            scale=0,
            min_width=90,
            size="sm",
            elem_id="sd-top-refresh",
            elem_classes="sd-small",
        )
        vae = gr.Dropdown(
            label=say("vae"),
            choices=list(_BUILT_IN_VAES),
            value=_BUILT_IN_VAES[0],
            allow_custom_value=True,
            scale=2,
            min_width=160,
            elem_id="sd-top-vae",
        )
        clip_skip = gr.Slider(
            1, 12, 1, step=1, label=say("clip_skip"), scale=2, min_width=160, elem_id="sd-top-clip_skip"
        )
        colours = gr.Button(
            say("dark_mode"), scale=0, min_width=90, size="sm", elem_id="sd-top-dark", elem_classes="sd-small"
        )
        colours.click(None, js="() => window.sdPage.toggleDark()")
    alert = gr.HTML(visible=False, elem_id="sd-top-alert", elem_classes="sd-alert")
    return Top(checkpoint, vae, clip_skip, refresh, facts, alert)


def vae_options(models: tuple[Model, ...]) -> list[Option]:
    """VAEs that a request may name."""
    files = [Option(each.name, each.name, each.facts, each.reason) for each in models if each.type == "VAE"]
    return [*(Option(name, name) for name in _BUILT_IN_VAES), *files]


def checkpoint_options(models: tuple[Model, ...]) -> list[Option]:
    """Checkpoints; their facts stand below the one that is chosen."""
    return [Option(each.name, each.name, "", each.reason) for each in models if each.type == "Checkpoint"]


def facts(language: words.Language, model: Model | None) -> str:
    """Family, size and hash of a checkpoint, as HTML."""
    if model is None:
        return ""
    told = {
        "family": model.family,
        "size": reading.size_in_words(model.bytes) if model.bytes else "",
        "hash": model.sha256[:10],
    }
    known = (f"{words.sentence(language, key)}: {value}" for key, value in told.items() if value)
    return html.escape(" · ".join([*known, *([model.reason] if model.reason else [])]))
