"""Version 1 of the contract between the runtime and its plugins, as data: what a plugin says about itself.

`docs/plugin-contract.md` tells the contract in full, its table of bounds included; `archive.py` has the form
of requests and answers. Unknown keys are ignored, so that later plugins may say more.
"""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

#: The contract's number, which a plugin tells and a caller demands.
VERSION = 1
#: The parameter that says how long the shorter side of a map is, in pixels.
RESOLUTION = "resolution"
#: Besides `RESOLUTION`: clients of A1111's interface have two thresholds to set.
MOST_PARAMETERS = 2
#: The most pixels of a picture, given or made, unless a plugin says otherwise.
MOST_PIXELS = 16_777_216
MOST_MODULES = 128
#: Of a module's aliases, control types and matches, each.
MOST_NAMES = 32
LONGEST_WORDS, LONGEST_UNIT, LONGEST_REASON = 100, 20, 1000
#: Whole numbers up to this are the same in every language.
_LARGEST_NUMBER = 2**53

PLUGIN_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
MODULE_NAME = r"^[a-z0-9][a-z0-9_+.-]{0,62}$"
PARAMETER_NAME = r"^[a-z][a-z0-9_]{0,62}$"

Kind = Literal["Preprocessor", "Upscaler"]


def line(text: str, longest: int = LONGEST_REASON) -> str:
    """The text as a description may tell it: what cannot be printed replaced, and no longer than this. For
    names of files and words of libraries, which may hold anything."""
    shown = "".join(each if each.isprintable() else "?" for each in text).strip()
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable, on one line")
    return text


Number = Annotated[int | float, Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
_Printable = AfterValidator(_printable)
Words = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_WORDS), _Printable]
Names = Annotated[tuple[Words, ...], Field(max_length=MOST_NAMES)]


class _Described(BaseModel):
    """Camel case outside, as everywhere in the API; refuses other types rather than convert them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        strict=True,
        allow_inf_nan=False,
    )


class Parameter(_Described):
    """A number that a run may be given. `step` is what a slider moves by; values between steps are taken."""

    name: str = Field(pattern=PARAMETER_NAME)
    label: Words
    type: Literal["integer", "number"]
    default: Number
    minimum: Number
    maximum: Number
    step: Number
    unit: Annotated[str, StringConstraints(max_length=LONGEST_UNIT), _Printable] = ""

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not self.minimum <= self.default <= self.maximum or self.step <= 0:
            raise ValueError(f"{self.name}: minimum <= default <= maximum, or step > 0, does not hold")
        whole = (self.default, self.minimum, self.maximum, self.step)
        if self.type == "integer" and any(each != int(each) for each in whole):
            raise ValueError(
                f"{self.name}: an integer's default, minimum, maximum and step are whole numbers"
            )
        return self


class ModuleDescription(_Described):
    """One thing that a plugin can do with a picture."""

    name: str = Field(pattern=MODULE_NAME)
    label: Words
    #: Other names by which clients ask for it.
    aliases: Names = ()
    #: Those of sd-webui-controlnet's control types that it is listed under, besides All.
    control_types: Names = ()
    #: Parts of the file names of ControlNets that it goes with.
    matches: Names = ()
    available: bool = True
    #: One sentence, where it is not available.
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON), _Printable] = ""
    #: Whether it takes a mask.
    mask: bool = False
    #: Of an upscaler: how many times as long each side becomes.
    factor: int | None = Field(default=None, ge=1, le=16)
    parameters: tuple[Parameter, ...] = ()

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.available == bool(self.reason):
            raise ValueError(
                f"{self.name}: a reason is told where the module is not available, and only there"
            )
        names = [each.name for each in self.parameters]
        _demand_once(f"{self.name}: parameter", names)
        if len([each for each in names if each != RESOLUTION]) > MOST_PARAMETERS:
            raise ValueError(f"{self.name}: at most {MOST_PARAMETERS} parameters besides {RESOLUTION!r}")
        return self

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name."""
        return next((each for each in self.parameters if each.name == name), None)


class Limits(_Described):
    """What a plugin takes: pixels of a picture, and seconds of a run, the wait for its turn included."""

    pixels: int = Field(ge=1, le=2**31)
    seconds: float = Field(gt=0, le=3600)


#: Of a plugin that does not say otherwise.
USUAL_LIMITS = Limits(pixels=MOST_PIXELS, seconds=60.0)


class PluginDescription(_Described):
    """The answer to `GET /v1/plugin`."""

    contract: int = Field(ge=VERSION, le=VERSION)
    name: str = Field(pattern=PLUGIN_NAME)
    version: Words
    kind: Kind
    limits: Limits
    modules: tuple[ModuleDescription, ...] = Field(min_length=1, max_length=MOST_MODULES)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _demand_once("module", [each.name for each in self.modules])
        for each in self.modules:
            if (each.factor is not None) != (self.kind == "Upscaler"):
                raise ValueError(f"{each.name}: an Upscaler's modules have a factor, and no others")
        return self

    @classmethod
    def read(cls, body: bytes) -> Self:
        """What the JSON of an answer says; pydantic's `ValidationError` where it breaks the contract. Only
        the contract's own spelling of keys counts."""
        return cls.model_validate_json(body, by_alias=True, by_name=False)

    def module(self, name: str) -> ModuleDescription | None:
        """The module of this name."""
        return next((each for each in self.modules if each.name == name), None)


def _demand_once(what: str, names: list[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is there more than once")


class ErrorAnswer(BaseModel):
    """Every answer that is not 200: a CamelCase word for programs, a sentence for people."""

    error: str = Field(pattern=r"^[A-Z][A-Za-z]{0,62}$")
    detail: str = Field(min_length=1, max_length=10_000)
