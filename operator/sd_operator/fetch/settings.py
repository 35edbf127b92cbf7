"""The environment of a fetch, read once."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings

from sd_operator.fetch import errors
from sd_operator.fetch.request import sentences


class Report(BaseSettings):
    """Where the verdict goes. Read first, so that a fault in the other settings can be told."""

    verdict: Annotated[Path, Field(validation_alias="SD_FETCH_VERDICT")] = Path("/dev/termination-log")


class Settings(BaseSettings):
    """What the operator's Job sets; each alias is the variable's name."""

    file: Annotated[str, Field(validation_alias="SD_FETCH_FILE")] = ""
    root: Annotated[Path, Field(validation_alias="SD_FETCH_ROOT")] = Path("/volume")
    hf_endpoint: Annotated[
        str, Field(validation_alias="HF_ENDPOINT", pattern=r"^https?://[^/@?#]+[^@?#]*$")
    ] = "https://huggingface.co"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(validation_alias="SD_LOG_LEVEL")
    ] = "INFO"


def read() -> Settings:
    """The settings of this process; a FetchError names every variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"the environment: {sentences(error)}") from error
