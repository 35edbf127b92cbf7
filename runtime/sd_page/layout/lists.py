"""What there is to choose from on this server, in every list of the page: when it is opened, refreshed,
or another checkpoint is chosen. What was chosen stays as long as it is there."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components.base import Component

from sd_page import catalogue, reading, words
from sd_page.api import Api, Door, Refused
from sd_page.catalogue import Catalogue, Option
from sd_page.layout import standing as html
from sd_page.layout import top as above
from sd_page.layout.cards import Cards
from sd_page.layout.control import Units
from sd_page.layout.form import Form, Updates
from sd_page.layout.top import Top


@dataclass(frozen=True)
class Named:
    """The names of A1111's lists."""

    samplers: list[str]
    schedulers: list[str]
    upscalers: list[str]
    latent: list[str]
    styles: list[str]


@dataclass(frozen=True)
class Parts:
    """What has something to choose."""

    top: Top
    #: Those that make pictures, and that of the extras.
    making: Sequence[Form]
    extras: Form
    units: Sequence[Units]
    cards: Sequence[Cards]


class Lists:
    """Fills in what there is to choose."""

    def __init__(self, door: Door, parts: Parts) -> None:
        self._door = door
        self._parts = parts

    def wire(self, blocks: gr.Blocks) -> None:
        """Registers the events."""
        top = self._parts.top
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
        for event in (blocks.load, top.refresh.click):
            event(self._everything, {*self._inputs}, self._outputs, **quiet)
        top.checkpoint.input(self._judged, {*self._inputs}, self._outputs, **quiet)

    @property
    def _inputs(self) -> set[Component]:
        parts = self._parts
        fields = [form[field] for form in parts.making for field in form if field in _KEPT]
        fields += [parts.extras[field] for field in ("upscaler_1", "upscaler_2")]
        chosen = [part for units in parts.units for part in units.inputs]
        return {parts.top.checkpoint, parts.top.vae, *fields, *chosen}

    @property
    def _outputs(self) -> list[Component]:
        parts, top = self._parts, self._parts.top
        more = [part for units in parts.units for part in units.outputs]
        more += [part for cards in parts.cards for part in cards.outputs]
        changed = (top.checkpoint, top.vae, top.facts, top.alert)
        return list(dict.fromkeys([*changed, *(self._inputs), *more]))

    async def _everything(self, given: dict[Component, Any], request: gr.Request) -> Updates:
        """All lists anew."""
        api, language = self._door.api(request.headers), words.language_of(request.headers)
        try:
            known, named = await asyncio.gather(
                catalogue.ask(api, given[self._parts.top.checkpoint] or None), ask(api)
            )
        except Refused as refused:
            return self._cannot(refused, language)
        return self._named(named, given) | self._known(known, given, language)

    async def _judged(self, given: dict[Component, Any], request: gr.Request) -> Updates:
        """What depends on the checkpoint that is chosen."""
        api, language = self._door.api(request.headers), words.language_of(request.headers)
        try:
            known = await catalogue.ask(api, given[self._parts.top.checkpoint] or None)
        except Refused as refused:
            return self._cannot(refused, language)
        return self._known(known, given, language)

    def _cannot(self, refused: Refused, language: words.Language) -> Updates:
        told = words.sentence(language, "cannot_list", reason=refused.detail)
        return {self._parts.top.alert: gr.update(value=html.alert(told), visible=True)}

    def _known(self, known: Catalogue, given: Mapping[Component, Any], language: words.Language) -> Updates:
        top = self._parts.top
        options = above.checkpoint_options(known.models)
        title = reading.kept(given[top.checkpoint], [each.value for each in options], known.served)
        model = next((each for each in known.of_type("Checkpoint") if each.name == title), None)
        updates: Updates = {
            top.alert: gr.update(value="", visible=False),
            top.checkpoint: _choices(options, title),
            top.vae: _choices(above.vae_options(known.models), given[top.vae]),
            top.facts: above.facts(language, model),
        }
        side = reading.side_of(model.family if model else None)
        for form in self._parts.making:
            width, height = form["width"], form["height"]
            # Not where it is that already: somebody may be writing there meanwhile.
            if given[width] != side and reading.is_a_default(given[width], given[height]):
                updates |= {width: gr.update(value=side), height: gr.update(value=side)}
        for units in self._parts.units:
            updates |= units.refill(known, given, language)
        for cards in self._parts.cards:
            updates |= cards.refill(known, language)
        return updates

    def _named(self, named: Named, given: Mapping[Component, Any]) -> Updates:
        updates: Updates = {}
        by_field = {
            "sampler_name": named.samplers,
            "scheduler": named.schedulers,
            "hr_upscaler": [*named.latent, *named.upscalers],
        }
        for form in self._parts.making:
            for field, choices in by_field.items():
                if field in form:
                    value = reading.kept(given[form[field]], choices)
                    updates[form[field]] = gr.update(choices=choices, value=value)
            updates[form["styles"]] = gr.update(choices=named.styles)
        for field in ("upscaler_1", "upscaler_2"):
            component = self._parts.extras[field]
            updates[component] = gr.update(
                choices=named.upscalers, value=reading.kept(given[component], named.upscalers)
            )
        return updates


#: Fields whose values decide what becomes of them.
_KEPT = ("sampler_name", "scheduler", "hr_upscaler", "styles", "width", "height")


async def ask(api: Api) -> Named:
    """A1111's lists. Raises `Refused`."""
    samplers, schedulers, upscalers, latent, styles = await asyncio.gather(
        api.get("/sdapi/v1/samplers"),
        api.get("/sdapi/v1/schedulers"),
        api.get("/sdapi/v1/upscalers"),
        api.get("/sdapi/v1/latent-upscale-modes"),
        api.get("/sdapi/v1/prompt-styles"),
    )
    return Named(
        reading.names(samplers),
        reading.names(schedulers, "label"),
        reading.names(upscalers),
        reading.names(latent),
        reading.names(styles),
    )


def _choices(options: Sequence[Option], chosen: object) -> dict[str, Any]:
    update: dict[str, Any] = gr.update(
        choices=[each.choice for each in options], value=reading.kept(chosen, [o.value for o in options])
    )
    return update
