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
            if isinstance(item, str) and not _is_whole(item):
                raise UnsupportedError(key, item, "text without halves of surrogate pairs")
        return {key: item for key, item in value.items() if item is not None}


def _is_whole(text: str) -> bool:
    """Whether the text can be written as UTF-8, as answers, pictures and the log will have to."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
