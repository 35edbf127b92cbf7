"""Every setting of the runtime process, read once from the environment (prefix `SD_`).

Nothing else reads the environment. It does not know what the settings are used for beyond the sentence beside
each.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Settings(BaseSettings):
    """The runtime's settings; the operator writes them into the pod."""

    model_config = SettingsConfigDict(env_prefix="SD_", frozen=True, extra="ignore")

    #: Folders laid out as A1111 lays them out (models/Stable-diffusion/…), separated by colons. What they
    #: hold is listed to clients; a checkpoint is named by its path below the first root that holds it.
    model_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    #: The checkpoint file to serve, where no operator says which: an absolute path. Either this or
    #: `desired_file` must be given.
    checkpoint: Path | None = None
    #: A JSON file with what to serve at start: {"revision": …, "checkpoint": {"path": …, "sha256": …},
    #: "options": {…}}. Read once; later wishes come over the management port.
    desired_file: Path | None = None
    #: `on`: a small picture is made before a loaded checkpoint is served, so that one that cannot make
    #: pictures is found out, and the first request is not slower than the others.
    warm_up: Literal["on", "off"] = "on"
    #: `auto` takes a CUDA device when there is one; `cuda` fails to load without one.
    device: Literal["auto", "cuda", "cpu"] = "auto"
    #: Where pictures are saved: txt2img-images/<date>/ below it.
    output_dir: Path = Path("/outputs")
    #: Address to listen on, for both ports; empty: every one of the machine, IPv4 and IPv6, because a pod's
    #: may be of either family.
    host: str = ""
    #: The port users' tools speak to.
    port: int = Field(default=7860, ge=0, le=65535)
    #: The port for probes, metrics and the operator.
    management_port: int = Field(default=9091, ge=0, le=65535)
    #: `required`: HTTP Basic on every route of the users' port.
    auth: Literal["required", "disabled"] = "required"
    #: The folder of the files `username` and `password`; they are read again when they change.
    auth_dir: Path = Path("/etc/sd-runtime/auth")
    #: Hex SHA-256 of the bearer token of /v1/state; empty: only loopback clients may read it.
    management_token_sha256: str = ""
    #: Model evaluations the engine joins in one call of the network.
    max_batch: int = Field(default=8, ge=1, le=256)
    #: Requests accepted and not yet answered; one more is refused with 429.
    queue_limit: int = Field(default=64, ge=1, le=10_000)
    #: Seconds that accepted requests may still take after SIGTERM; must end before the pod's grace period.
    #: The default suits Kubernetes' own of 30 s; the operator sets spec.rollout.drainTimeoutSeconds (600 by
    #: default), and gives the pod a grace period a little longer.
    drain_seconds: float = Field(default=25.0, ge=0, le=86_400)
    #: Least severity that is logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("model_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("checkpoint", "desired_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value

    @field_validator("management_token_sha256")
    @classmethod
    def _hex_digest(cls, value: str) -> str:
        if value and not _SHA256.fullmatch(value.lower()):
            raise ValueError("must be 64 hexadecimal digits, or empty")
        return value.lower()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.checkpoint is None) == (self.desired_file is None):
            given = "neither is" if self.checkpoint is None else "both are"
            raise ValueError(f"exactly one of SD_CHECKPOINT and SD_DESIRED_FILE must be given; {given}")
        return self
