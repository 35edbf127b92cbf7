"""The fields of one tab, by A1111's names, and what the interface said of them.

Dots lead into nested fields (`override_settings.sd_vae`). Knows no field by name.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import gradio as gr
from gradio.components.base import Component

from sd_page import pictures, words
from sd_page.api import Refused

AnyComponent = TypeVar("AnyComponent", bound=Component)

#: The class of a component whose value was refused.
REFUSED = "sd-refused"
#: The interface names an option without the field that it is in.
_OPTIONS = "override_settings"
#: What means something in Markdown or HTML within a sentence, and what makes links of addresses.
_MARKS = re.compile(r"[\\`*_\[\]<>~$&@|#]|:(?=//)|(?<=www)\.", re.IGNORECASE)

Updates = dict[Component, Any]


class Form:
    """Components by field. A refusal's sentence stands beside the component it is about: in its `info`, or in
    a Markdown where it has none."""

    def __init__(self, tab: str) -> None:
        #: `txt2img`, `img2img`, `extras`, …
        self.tab = tab
        self._components: dict[str, Component] = {}
        self._beside: dict[str, gr.Markdown] = {}

    def id(self, field: str) -> str:
        """The element id of a field's component: `sd-txt2img-prompt`."""
        return f"sd-{self.tab}-{field.replace('.', '-')}"

    def add(self, field: str, component: AnyComponent, beside: gr.Markdown | None = None) -> AnyComponent:
        """Makes the component the field's. `beside` tells what is wrong with one that has no `info`."""
        self._components[field] = component
        if beside is not None:
            self._beside[field] = beside
        return component

    def __getitem__(self, field: str) -> Component:
        return self._components[field]

    def __contains__(self, field: object) -> bool:
        return field in self._components

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    @property
    def inputs(self) -> set[Component]:
        """For an event's `inputs`: its handler is then given values by component."""
        return set(self._components.values())

    @property
    def outputs(self) -> list[Component]:
        """All that `complaint`, `cleared` and `fill` may change."""
        return [*self._components.values(), *dict.fromkeys(self._beside.values())]

    def places(self, field: str) -> list[Component]:
        """Where the sentence about a field stands."""
        return [self._beside.get(field, self._components[field])]

    def values(self, given: Mapping[Component, Any]) -> dict[str, Any]:
        """Values by field, of an event with `preprocess=False`: what a component would not accept comes to
        the interface, which says why in a sentence."""
        return {field: plain(given[component]) for field, component in self._components.items()}

    def fill(self, values: Mapping[str, Any]) -> Updates:
        """Updates that set these fields; those that are not the form's are passed over."""
        return {
            self._components[field]: gr.update(value=value)
            for field, value in values.items()
            if field in self._components
        }

    def complaint(self, refused: Refused) -> tuple[list[str], Updates] | None:
        """The fields that the refusal names, and its sentences beside them; what is about no field of this
        form goes with the sentence before it. None: it names none."""
        beside: dict[str, list[str]] = {}
        homeless: list[str] = []
        for named, sentence in refused.parts:
            field = self._named_by(named) or next(reversed(beside), None)
            (homeless if field is None else beside.setdefault(field, [])).append(sentence)
        if not beside:
            return None
        first = next(iter(beside))
        beside[first] = [*homeless, *beside[first]]
        updates: Updates = {}
        # Several fields may share one place.
        shared: dict[gr.Markdown, list[str]] = {}
        for field, sentences in beside.items():
            if field in self._beside:
                shared.setdefault(self._beside[field], []).extend(sentences)
            else:
                component = self._components[field]
                classes = [*component.elem_classes, REFUSED]
                updates[component] = gr.update(info=as_info("; ".join(sentences)), elem_classes=classes)
        for place, sentences in shared.items():
            updates[place] = gr.update(value=as_text("; ".join(sentences)), visible=True)
        return list(beside), updates

    def cleared(self, *fields: str) -> Updates:
        """Takes the sentences beside these fields away again."""
        updates: Updates = {}
        for field in fields:
            if field in self._beside:
                updates[self._beside[field]] = gr.update(value="", visible=False)
            elif field in self._components:
                component = self._components[field]
                # Gradio leaves what is None as it was.
                info = getattr(component, "info", None) or ""
                updates[component] = gr.update(info=info, elem_classes=component.elem_classes)
        return updates

    def judged(self, field: str, path: str | None, most: int | None, language: words.Language) -> Updates:
        """Of a picture's file that was just given: what is wrong with it, or nothing, beside it."""
        wrong = pictures.wrong_with(path, most) if path else None
        if wrong is None:
            return self.cleared(field)
        told = words.sentence(language, wrong.key, **wrong.values)
        _, updates = self.complaint(Refused(422, "Unusable", told, field)) or ([], {})
        return updates

    def _named_by(self, named: str | None) -> str | None:
        """The field of the form, also where the refusal speaks of something within it (`styles.0`)."""
        while named:
            for field in (named, f"{_OPTIONS}.{named}"):
                if field in self._components:
                    return field
            named = named.rpartition(".")[0]
        return None


def as_text(sentence: str) -> str:
    """The sentence for what shows Markdown: what a request said in it stays text, and no picture or link."""
    return _MARKS.sub(r"\\\g<0>", sentence)


def as_info(sentence: str) -> str:
    """The sentence for `info`, which makes links, too, but knows no backslashes: what would be one is parted
    by a mark that nobody sees."""
    return sentence.replace("](", "]\u2060(")


def plain(value: Any) -> Any:
    """A component's value as it was sent, with paths in place of what tells of files: of a picture its path,
    of a gallery's pictures path and caption."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "path" in value and "meta" in value:
        return value["path"]
    if set(value) == {"image", "caption"}:
        return (plain(value["image"]), value["caption"])
    return {key: plain(each) for key, each in value.items()}
