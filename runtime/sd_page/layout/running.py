"""The course of a tab's job: Generate hands it in, the page follows it, Cancel takes it back, and a page that
is loaded anew goes on following. One class for every tab that makes pictures.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from sd_page import following, reading, words
from sd_page.api import Api, Door, Refused
from sd_page.following import Standing
from sd_page.layout import standing as html
from sd_page.layout.form import Form, Updates
from sd_page.layout.output import Output
from sd_page.layout.prompt import Buttons
from sd_page.pictures import Unusable
from sd_page.session import SHELF, Picture, Session

logger = logging.getLogger(__name__)

#: The body of A1111's route from a form's values and all that the event was given. Raises `Unusable`.
Make = Callable[[dict[str, Any], Mapping[Component, Any]], dict[str, Any]]

#: The interface no longer knows such a job: it ended long ago, or its replica is gone.
_GONE = (404, 410)


@dataclass(frozen=True)
class Keeping:
    """Where a session is kept, and what shows all of its pictures."""

    door: Door
    #: Of pictures' files.
    folder: Path
    #: Pixels that a picture which is sent in may have.
    most_pixels: int
    state: gr.State
    browser: gr.BrowserState
    shelf: gr.Gallery
    #: One body is made at a time: a mask takes several times its pixels in memory, however many draw.
    making: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


class Running:
    """Binds the buttons of a tab to the course of its jobs."""

    def __init__(
        self, kind: str, form: Form, buttons: Buttons, output: Output, keeping: Keeping, make: Make
    ) -> None:
        self._kind = kind
        self._form = form
        self._tab = form.tab
        self._buttons = buttons
        self._output = output
        self._keeping = keeping
        self._make = make

    def wire(
        self,
        blocks: gr.Blocks,
        *,
        more_inputs: frozenset[Component] = frozenset(),
    ) -> None:
        """Registers the events. `more_inputs`: what `make` needs beside the form's fields."""
        keeping, output, buttons = self._keeping, self._output, self._buttons
        shown: list[Component] = [
            output.alert,
            output.standing,
            output.gallery,
            output.infotext,
            keeping.browser,
            keeping.shelf,
            buttons.generate,
            buttons.cancel,
        ]
        quiet: dict[str, Any] = {"show_progress": "hidden", "preprocess": False, "api_visibility": "private"}
        buttons.generate.click(
            self._generate,
            {*self._form.inputs, *more_inputs, keeping.state},
            [*shown, *self._form.outputs],
            **quiet,
        )
        buttons.cancel.click(
            self._cancel, [keeping.state], [output.standing, output.alert, buttons.cancel], **quiet
        )
        blocks.load(self._resume, [keeping.state, keeping.browser], [*shown, *self._form.outputs], **quiet)

    async def _generate(self, given: dict[Component, Any], request: gr.Request) -> AsyncIterator[Updates]:
        session: Session = given[self._keeping.state]
        language = words.language_of(request.headers)
        yield self._begun(session, html.handing_in(language))
        try:
            async with self._keeping.making:
                body = await asyncio.to_thread(self._make, self._form.values(given), given)
            api = self._keeping.door.api(request.headers)
            standing = await following.hand_in(api, self._kind, body)
            session.begin(self._tab, standing.id)
            async for updates in self._followed(api, session, standing.id, language):
                yield updates
        except Exception as error:  # noqa: BLE001 - whatever it is, the page says so and can be used again
            yield self._failed(session, error, language)

    async def _resume(self, session: Session, stored: Any, request: gr.Request) -> AsyncIterator[Updates]:
        """Of a page that is loaded anew: shows what the browser's jobs have made, and follows the one that
        has not ended."""
        session.adopt(stored)
        language = words.language_of(request.headers)
        api = self._keeping.door.api(request.headers)
        # Gradio empties all outputs of what yields nothing.
        yield {self._output.standing: ""}
        for job in [job for job, tab in session.jobs.items() if tab == self._tab]:
            try:
                standing = following.standing_of(await api.get(f"/v1/jobs/{job}"))
                if standing.state == "done":
                    yield await self._finished(api, session, standing.id, "")
                elif not standing.ended:
                    session.running[self._tab] = job
                    yield self._begun(session, html.shown(language, standing))
                    async for updates in self._followed(api, session, job, language):
                        yield updates
            except Refused as refused:
                session.end(self._tab)
                if refused.status in _GONE:
                    session.forget(job)
                    yield self._idle() | {self._keeping.browser: session.stored()}
                else:
                    yield self._failed(session, refused, language)
            except Exception as error:  # noqa: BLE001 - as above
                yield self._failed(session, error, language)

    async def _cancel(self, session: Session, request: gr.Request) -> AsyncIterator[Updates]:
        """Takes back the tab's own job; that it has ended, is told by whoever follows it."""
        language = words.language_of(request.headers)
        yield {self._buttons.cancel: gr.update(interactive=False)}
        job = session.running.get(self._tab)
        if job is None:
            return
        yield {self._output.standing: html.told(words.sentence(language, "cancelling"))}
        try:
            await following.cancel(self._keeping.door.api(request.headers), job)
        except Refused as refused:
            yield {self._output.alert: gr.update(value=html.alert(refused.told), visible=True)}

    async def _followed(
        self, api: Api, session: Session, job: str, language: words.Language
    ) -> AsyncIterator[Updates]:
        """From the job's being known to its end."""
        output = self._output
        yield {
            self._keeping.browser: session.stored(),
            self._buttons.cancel: gr.update(interactive=True),
        }
        async for standing in following.follow(api, job):
            if not standing.ended:
                yield {output.standing: html.shown(language, standing)}
                continue
            session.end(self._tab)
            yield await self._ended(api, session, standing, language)

    async def _ended(
        self, api: Api, session: Session, standing: Standing, language: words.Language
    ) -> Updates:
        if standing.state == "cancelled":
            return self._idle() | {self._output.standing: html.told(words.sentence(language, "cancelled"))}
        if standing.error is not None:
            return self._failed(session, standing.error, language)
        return await self._finished(api, session, standing.id, language)

    async def _finished(self, api: Api, session: Session, job: str, language: words.Language) -> Updates:
        """Shows the pictures of a job; says so in `language` ("": says nothing)."""
        made = await asyncio.to_thread(reading.pictures, await following.result(api, job))
        taken = await asyncio.to_thread(session.take, self._tab, job, made, self._keeping.folder)
        told = words.sentence(language, "done", count=len(taken)) if language else ""
        return self._idle() | {
            self._output.standing: html.told(told) if told else "",
            self._output.gallery: gr.update(value=items(taken), selected_index=0 if taken else None),
            self._output.infotext: taken[0].infotext if taken else "",
            self._keeping.shelf: items(session.shown[SHELF]),
        }

    def _begun(self, session: Session, standing: str) -> Updates:
        return {
            **self._form.cleared(*session.complained.pop(self._tab, ())),
            self._output.alert: gr.update(value="", visible=False),
            self._output.standing: standing,
            self._buttons.generate: gr.update(interactive=False),
        }

    def _idle(self) -> Updates:
        return {
            self._buttons.generate: gr.update(interactive=True),
            self._buttons.cancel: gr.update(interactive=False),
        }

    def _failed(self, session: Session, error: Exception, language: words.Language) -> Updates:
        """The sentence beside its field, or above the pictures."""
        session.end(self._tab)
        if isinstance(error, Unusable):
            told = words.sentence(language, error.key, **error.values)
            refused = Refused(422, "Unusable", told, error.field)
        elif isinstance(error, Refused):
            refused = error
        else:
            logger.error("a job of the tab %s cannot be followed", self._tab, exc_info=error)
            refused = Refused(500, "Error", words.sentence(language, "defect"))
        updates = self._idle() | {self._output.standing: ""}
        complaint = self._form.complaint(refused)
        if complaint is None:
            return updates | {self._output.alert: gr.update(value=html.alert(refused.told), visible=True)}
        session.complained[self._tab], beside = complaint
        return updates | beside


def items(pictures: list[Picture]) -> list[str]:
    """A gallery's value."""
    return [str(each.path) for each in pictures]
