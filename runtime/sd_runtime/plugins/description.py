"""What a plugin says of itself (GET /v1/plugin), judged: pydantic's models, and how they become states.

The bounds are those of `docs/plugin-contract.md`. Keys that contract 1 does not know are passed over, so that
later versions may add some. Each module is judged for itself: one that is wrong takes no other with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sd_runtime.errors import complaint, shown
from sd_runtime.plugins.faults import BrokenContract
from sd_runtime.plugins.states import UPSCALER, Kind, Limits, ModuleState, Parameter

CONTRACT = 1
#: Sets how large a picture a preprocessor works on; what is not called so is a threshold.
RESOLUTION = "resolution"
#: A1111's ControlNet knows threshold_a and threshold_b.
_MOST_THRESHOLDS = 2
#: Of what was wrong, as many are told as fit in a sentence.
_MOST_COMPLAINTS = 3
_NAME = r"^[a-z0-9][a-z0-9_+.-]{0,62}$"
_PARAMETER_NAME = r"^[a-z][a-z0-9_]{0,62}$"
_LONGEST_REASON, _LONGEST_UNIT = 1000, 20
#: Whole numbers up to this are the same in every language.
_LARGEST_NUMBER = 2**53


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable, on one line")
    return text


_Word = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
_Unit = Annotated[str, Field(max_length=_LONGEST_UNIT), AfterValidator(_printable)]
_Sentence = Annotated[str, Field(max_length=_LONGEST_REASON), AfterValidator(_printable)]
_Name = Annotated[str, Field(pattern=_NAME)]
_Number = Annotated[float, Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
# JSON's lists come as Python's; what is in them is judged as strictly as the rest.
_Words = Annotated[tuple[_Word, ...], Field(max_length=32, strict=False)]


class _Strict(BaseModel):
    """Numbers are numbers and texts are texts."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Parameter(_Strict):
    name: str = Field(pattern=_PARAMETER_NAME)
    label: _Word
    type: Literal["integer", "number"]
    default: _Number
    minimum: _Number
    maximum: _Number
    step: _Number = Field(gt=0)
    unit: _Unit = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"default {self.default:g} must be in {self.minimum:g} to {self.maximum:g}")
        numbers = (self.default, self.minimum, self.maximum, self.step)
        if self.type == "integer" and not all(number.is_integer() for number in numbers):
            raise ValueError("default, minimum, maximum and step of an integer must be integers")
        return self


class _Module(_Strict):
    name: _Name
    label: _Word
    aliases: _Words = ()
    control_types: _Words = Field(default=(), alias="controlTypes")
    matches: _Words = ()
    available: bool = True
    reason: _Sentence = ""
    mask: bool = False
    factor: int | None = Field(default=None, ge=1, le=16)
    parameters: tuple[_Parameter, ...] = Field(default=(), max_length=1 + _MOST_THRESHOLDS, strict=False)

    @model_validator(mode="after")
    def _reason_fits(self) -> Self:
        if self.available == bool(self.reason):
            raise ValueError("a reason must be there where the module is not available, and only there")
        return self

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        names = [parameter.name for parameter in self.parameters]
        _demand_unlike("parameters", names)
        if len([name for name in names if name != RESOLUTION]) > _MOST_THRESHOLDS:
            raise ValueError(f"at most {_MOST_THRESHOLDS} parameters beside {RESOLUTION!r} are allowed")
        return self


class _Limits(_Strict):
    pixels: int = Field(ge=1, le=2**31)
    seconds: float = Field(gt=0, le=3600)


class _Contract(_Strict):
    """Read first: another contract may have other words for the rest."""

    contract: int


class _Frame(_Strict):
    """A description but for what its modules say."""

    name: Annotated[str, Field(max_length=63)]
    version: _Word
    kind: Kind
    limits: _Limits
    modules: tuple[Any, ...] = Field(min_length=1, max_length=128)

    @model_validator(mode="after")
    def _modules_have_names_of_their_own(self) -> Self:
        _demand_unlike("modules", [name for each in self.modules if (name := _name_of(each)) is not None])
        return self


@dataclass(frozen=True, slots=True)
class _Faulty:
    """A module whose description breaks the contract; `reason` says how. Without a name of the contract's
    nobody can ask for it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Description:
    """A plugin as it says it is."""

    name: str
    version: str
    kind: Kind
    limits: _Limits
    modules: tuple[_Module | _Faulty, ...]
    #: Of modules that are left out, for want of a name; a sentence, or "".
    message: str = ""

    def states(self) -> tuple[ModuleState, ...]:
        """Its modules; those whose description breaks the contract are not available."""
        return tuple(_state(module) for module in self.modules)

    def told_limits(self) -> Limits:
        """What it does at most."""
        return Limits(pixels=self.limits.pixels, seconds=self.limits.seconds)


_Read = TypeVar("_Read", bound=_Strict)


def read(body: bytes, *, name: str, kind: Kind | None) -> Description:
    """The description that the plugin called `name` gave; raises `BrokenContract`, also where no module of it
    keeps the contract. `kind` None: any."""
    contract = _parsed(_Contract, body).contract
    if contract != CONTRACT:
        raise BrokenContract(f"its contract is {shown(contract)}; this runtime serves contract {CONTRACT}")
    frame = _parsed(_Frame, body)
    if frame.name != name:
        raise BrokenContract(f"it calls itself {shown(frame.name)} at the socket of {name}")
    if kind is not None and frame.kind != kind:
        raise BrokenContract(f"its kind is {frame.kind}, where the settings say {kind}")
    judged = [_judged(place, each, frame.kind) for place, each in enumerate(frame.modules)]
    faulty = [each for each in judged if isinstance(each, _Faulty)]
    if len(faulty) == len(judged):
        raise BrokenContract(f"GET /v1/plugin: {faulty[0].reason}")
    nameless = [each.reason for each in faulty if not each.name]
    return Description(
        name=frame.name,
        version=frame.version,
        kind=frame.kind,
        limits=frame.limits,
        modules=tuple(each for each in judged if each.name),
        message=f"modules are left out: {_told(nameless)}" if nameless else "",
    )


def _judged(place: int, said: object, kind: Kind) -> _Module | _Faulty:
    try:
        module = _Module.model_validate(said)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        told = [complaint(each | {"loc": ("modules", place, *each["loc"])}) for each in problems]
        return _Faulty(_name_of(said) or "", _told(told))
    if (module.factor is not None) == (kind == UPSCALER):
        return module
    allowed = "a whole number of an Upscaler, null of a Preprocessor"
    return _Faulty(module.name, f"{module.name}: factor {module.factor} of a {kind}; allowed: {allowed}")


def _name_of(said: object) -> str | None:
    name = said.get("name") if isinstance(said, Mapping) else None
    return name if isinstance(name, str) and re.fullmatch(_NAME, name) else None


def _told(complaints: list[str]) -> str:
    more = len(complaints) - _MOST_COMPLAINTS
    return "; ".join(complaints[:_MOST_COMPLAINTS]) + (f"; and {more} more" if more > 0 else "")


def _parsed(model: type[_Read], body: bytes) -> _Read:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        told = [complaint(problem, whole="answer") for problem in error.errors(include_url=False)]
        raise BrokenContract(f"GET /v1/plugin: {_told(told)}") from error


def _state(module: _Module | _Faulty) -> ModuleState:
    if isinstance(module, _Faulty):
        reason = f"what its plugin says of it breaks the contract: {module.reason}"[:_LONGEST_REASON]
        return ModuleState(name=module.name, label=module.name, available=False, reason=reason)
    return ModuleState(
        name=module.name,
        label=module.label,
        aliases=module.aliases,
        control_types=module.control_types,
        matches=module.matches,
        available=module.available,
        reason=module.reason,
        mask=module.mask,
        factor=module.factor,
        parameters=tuple(Parameter(**parameter.model_dump()) for parameter in module.parameters),
    )


def _demand_unlike(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{what} must have names unlike each other")
