"""What there is to choose from, with facts, and with the reason where something cannot be used: read from the
answers of GET /v1/models, /v1/plugins and /controlnet/*. Judges nothing itself, and knows no component.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sd_page import reading
from sd_page.api import Api

CONTROLNET, LORA, EMBEDDING, HYPERNETWORK = "ControlNet", "LoRA", "Embedding", "Hypernetwork"
#: How the interface calls no module, and no ControlNet; and the control type to which everything belongs.
NO_MODULE, NO_NETWORK, ALL = "none", "None", "All"
_SHORT_HASH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One item of GET /v1/models; `reason` is empty where it can be used with the checkpoint."""

    type: str
    name: str
    file: str
    family: str = ""
    bytes: int = 0
    sha256: str = ""
    #: What a prompt says to use it.
    insert: str = ""
    trigger_words: tuple[str, ...] = ()
    description: str = ""
    #: The path of a picture below the server's root, without a slash in front.
    preview: str = ""
    reason: str = ""

    @property
    def facts(self) -> str:
        """Family, size and the beginning of the hash, as far as they are known."""
        known = (
            self.family,
            reading.size_in_words(self.bytes) if self.bytes else "",
            self.sha256[:_SHORT_HASH],
        )
        return " · ".join(each for each in known if each)


@dataclass(frozen=True, slots=True)
class Slider:
    """A number of a module, and the field of a unit that sets it."""

    field: str
    label: str
    value: float
    minimum: float
    maximum: float
    step: float


@dataclass(frozen=True, slots=True)
class Module:
    """A preprocessor; `reason` is empty where it can be used now."""

    name: str
    label: str
    sliders: tuple[Slider, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ControlType:
    """What belongs to a control type, by the names that requests use, and what it stands for."""

    name: str
    modules: tuple[str, ...]
    networks: tuple[str, ...]
    module: str
    network: str

    @property
    def is_empty(self) -> bool:
        """Whether this server has nothing for it."""
        return self.name != ALL and set(self.modules) <= {NO_MODULE} and set(self.networks) <= {NO_NETWORK}


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a dropdown."""

    value: str
    label: str
    facts: str = ""
    reason: str = ""

    @property
    def shown(self) -> str:
        """The whole line; one that cannot be used begins with the mark that `page.js` greys."""
        line = " · ".join(each for each in (self.label, self.facts) if each)
        return f"{reading.UNUSABLE} {line}: {self.reason}" if self.reason else line

    @property
    def choice(self) -> reading.Choice:
        """What is shown, and what is sent."""
        return (self.shown, self.value)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything together, as it was when it was asked for; `models` are judged against one checkpoint."""

    models: tuple[Model, ...] = ()
    modules: tuple[Module, ...] = ()
    types: tuple[ControlType, ...] = ()
    units: int = 1
    #: The title of the checkpoint that the server serves.
    served: str = ""

    def of_type(self, type_: str) -> tuple[Model, ...]:
        """Models of a type, those that can be used first."""
        return tuple(sorted((each for each in self.models if each.type == type_), key=_order))

    def module(self, name: str) -> Module:
        """The module of this name; one without numbers where there is none (any more)."""
        found = (each for each in self.modules if name in (each.name, each.label))
        return next(found, Module(name, name))

    def control_type(self, name: str) -> ControlType:
        """The control type of this name; an empty one where there is none (any more)."""
        found = (each for each in self.types if each.name == name)
        return next(found, ControlType(name, (NO_MODULE,), (NO_NETWORK,), NO_MODULE, NO_NETWORK))

    def type_options(self, reason_of_empty: str) -> list[Option]:
        """The control types."""
        return [Option(t.name, t.name, reason=reason_of_empty if t.is_empty else "") for t in self.types]

    def module_options(self, type_: str) -> list[Option]:
        """The modules of a control type."""
        known = [self.module(name) for name in self.control_type(type_).modules]
        return [Option(each.name, each.label, reason=each.reason) for each in known]

    def network_options(self, type_: str) -> list[Option]:
        """The ControlNets of a control type; with "All" also those whose files cannot be used at all, which
        the interface does not list."""
        listed = self.control_type(type_).networks
        options = [self._network(title) for title in listed]
        if type_ == ALL:
            names = {_without_hash(title) for title in listed}
            others = [each for each in self.of_type(CONTROLNET) if _without_hash(each.name) not in names]
            options += [Option(e.name, e.name, e.facts, e.reason) for e in others if e.reason]
        return options

    def defaults(self, type_: str) -> tuple[str, str]:
        """Module and ControlNet that a control type stands for. The interface judges by the checkpoint it
        serves; where this one takes another, it is the first that can be used with it."""
        chosen = self.control_type(type_)
        if not self._network(chosen.network).reason:
            return chosen.module, chosen.network
        fitting = (t for t in chosen.networks if t != NO_NETWORK and not self._network(t).reason)
        return chosen.module, next(fitting, NO_NETWORK)

    def _network(self, title: str) -> Option:
        name = _without_hash(title)
        own = [each for each in self.models if each.type == CONTROLNET]
        found = next((each for each in own if title == each.name), None)
        found = found or next((each for each in own if name == _without_hash(each.name)), None)
        return Option(title, title, found.facts, found.reason) if found else Option(title, title)


async def ask(api: Api, checkpoint: str | None) -> Catalogue:
    """All there is, judged against a checkpoint (a title; None: the served one). Raises `Refused`."""
    judged = {"checkpoint": checkpoint} if checkpoint else {}
    models, plugins, types, names, labels, settings = await asyncio.gather(
        api.get("/v1/models", **judged),
        api.get("/v1/plugins"),
        api.get("/controlnet/control_types"),
        api.get("/controlnet/module_list"),
        api.get("/controlnet/module_list", alias_names="true"),
        api.get("/controlnet/settings"),
    )
    modules = read_modules(names, labels, plugins)
    return Catalogue(
        read_models(models),
        modules,
        read_types(types, modules),
        int(settings["control_net_unit_count"]),
        models.get("checkpoint") or "",
    )


def read_models(answer: Mapping[str, Any]) -> tuple[Model, ...]:
    """What GET /v1/models says."""
    return tuple(
        Model(
            type=each["type"],
            name=each["name"],
            file=each.get("file") or "",
            family=each.get("family") or "",
            bytes=each.get("bytes") or 0,
            sha256=each.get("sha256") or "",
            insert=each.get("insert") or "",
            trigger_words=tuple(each.get("trigger_words") or ()),
            description=each.get("description") or "",
            preview=(each.get("preview") or "").lstrip("/"),
            reason="" if each["usable"] else each.get("reason") or "",
        )
        for each in answer["models"]
    )


def read_modules(
    names: Mapping[str, Any], labels: Mapping[str, Any], plugins: Mapping[str, Any]
) -> tuple[Module, ...]:
    """What GET /controlnet/module_list says by names and by labels, which are in one order, and GET
    /v1/plugins of those that cannot be used now."""
    reasons = _reasons(plugins)
    listed, called = names["module_list"], labels["module_list"]
    # Two modules of one label are one item there: then names have to do.
    called = called if len(called) == len(listed) else listed
    return tuple(
        Module(
            name,
            label,
            tuple(
                Slider(each["field"], each["name"], each["value"], each["min"], each["max"], each["step"])
                for each in names["module_detail"][name]["sliders"]
            ),
            reasons.get(name.rpartition("/")[2], ""),
        )
        for name, label in zip(listed, called, strict=True)
    )


def read_types(answer: Mapping[str, Any], modules: Sequence[Module]) -> tuple[ControlType, ...]:
    """What GET /controlnet/control_types says, which is told by labels."""
    names = {each.label: each.name for each in modules}
    return tuple(
        ControlType(
            name,
            tuple(names.get(label, label) for label in each["module_list"]),
            tuple(each["model_list"]),
            names.get(each["default_option"], each["default_option"]),
            each["default_model"],
        )
        for name, each in answer["control_types"].items()
    )


def _reasons(plugins: Mapping[str, Any]) -> dict[str, str]:
    """By module. Of two plugins with a module of one name the first has it, as in the interface."""
    found: dict[str, str] = {}
    for plugin in plugins["plugins"]:
        for each in plugin["modules"]:
            told = each.get("reason") or plugin.get("message") or plugin.get("reason") or ""
            found.setdefault(each["name"], "" if each["available"] and plugin["ready"] else told)
    return found


def _without_hash(title: str) -> str:
    name, _, hash_ = title.rpartition(" [")
    return name if name and hash_.endswith("]") else title


def _order(model: Model) -> tuple[bool, str]:
    return bool(model.reason), model.name.lower()
