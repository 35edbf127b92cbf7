"""The components of one ControlNet unit, in the form of its tab. What happens with them is in `control`."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block
from gradio.components.base import Component

from sd_page import catalogue, units
from sd_page.layout.form import AnyComponent, Form
from sd_page.words import say

#: Numbers of a module; of one that has none of a kind its slider is hidden, and says the module's default.
DEFAULT = -1
#: Pixels that a slider with its number and a long label takes at least.
_SLIDER = 220


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The parts that others speak of."""

    number: int
    tab: gr.Tab
    control_type: gr.Dropdown
    module: gr.Dropdown
    model: gr.Dropdown
    #: What is wrong with the module or the model that is chosen.
    module_note: gr.Markdown
    model_note: gr.Markdown
    source: gr.Radio
    image: gr.Image
    image_set: gr.Gallery
    mask: gr.Image
    #: What is wrong with pictures, or with the preview.
    image_note: gr.Markdown
    mask_note: gr.Markdown
    run: gr.Button
    preview: gr.Gallery
    #: By the field that they set.
    sliders: dict[str, gr.Slider]

    @property
    def asides(self) -> list[gr.Markdown]:
        """Where sentences about the preview may stand."""
        return [self.module_note, self.image_note, self.mask_note]

    @property
    def offered(self) -> list[Component]:
        """What changes with what there is to choose from."""
        choices = [self.control_type, self.module, self.model, self.module_note, self.model_note]
        return [*choices, *self.sliders.values()]

    @property
    def detected(self) -> set[Block]:
        """What the preview is made of."""
        pictures = {self.source, self.image, self.image_set, self.mask}
        return {self.module, *pictures, *self.sliders.values()}


def build(form: Form, number: int) -> Unit:
    """One unit as a tab; those that the server takes beside the first show once it has said so."""
    at = _Place(form, number)
    with gr.Tab(say(f"control_unit_{number + 1}"), visible=number == 0, elem_id=at.id("tab")) as tab:
        with gr.Row():
            at.add("enabled", gr.Checkbox(value=False, label=say("control_enable"), elem_id=at.id("enabled")))
            at.add(
                "pixel_perfect",
                gr.Checkbox(
                    value=False,
                    label=say("control_pixel_perfect"),
                    info=say("control_pixel_perfect_info"),
                    elem_id=at.id("pixel_perfect"),
                ),
            )
        control_type, module, model, module_note, model_note = _choices(at)
        with gr.Row():
            source, image, image_set, image_note, mask, mask_note = _pictures(at)
            with gr.Column(min_width=260):
                run = gr.Button(say("control_run"), size="md", elem_id=at.id("run"))
                preview = gr.Gallery(
                    label=say("control_preview"),
                    format="png",
                    interactive=False,
                    object_fit="contain",
                    columns=1,
                    elem_id=at.id("preview"),
                )
        sliders = _numbers(at)
        _steering(at)
    return Unit(
        number=number,
        tab=tab,
        control_type=control_type,
        module=module,
        model=model,
        module_note=module_note,
        model_note=model_note,
        source=source,
        image=image,
        image_set=image_set,
        mask=mask,
        image_note=image_note,
        mask_note=mask_note,
        run=run,
        preview=preview,
        sliders=sliders,
    )


class _Place:
    """Where a unit's fields are in the form."""

    def __init__(self, form: Form, number: int) -> None:
        self._form, self._number = form, number

    def id(self, field: str) -> str:
        return self._form.id(units.place(self._number, field))

    @property
    def tab(self) -> str:
        return self._form.tab

    def add(self, field: str, component: AnyComponent, beside: gr.Markdown | None = None) -> AnyComponent:
        return self._form.add(units.place(self._number, field), component, beside)

    def note(self, field: str) -> gr.Markdown:
        """An empty place for a sentence about a field."""
        return gr.Markdown(visible=False, elem_id=self.id(f"{field}_note"), elem_classes=["sd-beside"])


def _choices(at: _Place) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown, gr.Markdown, gr.Markdown]:
    """What is steered by what. They are filled in once the server has said what it has."""
    with gr.Row():
        control_type = gr.Dropdown(
            [catalogue.ALL],
            value=catalogue.ALL,
            label=say("control_type"),
            elem_classes=["sd-choice"],
            elem_id=at.id("control_type"),
            min_width=160,
        )
        with gr.Column(min_width=160):
            module = gr.Dropdown(
                [catalogue.NO_MODULE],
                value=catalogue.NO_MODULE,
                label=say("control_module"),
                elem_classes=["sd-choice"],
                elem_id=at.id("module"),
            )
            module_note = at.note("module")
        with gr.Column(scale=2, min_width=320):
            model = gr.Dropdown(
                [catalogue.NO_NETWORK],
                value=catalogue.NO_NETWORK,
                label=say("control_model"),
                elem_classes=["sd-choice"],
                elem_id=at.id("model"),
            )
            model_note = at.note("model")
    at.add("module", module, module_note)
    at.add("model", model, model_note)
    return control_type, module, model, module_note, model_note


def _pictures(
    at: _Place,
) -> tuple[gr.Radio, gr.Image, gr.Gallery, gr.Markdown, gr.Image, gr.Markdown]:
    """One picture, or a set of them, and a mask of the one."""
    with gr.Column(min_width=260):
        source = gr.Radio(
            [(say("control_single"), units.SINGLE), (say("control_set"), units.SET)],
            value=units.SINGLE,
            label=say("control_source"),
            info=say(f"control_source_{at.tab}"),
            elem_id=at.id("source"),
        )
        image = gr.Image(
            label=say("control_image"),
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "clipboard"],
            height=260,
            elem_id=at.id("image"),
        )
        image_set = gr.Gallery(
            label=say("control_image_set"),
            type="filepath",
            format="png",
            file_types=["image"],
            sources=["upload", "clipboard"],
            interactive=True,
            visible=False,
            columns=3,
            height=260,
            elem_id=at.id("image_set"),
        )
        image_note = at.note("image")
        with gr.Accordion(say("control_mask_title"), open=False):
            mask = gr.Image(
                label=say("control_mask"),
                type="filepath",
                image_mode=None,
                format="png",
                sources=["upload", "clipboard"],
                height=200,
                elem_id=at.id("mask"),
            )
            mask_note = at.note("mask")
    at.add("source", source)
    at.add("image", image, image_note)
    at.add("image_set", image_set)
    at.add("mask", mask, mask_note)
    return source, image, image_set, image_note, mask, mask_note


def _numbers(at: _Place) -> dict[str, gr.Slider]:
    """The module's, which are hidden until one is chosen that has some."""
    sliders = {}
    with gr.Row():
        for field in ("processor_res", "threshold_a", "threshold_b"):
            slider = gr.Slider(
                DEFAULT,
                1,
                value=DEFAULT,
                label=say(f"control_{field}"),
                visible=False,
                min_width=_SLIDER,
                elem_id=at.id(field),
            )
            sliders[field] = at.add(field, slider)
    return sliders


def _steering(at: _Place) -> None:
    """How much, when, and how."""
    with gr.Row():
        for field, most, value in (("weight", 2, 1), ("guidance_start", 1, 0), ("guidance_end", 1, 1)):
            at.add(
                field,
                gr.Slider(
                    0,
                    most,
                    value=value,
                    step=0.05 if field == "weight" else 0.01,
                    label=say(f"control_{field}"),
                    min_width=_SLIDER,
                    elem_id=at.id(field),
                ),
            )
    with gr.Row():
        for field, names in (("control_mode", units.CONTROL_MODES), ("resize_mode", units.RESIZE_MODES)):
            at.add(
                field,
                gr.Radio(
                    [(say(f"control_{field}_{value}"), value) for value in range(len(names))],
                    value=units.DEFAULTS[field],
                    label=say(f"control_{field}"),
                    elem_id=at.id(field),
                ),
            )
    if at.tab != "img2img":
        at.add(
            "hr_option",
            gr.Radio(
                [(say(f"control_hr_option_{n}"), name) for n, name in enumerate(units.HR_OPTIONS)],
                value=units.HR_OPTIONS[0],
                label=say("control_hr_option"),
                elem_id=at.id("hr_option"),
            ),
        )
