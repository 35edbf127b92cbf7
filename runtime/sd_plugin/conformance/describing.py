"""Demands on what a plugin says about itself."""

import json
import stat
import time
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from sd_plugin.conformance.demand import Broken, Demand, NotTried, must
from sd_plugin.conformance.probe import Answer, Probe
from sd_plugin.contract import VERSION, Limits, ModuleDescription, Parameter, PluginDescription

#: After which callers give up what is asked for every few seconds.
PROMPT_SECONDS = 2.0


class _Health(BaseModel):
    status: Literal["ok"]


def _is_healthy(probe: Probe) -> None:
    judge_health(probe.get("/healthz"))


def judge_health(answer: Answer) -> None:
    """Raises `Broken` unless this is what a plugin that serves answers to GET /healthz."""
    must(answer.status == 200, f"it answers {answer.status}")
    try:
        _Health.model_validate_json(answer.body, strict=True)
    except ValidationError:
        raise Broken(f"it answers {answer.body[:100]!r}") from None


def _is_described(probe: Probe) -> None:
    answer = probe.get("/v1/plugin")
    must(answer.status == 200, f"it answers {answer.status}")
    try:
        probe.description = PluginDescription.read(answer.body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the description"
        raise Broken(f"{place}: {first['msg']}") from None


def _is_steady(probe: Probe) -> None:
    before = probe.description
    if before is None:
        raise Broken("there is no valid description")
    _is_described(probe)
    now = probe.description
    must(now is not None and (now.name, now.kind) == (before.name, before.kind), "name or kind has changed")


def _is_prompt(probe: Probe) -> None:
    for path in ("/healthz", "/v1/plugin"):
        began = time.monotonic()
        probe.get(path)
        took = time.monotonic() - began
        must(took <= PROMPT_SECONDS, f"the answer to GET {path} took {took:.1f} s")


def _spells_keys(probe: Probe) -> None:
    _described(probe)
    known = {_plain(each): each for kind in _KINDS for each in _aliases(kind)}
    for key in _keys(json.loads(probe.get("/v1/plugin").body)):
        meant = known.get(_plain(key), key)
        must(key == meant, f"{key!r} is ignored; the contract's key is {meant!r}")


def _bears_its_sockets_name(probe: Probe) -> None:
    name, called = _described(probe).name, probe.socket.stem
    must(name == called, f"it calls itself {name!r} at {probe.socket.name}; callers demand {called!r}")


def _is_open_to_its_group(probe: Probe) -> None:
    mode = probe.socket.stat().st_mode
    both = stat.S_IRGRP | stat.S_IWGRP
    must(mode & both == both, f"its mode is {stat.filemode(mode)}")


def _described(probe: Probe) -> PluginDescription:
    if probe.description is None:
        raise NotTried("there is no valid description")
    return probe.description


_KINDS: tuple[type[BaseModel], ...] = (PluginDescription, Limits, ModuleDescription, Parameter)


def _aliases(kind: type[BaseModel]) -> Iterator[str]:
    return (field.alias or name for name, field in kind.model_fields.items())


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _keys(value: Any) -> Iterator[str]:
    """Of the description, its limits, its modules and their parameters; what is below keys that the contract
    does not know is nobody's concern."""
    if isinstance(value, list):
        for each in value:
            yield from _keys(each)
    elif isinstance(value, dict):
        yield from value
        for key in ("limits", "modules", "parameters"):
            yield from _keys(value.get(key))


DEMANDS = (
    Demand('GET /healthz answers 200 {"status": "ok"}', _is_healthy),
    Demand(f"GET /v1/plugin answers a valid description of contract {VERSION}", _is_described),
    Demand("GET /v1/plugin answers the same name and kind again", _is_steady),
    Demand("the description's keys are spelt as the contract spells them", _spells_keys),
    Demand("its name is that of its socket, without .sock", _bears_its_sockets_name),
    Demand("its socket may be read and written by its group", _is_open_to_its_group),
    Demand(f"GET /healthz and GET /v1/plugin are answered within {PROMPT_SECONDS:g} s", _is_prompt),
)
