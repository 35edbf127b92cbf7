"""What all request bodies have in common, and the types that their fields share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sd_runtime.errors import UnsupportedError

MAX_TEXT = 16_384
#: Of lists.
MAX_ITEMS = 256
#: Of sides and steps: far beyond what a server's settings allow, but finite.
MAX_SIDE = 16_384
MAX_STEPS = 10_000

Number = Annotated[float, Field(allow_inf_nan=False)]
#: From 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
#: The name of a file, a sampler, a script, …
Name = Annotated[str, Field(max_length=1024)]


class Body(BaseModel):
    """A request body: unknown keys are ignored, null is the default."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key, item in value.items():
            if isinstance(item, str) and not item.isascii():
                _judge_text(key, item)
        return {key: item for key, item in value.items() if item is not None}


def _judge_text(key: str, text: str) -> None:
    """Of a text that is not ASCII, as pictures in base64 are: it is no longer than any text may be, which is
    seen before each of its characters is looked at; and it can be written as UTF-8, as answers, pictures and
    the log will have to."""
    if len(text) > MAX_TEXT:
        raise UnsupportedError(key, text, f"at most {MAX_TEXT} characters, or a picture in base64")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsupportedError(key, text, "text without halves of surrogate pairs") from None
