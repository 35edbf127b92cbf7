"""ControlNet units of one tab: what a control type fills in, and the preprocessor's preview.

What there is to choose from is `catalogue`'s, how a unit is sent `units`', which components it has `unit`'s.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components.base import Component
from PIL import Image

from sd_page import catalogue, pictures, units, words, words_control
from sd_page.api import Door, Refused
from sd_page.catalogue import Catalogue, Option
from sd_page.layout import unit
from sd_page.layout.form import Form, Updates, as_text, plain
from sd_page.layout.unit import Unit
from sd_page.pictures import Unusable

#: What POST /controlnet/detect calls fields, and what units do.
_DETECT = {
    "controlnet_module": "module",
    "controlnet_input_images": "image",
    "controlnet_masks": "mask",
    "controlnet_processor_res": "processor_res",
    "controlnet_threshold_a": "threshold_a",
    "controlnet_threshold_b": "threshold_b",
}
#: Module and ControlNet of a unit in which nothing was chosen.
_NOTHING = (catalogue.NO_MODULE, catalogue.NO_NETWORK)

#: How events go. Values come as they were sent: what is wrong with one, the interface says in a sentence. (Of
#: many types, as the arguments of events are.)
_EVENT: dict[str, Any] = {"preprocess": False, "concurrency_limit": None, "api_visibility": "private"}
_QUIETLY: dict[str, Any] = _EVENT | {"show_progress": "hidden"}


class Units:
    """The units of one tab."""

    def __init__(self, form: Form, built: list[Unit], note: gr.Markdown) -> None:
        self._form = form
        self._units = built
        #: Of units that the page does not have.
        self._note = note

    @property
    def inputs(self) -> list[Component]:
        """What `refill` is given the values of."""
        return [part for each in self._units for part in (each.control_type, each.module, each.model)]

    @property
    def outputs(self) -> list[Any]:
        """All that `refill` and `fill` may change beside the form's own fields."""
        return [self._note, *(part for each in self._units for part in (each.tab, *each.offered))]

    def refill(
        self, known: Catalogue, given: Mapping[Component, Any], language: words.Language
    ) -> dict[Any, Any]:
        """As many units as the server takes, and what there is to choose from, anew; what was chosen stays as
        far as it is still there."""
        most = len(self._units)
        more = words_control.sentence(language, "control_more_units", count=known.units, most=most)
        updates: dict[Any, Any] = {self._note: _told(more if known.units > most else "")}
        for each in self._units:
            updates[each.tab] = gr.update(visible=each.number < known.units)
            if each.number < known.units:
                kind = given.get(each.control_type) or catalogue.ALL
                chosen = (given.get(each.module) or _NOTHING[0], given.get(each.model) or _NOTHING[1])
                offered = offer(each, known, kind, chosen, language)
                if offered[each.module]["value"] == chosen[0]:
                    # Its numbers are as the visitor has set them.
                    offered = {part: offered[part] for part in offered if part not in each.sliders.values()}
                updates |= offered
        return updates

    def fill(self, values: Mapping[str, Any], known: Catalogue, language: words.Language) -> dict[Any, Any]:
        """The units as `units.of_infotext` has read them; one that is on shows even where the server takes
        fewer, as that is what a refusal will be about."""
        updates: dict[Any, Any] = dict(self._form.fill(values))
        most = len(self._units)
        if any(values.get(units.place(number, "enabled")) for number in range(most, units.MOST_TOLD)):
            left_out = words_control.sentence(language, "control_more_told", most=most)
            updates[self._note] = _told(left_out)
        for each in self._units:
            told = {f: values.get(units.place(each.number, f)) for f in ("module", "model", *each.sliders)}
            if not values.get(units.place(each.number, "enabled")):
                continue
            updates[each.tab] = gr.update(visible=True)
            module = known.module(told["module"] or _NOTHING[0]).name
            chosen = (module, told["model"] or _NOTHING[1])
            updates |= offer(each, known, catalogue.ALL, chosen, language)
            for slider in known.module(module).sliders:
                if told[slider.field] is not None:
                    updates[each.sliders[slider.field]]["value"] = told[slider.field]
        return updates


def control(form: Form, door: Door, checkpoint: Component, most_pixels: int) -> Units:
    """Adds the units to a form, in an accordion. `checkpoint`: what ControlNets are judged by; `most_pixels`:
    pictures."""
    with gr.Accordion(words.say("control_title"), open=False, elem_id=form.id("controlnet")):
        note = gr.Markdown(visible=False, elem_id=form.id("controlnet-note"))
        with gr.Tabs(elem_id=form.id("controlnet-units")):
            built = [unit.build(form, number) for number in range(units.MOST)]
    for each in built:
        _follow_choices(door, checkpoint, each)
        _preview(form, door, each, most_pixels)
    return Units(form, built, note)


def offer(
    each: Unit, known: Catalogue, kind: str, chosen: tuple[str, str] | None, language: words.Language
) -> Updates:
    """A unit's choices within a control type. `chosen`, a module and a ControlNet, stays as far as it is
    there; None: what the type stands for."""
    types = known.type_options(words_control.sentence(language, "control_type_empty"))
    modules, networks = known.module_options(kind), known.network_options(kind)
    usual = known.defaults(kind)
    module, network = chosen or usual
    if module not in {option.value for option in modules}:
        module = usual[0]
    if network not in {option.value for option in networks}:
        network = usual[1]
    return {
        each.control_type: gr.update(choices=[option.choice for option in types], value=kind),
        each.module: gr.update(choices=[option.choice for option in modules], value=module),
        each.model: gr.update(choices=[option.choice for option in networks], value=network),
        each.model_note: _barred(language, "control_model_barred", _reason(networks, network)),
        **of_module(each, known, module, language),
    }


def of_module(each: Unit, known: Catalogue, name: str, language: words.Language) -> Updates:
    """The sliders with the module's own labels, bounds and defaults, and why it cannot be used, if so."""
    module = known.module(name)
    updates: Updates = {each.module_note: _barred(language, "control_module_barred", module.reason)}
    own = {slider.field: slider for slider in module.sliders}
    for field, component in each.sliders.items():
        slider = own.get(field)
        if slider is None:
            updates[component] = gr.update(visible=False, minimum=unit.DEFAULT, value=unit.DEFAULT)
        else:
            updates[component] = gr.update(
                visible=True,
                label=slider.label,
                minimum=slider.minimum,
                maximum=slider.maximum,
                step=slider.step,
                value=slider.value,
            )
    return updates


def _follow_choices(door: Door, checkpoint: Component, each: Unit) -> None:
    """What a choice fills in."""

    async def by_type(kind: str | None, title: str | None, request: gr.Request) -> Updates:
        try:
            known = await catalogue.ask(door.api(request.headers), title)
        except Refused as refused:
            return {each.module_note: _told(refused.detail)}
        return offer(each, known, kind or catalogue.ALL, None, words.language_of(request.headers))

    async def by_module(name: str | None, title: str | None, request: gr.Request) -> Updates:
        try:
            known = await catalogue.ask(door.api(request.headers), title)
        except Refused as refused:
            return {each.module_note: _told(refused.detail)}
        return of_module(each, known, name or catalogue.NO_MODULE, words.language_of(request.headers))

    async def by_model(
        kind: str | None, model: str | None, title: str | None, request: gr.Request
    ) -> Updates:
        try:
            known = await catalogue.ask(door.api(request.headers), title)
        except Refused as refused:
            return {each.model_note: _told(refused.detail)}
        reason = _reason(known.network_options(kind or catalogue.ALL), model)
        language = words.language_of(request.headers)
        return {each.model_note: _barred(language, "control_model_barred", reason)}

    def by_source(source: str) -> Updates:
        is_set = source == units.SET
        return {each.image: gr.update(visible=not is_set), each.image_set: gr.update(visible=is_set)}

    kind, module, model = each.control_type, each.module, each.model
    # `input` is of the visitor's own choosing; what the page fills in asks nothing again.
    kind.input(by_type, [kind, checkpoint], each.offered, **_QUIETLY)
    module.input(by_module, [module, checkpoint], [each.module_note, *each.sliders.values()], **_QUIETLY)
    model.input(by_model, [kind, model, checkpoint], [each.model_note], **_QUIETLY)
    each.source.change(by_source, each.source, [each.image, each.image_set], **_QUIETLY)


def _preview(form: Form, door: Door, each: Unit, most_pixels: int) -> None:
    """The button that shows what the preprocessor makes of the pictures."""

    async def run(given: Mapping[Component, Any], request: gr.Request) -> Updates:
        values = {field: plain(given[form[field]]) for field in fields}
        language = words.language_of(request.headers)
        cleared: Updates = {aside: gr.update(value="", visible=False) for aside in each.asides}
        if not units.pictures(each.number, values):
            missing = words_control.sentence(language, "control_picture_missing")
            return cleared | {each.preview: [], each.image_note: _told(missing)}
        notes = unusable(form, each, values, most_pixels, language)
        if notes:
            return cleared | {each.preview: [], **notes}
        body = units.detection(each.number, values)
        try:
            answer = await door.api(request.headers).post("/controlnet/detect", body)
        except Refused as refused:
            return cleared | {each.preview: [], **_complaint(form, each, refused)}
        maps = [_opened(text) for text in answer["images"]]
        return cleared | {each.preview: gr.update(value=maps, columns=min(len(maps), 2))}

    def other_pictures(given: Mapping[Component, Any], request: gr.Request) -> Updates:
        values = {field: plain(given[form[field]]) for field in fields}
        cleared: Updates = {note: _told("") for note in (each.image_note, each.mask_note)}
        language = words.language_of(request.headers)
        return cleared | unusable(form, each, values, most_pixels, language)

    fields = [units.place(each.number, field) for field in units.DETECTED]
    outputs = [each.preview, *each.asides, *each.sliders.values()]
    each.run.click(run, each.detected, outputs, **_EVENT)
    changed = [each.image.change, each.image_set.change, each.mask.change]
    gr.on(changed, other_pictures, each.detected, [each.image_note, each.mask_note], **_QUIETLY)


def unusable(
    form: Form, each: Unit, values: Mapping[str, Any], most: int, language: words.Language
) -> Updates:
    """What is wrong with a unit's pictures, beside them; empty: nothing."""
    try:
        pictures.judge(units.named_of(each.number, values), most)
    except Unusable as error:
        told = words.sentence(language, error.key, **error.values)
        _, updates = form.complaint(Refused(422, "Unusable", told, error.field)) or ([], {})
        return updates
    return {}


def _complaint(form: Form, each: Unit, refused: Refused) -> Updates:
    """The sentence beside what it is about, else beside the picture."""
    named, _, _ = (refused.field or "").partition(".")
    field = _DETECT.get(named)
    if field is not None:
        complaint = form.complaint(replace(refused, field=units.place(each.number, field)))
        if complaint:
            return complaint[1]
    return {each.image_note: _told(refused.detail)}


def _opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def _reason(options: Sequence[Option], value: str | None) -> str:
    return next((option.reason for option in options if option.value == value), "")


def _barred(language: words.Language, key: str, reason: str) -> Any:
    return _told(words_control.sentence(language, key, reason=reason)) if reason else _told("")


def _told(text: str) -> Any:
    return gr.update(value=as_text(text), visible=bool(text))
