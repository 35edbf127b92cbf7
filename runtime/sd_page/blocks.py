"""Gradio's Blocks, but for what a visitor may name: files that were uploaded to this page or made by it, and
nothing else of the machine or of other hosts.

Gradio's own check of this is off where its application is mounted in another, and passes over what does not
say that it is a file.
"""

import logging
import traceback
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState

logger = logging.getLogger(__name__)

#: Of a failure in the log: characters of its sentence, and places in the code that led to it.
_LONGEST, _PLACES = 300, 4


class Page(gr.Blocks):
    """The page's. `folder` has all files that events may speak of; the other words are those of Blocks."""

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(**given)
        self._folder = folder

    async def preprocess_data(
        self,
        block_fn: BlockFunction,
        inputs: list[Any],
        state: SessionState | None,
        explicit_call: bool = False,
    ) -> Any:
        """As Gradio's, for files of the page's folder."""
        if names_another_file(inputs, self._folder):
            raise gr.Error("A file must be uploaded here before it is named.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)

    async def process_api(self, *given: Any, **named: Any) -> dict[str, Any]:
        """As Gradio's, but that what fails is one line of the log: most of it is values of a shape that no
        browser sends, which is no news."""
        try:
            output: dict[str, Any] = await super().process_api(*given, **named)
            if not can_be_told(output["data"]):
                # It would end the stream, which is that of the session's other events, too.
                raise gr.Error("A number here is too large to be shown.", print_exception=False)
            return output
        except gr.Error:
            raise
        except Exception as error:
            places = [f"{each.name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
            told = {"error": f"{type(error).__name__}: {error}"[:_LONGEST], "places": places[-_PLACES:]}
            logger.error("an event of the page failed", extra=told)
            raise gr.Error(
                "The server cannot do this with what it was given.", print_exception=False
            ) from error


def can_be_told(value: Any) -> bool:
    """Whether an answer can carry it: integers have 64 bits there."""
    if isinstance(value, list | tuple):
        return all(can_be_told(each) for each in value)
    if isinstance(value, dict):
        return all(can_be_told(each) for each in value.values())
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def names_another_file(value: Any, folder: Path) -> bool:
    """Whether anything in it has a path that does not lead below the folder, links followed."""
    if isinstance(value, list | tuple):
        return any(names_another_file(each, folder) for each in value)
    if not isinstance(value, dict):
        return False
    path = value.get("path")
    if path is not None and not _is_below(path, folder):
        return True
    return any(names_another_file(each, folder) for each in value.values())


def _is_below(path: object, folder: Path) -> bool:
    if not isinstance(path, str) or not Path(path).is_absolute():
        return False
    try:
        return Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a name that no file can have
        return False
