"""What img2img draws over: a picture, a picture with a mask that is drawn here, or one with a mask that is
brought; and how."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from sd_page import requests, words
from sd_page.layout.form import Form, Updates, plain
from sd_page.words import say

PLAIN, INPAINT, UPLOAD = "img2img", "inpaint", "inpaint_upload"
_HEIGHT = 480
#: Of the mask while it is drawn: unlike what pictures usually have, and the picture shows through.
_PAINT = "rgba(233, 30, 140, 0.7)"


@dataclass(frozen=True)
class Source:
    """Components that events speak of."""

    tabs: gr.Tabs
    #: Which of the three it is.
    mode: gr.Textbox
    picture: gr.Image
    editor: gr.ImageEditor
    #: What only concerns masks.
    masking: gr.Column


def picture(form: Form, field: str, label: str, beside: gr.Markdown, id: str = "") -> gr.Image:
    """A picture's file, as it is: what it tells of its making stays in it."""
    image = gr.Image(
        label=say(label),
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=_HEIGHT,
        buttons=["fullscreen"],
        elem_id=form.id(id or field),
    )
    return form.add(field, image, beside)


def judge(form: Form, field: str, image: gr.Image, most_pixels: int) -> None:
    """Has a file that cannot be used told of as soon as it is given."""

    def judged(value: Any, request: gr.Request) -> Updates:
        return form.judged(field, plain(value), most_pixels, words.language_of(request.headers))

    image.change(
        judged,
        [image],
        form.places(field),
        preprocess=False,
        show_progress="hidden",
        api_visibility="private",
    )


def beside(form: Form) -> gr.Markdown:
    """What tells what is wrong with a picture."""
    return gr.Markdown(visible=False, elem_id=form.id("pictures-alert"), elem_classes="sd-beside")


def build(form: Form, most_pixels: int) -> Source:
    """Builds it here."""
    # Hidden, and no state: the browser itself sets it, at once.
    mode = gr.Textbox(PLAIN, visible="hidden", elem_id=form.id("chosen-mode"))
    wrong = beside(form)
    with gr.Tabs(elem_id=form.id("mode"), selected=PLAIN) as tabs:
        with gr.Tab(say("img2img"), id=PLAIN) as plain:
            image = picture(form, requests.PICTURE, "picture", wrong)
            judge(form, requests.PICTURE, image, most_pixels)
        with gr.Tab(say("inpaint"), id=INPAINT) as inpaint:
            editor = gr.ImageEditor(
                label=say("editor"),
                type="filepath",
                format="png",
                sources=["upload", "clipboard"],
                transforms=(),
                canvas_size=requests.CANVAS,
                layers=False,
                brush=gr.Brush(colors=[_PAINT], default_color=_PAINT, color_mode="fixed"),
                height=_HEIGHT + 80,
                buttons=["fullscreen"],
                elem_id=form.id(requests.EDITOR),
            )
        with gr.Tab(say("inpaint_upload"), id=UPLOAD) as upload, gr.Row():
            for field, label, id in (
                (requests.UPLOADED, "picture", ""),
                (requests.MASK, "mask", "upload.mask"),
            ):
                judge(form, field, picture(form, field, label, wrong, id), most_pixels)
    with gr.Column(visible=False, elem_id=form.id("masking")) as masking:
        _masking(form)
    for tab, name in ((plain, PLAIN), (inpaint, INPAINT), (upload, UPLOAD)):
        shown = "false" if name == PLAIN else "true"
        tab.select(
            None,
            None,
            [mode, masking],
            js=f"() => ['{name}', {{__type__: 'update', visible: {shown}}}]",
        )
    form.add(requests.EDITOR, editor, wrong)
    _drawing_over(form)
    return Source(tabs, mode, image, editor, masking)


def _drawing_over(form: Form) -> None:
    with gr.Row():
        form.add(
            "resize_mode",
            gr.Radio(
                [(say("just_resize"), 0), (say("crop"), 1), (say("fill"), 2), (say("latent_resize"), 3)],
                value=0,
                label=say("resize_mode"),
                elem_id=form.id("resize_mode"),
            ),
        )
    form.add(
        "denoising_strength",
        gr.Slider(0, 1, 0.75, step=0.01, label=say("denoising"), elem_id=form.id("denoising_strength")),
    )


def _masking(form: Form) -> None:
    form.add("mask_blur", gr.Slider(0, 64, 4, step=1, label=say("mask_blur"), elem_id=form.id("mask_blur")))
    with gr.Row():
        form.add(
            "inpainting_mask_invert",
            gr.Radio(
                [(say("masked"), 0), (say("not_masked"), 1)],
                value=0,
                label=say("mask_mode"),
                elem_id=form.id("inpainting_mask_invert"),
            ),
        )
        form.add(
            "inpainting_fill",
            gr.Radio(
                [
                    (say("content_fill"), 0),
                    (say("content_original"), 1),
                    (say("content_noise"), 2),
                    (say("content_nothing"), 3),
                ],
                value=1,
                label=say("masked_content"),
                elem_id=form.id("inpainting_fill"),
            ),
        )
    with gr.Row():
        form.add(
            "inpaint_full_res",
            gr.Radio(
                [(say("whole_picture"), False), (say("only_masked"), True)],
                value=False,
                label=say("inpaint_area"),
                elem_id=form.id("inpaint_full_res"),
            ),
        )
        form.add(
            "inpaint_full_res_padding",
            gr.Slider(0, 256, 32, step=4, label=say("padding"), elem_id=form.id("inpaint_full_res_padding")),
        )
