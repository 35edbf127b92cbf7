"""The environment of a fetch, read once."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sd_operator.fetch import errors
from sd_operator.fetch.request import Endpoint, sentences

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Variables are told apart by case: http_proxy is not HTTP_PROXY. An empty one is as good as none.
_CONFIG = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True)


def _separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(value: object) -> object:
    parts = _separated(value)
    return tuple(ipaddress.ip_network(part) for part in parts) if isinstance(parts, tuple) else parts


def _proxy(value: str) -> str:
    """The address of a proxy, which people also write without a scheme. It may hold a password."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.host or (parts.port or 0) > 65535:
        raise ValueError(
            "must be the address of an http or https proxy, such as http://proxy.example.org:3128"
        )
    return url


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
ProxyAddress = Annotated[str, AfterValidator(_proxy)]


class Report(BaseSettings):
    """Where the verdict goes. Read first, so that a fault in the other settings can be told."""

    model_config = _CONFIG

    verdict: Annotated[Path, Field(validation_alias="SD_FETCH_VERDICT")] = Path("/dev/termination-log")


class Settings(BaseSettings):
    """What the operator's Job sets; each alias is the variable's name."""

    model_config = _CONFIG

    # What to do: a fetch, or the upkeep of a volume; each process reads its own.
    file: Annotated[str, Field(validation_alias="SD_FETCH_FILE", repr=False)] = ""
    upkeep: Annotated[str, Field(validation_alias="SD_FETCH_UPKEEP")] = ""

    # Folders: the volume, the claims of `volume` sources by name, and the Secrets by name.
    root: Annotated[Path, Field(validation_alias="SD_FETCH_ROOT")] = Path("/volume")
    sources: Annotated[Path, Field(validation_alias="SD_FETCH_SOURCES")] = Path("/sources")
    credentials: Annotated[Path, Field(validation_alias="SD_FETCH_CREDENTIALS")] = Path("/credentials")

    # Where sources that give no endpoint of their own are asked.
    hf_endpoint: Annotated[Endpoint, Field(validation_alias="HF_ENDPOINT")] = "https://huggingface.co"
    civitai_endpoint: Annotated[Endpoint, Field(validation_alias="CIVITAI_ENDPOINT")] = "https://civitai.com"

    # The way there. A proxy's address may hold a password.
    http_proxy: Annotated[ProxyAddress | None, Field(validation_alias="HTTP_PROXY", repr=False)] = None
    https_proxy: Annotated[ProxyAddress | None, Field(validation_alias="HTTPS_PROXY", repr=False)] = None
    no_proxy: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_separated), Field(validation_alias="NO_PROXY")
    ] = ()
    # PEM certificates that are trusted besides those of the system.
    ca_file: Annotated[Path | None, Field(validation_alias="SD_FETCH_CA_FILE")] = None
    # Networks that may be connected to although they would be refused, and more that may not.
    allowed_networks: Annotated[Networks, Field(validation_alias="SD_FETCH_ALLOWED_NETWORKS")] = ()
    refused_networks: Annotated[Networks, Field(validation_alias="SD_FETCH_REFUSED_NETWORKS")] = ()
    # How many ranges of one file are fetched at a time.
    connections: Annotated[int, Field(validation_alias="SD_FETCH_CONNECTIONS", ge=1, le=32)] = 4

    # Where progress is told; 0 is nowhere. The token's sha256 in hex; without one, to everybody.
    port: Annotated[int, Field(validation_alias="SD_FETCH_PORT", ge=0, le=65535)] = 9091
    token_sha256: Annotated[
        str, Field(validation_alias="SD_FETCH_TOKEN_SHA256", pattern=r"^([0-9a-f]{64})?$", repr=False)
    ] = ""

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(validation_alias="SD_LOG_LEVEL")
    ] = "INFO"


def read() -> Settings:
    """The settings of this process; a FetchError names every variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise errors.FetchError(errors.INVALID_REQUEST, f"the environment: {sentences(error)}") from error
