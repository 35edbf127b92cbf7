"""Every setting of the operator, read once at start from the environment (prefix `SDO_`).

Nothing else in the package reads the environment.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field's description says what it does, its unit and what follows from changing it."""

    model_config = SettingsConfigDict(env_prefix="SDO_", frozen=True)

    watch_namespace: str = Field(
        default="",
        description="Serve only this namespace; empty serves all namespaces (needs cluster-wide rights).",
    )
    operator_image: str = Field(description="Image of the fetch Jobs: the operator's own image.")
    runtime_image: str = Field(description="Image of serving pods whose SDInstance names none.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="imagePullPolicy of every pod the operator makes."
    )
    key_file: Path = Field(
        default=Path("/etc/sd-operator/key/key"),
        description="File with the secret from which the management token of every instance is derived. "
        "Another content makes every serving pod roll once.",
    )
    hf_endpoint: str = Field(
        default="https://huggingface.co", description="Hugging Face or a mirror with the same URLs."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severity that is logged."
    )
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port of /metrics and /healthz.")
    workers: int = Field(
        default=8, ge=1, le=256, description="How many objects are reconciled at the same time."
    )
    recheck_seconds: float = Field(
        default=60.0,
        ge=1,
        description="Seconds between two looks at a settled object (spread by a fifth). They read, and "
        "write only when something changed.",
    )


def load() -> Settings:
    """The settings of this process; a ValidationError names what is missing or wrong."""
    from_environment: dict[str, Any] = {}
    return Settings(**from_environment)
