"""From one tab to another: a picture, and what it tells of its making as values of a form."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components.base import Component

from sd_page import catalogue, pictures, reading, requests, units, words
from sd_page.api import Api, Door, Refused
from sd_page.layout import img2img, png_info
from sd_page.layout import standing as html
from sd_page.layout.control import Units
from sd_page.layout.form import Form, Updates
from sd_page.layout.img2img import Source
from sd_page.layout.png_info import PngInfo
from sd_page.session import Session

TXT2IMG, IMG2IMG, INPAINT, EXTRAS, PNG_INFO = "txt2img", "img2img", "inpaint", "extras", "png-info"
#: Where a picture is to be sent in again.
_SENT_IN = (IMG2IMG, INPAINT, EXTRAS)
#: Of hires fix: img2img has a strength of its own.
_NOT_IMG2IMG = ("denoising_strength", "enable_hr")
_EVENT: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Places:
    """Where something can be sent."""

    tabs: gr.Tabs
    #: Of txt2img and img2img.
    forms: Mapping[str, Form]
    units: Mapping[str, Units]
    source: Source
    extras: gr.Image
    png_info: PngInfo


class Sending:
    """Binds the buttons that send."""

    def __init__(self, door: Door, places: Places, state: gr.State, most_pixels: int) -> None:
        self._door = door
        self._places = places
        self._state = state
        self._most_pixels = most_pixels

    def from_pictures(self, tab: str, send: Mapping[str, gr.Button], alert: gr.HTML) -> None:
        """Of the picture that is chosen among those of a tab."""
        for destination, button in send.items():

            async def handle(
                session: Session, request: gr.Request, destination: str = destination
            ) -> Updates:
                picture = session.selected(tab)
                if picture is None:
                    told = words.sentence(words.language_of(request.headers), "none_selected")
                    return {alert: gr.update(value=html.alert(told), visible=True)}
                return await self._sent(session, str(picture.path), destination, alert, request)

            button.click(handle, [self._state], [*self._outputs(destination), alert], **_EVENT)

    def from_png_info(self) -> None:
        """Of the picture of PNG info."""
        tab = self._places.png_info
        for destination, button in tab.send.items():

            async def handle(
                given: dict[Component, Any], request: gr.Request, destination: str = destination
            ) -> Updates:
                path = tab.form.values(given)["image"]
                if not path:
                    told = words.sentence(words.language_of(request.headers), "no_picture")
                    _, updates = tab.form.complaint(Refused(422, "Missing", told, "image")) or ([], {})
                    return updates
                return await self._sent(given[self._state], path, destination, tab.alert, request)

            outputs = [*self._outputs(destination), tab.alert, *tab.form.outputs]
            button.click(handle, {tab.picture, self._state}, list(dict.fromkeys(outputs)), **_EVENT)

    def from_prompt(self, tab: str, button: gr.Button, prompt: gr.Textbox, alert: gr.HTML) -> None:
        """Of an infotext that was pasted into a prompt: values for the tab's own form."""

        async def handle(session: Session, text: str, request: gr.Request) -> Updates:
            api, language = self._door.api(request.headers), words.language_of(request.headers)
            try:
                told = await png_info.ask(api, requests.picture_telling(text or ""))
                return await self._filled(api, session, tab, told["parameters"], language)
            except Refused as refused:
                return {alert: gr.update(value=html.alert(refused.told), visible=True)}

        button.click(handle, [self._state, prompt], [*self._form_outputs(tab), alert], **_EVENT)

    async def _sent(
        self, session: Session, path: str, destination: str, alert: gr.HTML, request: gr.Request
    ) -> Updates:
        api, language = self._door.api(request.headers), words.language_of(request.headers)
        most = self._most_pixels if destination in _SENT_IN else None
        wrong = await asyncio.to_thread(pictures.wrong_with, path, most)
        if wrong is not None:
            sentence = words.sentence(language, wrong.key, **wrong.values)
            return {alert: gr.update(value=html.alert(sentence), visible=True)}
        updates: Updates = {alert: gr.update(value="", visible=False)}
        updates |= self._placed(path, destination)
        if destination in (EXTRAS, PNG_INFO):
            return updates
        tab = TXT2IMG if destination == TXT2IMG else IMG2IMG
        try:
            told = await png_info.ask(api, await asyncio.to_thread(requests.base64_of, path))
            parameters = dict(told["parameters"]) if told["info"] else {}
            if tab == IMG2IMG:
                parameters |= await asyncio.to_thread(_size_of, path)
            return updates | await self._filled(api, session, tab, parameters, language)
        except (Refused, OSError) as error:
            return updates | {alert: gr.update(value=html.alert(str(error)), visible=True)}

    def _placed(self, path: str, destination: str) -> dict[Any, Any]:
        """The picture in its place, and its tab in front."""
        places, source = self._places, self._places.source
        tab = IMG2IMG if destination == INPAINT else destination
        updates: dict[Any, Any] = {places.tabs: gr.update(selected=tab)}
        if destination == IMG2IMG:
            updates |= {
                source.picture: path,
                source.tabs: gr.update(selected=img2img.PLAIN),
                source.mode: img2img.PLAIN,
                source.masking: gr.update(visible=False),
            }
        elif destination == INPAINT:
            updates |= {
                source.editor: {"background": path, "layers": [], "composite": path},
                source.tabs: gr.update(selected=img2img.INPAINT),
                source.mode: img2img.INPAINT,
                source.masking: gr.update(visible=True),
            }
        elif destination == EXTRAS:
            updates[places.extras] = path
        elif destination == PNG_INFO:
            updates[places.png_info.picture] = path
        return updates

    async def _filled(
        self,
        api: Api,
        session: Session,
        tab: str,
        parameters: Mapping[str, Any],
        language: words.Language,
    ) -> dict[Any, Any]:
        """The form as the parameters say; a number that cannot be shown is told of beside its field."""
        known = await catalogue.ask(api, None)
        titles = [each.name for each in known.of_type("Checkpoint")]
        values = reading.form_values(parameters, titles)
        if tab == IMG2IMG:
            values = {field: value for field, value in values.items() if field not in _NOT_IMG2IMG}
        form = self._places.forms[tab]
        updates: dict[Any, Any] = dict(form.fill(values))
        told = words.sentence(language, "too_large")
        for field in reading.too_large(parameters):
            fields, beside = form.complaint(Refused(422, "TooLarge", told, field)) or ([], {})
            session.complained.setdefault(tab, []).extend(fields)
            updates |= beside
        if any(key.startswith("ControlNet ") for key in parameters):
            updates |= self._places.units[tab].fill(units.of_infotext(parameters), known, language)
        return updates

    def _outputs(self, destination: str) -> list[Any]:
        places, source = self._places, self._places.source
        if destination == EXTRAS:
            return [places.tabs, places.extras]
        if destination == PNG_INFO:
            return [places.tabs, places.png_info.picture]
        if destination == TXT2IMG:
            return [places.tabs, *self._form_outputs(TXT2IMG)]
        masked = [source.mode, source.masking, source.tabs]
        return [places.tabs, *masked, *self._form_outputs(IMG2IMG)]

    def _form_outputs(self, tab: str) -> list[Any]:
        return list(dict.fromkeys([*self._places.forms[tab].outputs, *self._places.units[tab].outputs]))


def _size_of(path: str) -> dict[str, int]:
    """A picture's own size, in infotext's words: it may have been enlarged since. Raises `OSError`."""
    width, height = pictures.size_of(path)
    return {"Size-1": width // 8 * 8, "Size-2": height // 8 * 8}
