"""Every setting of the operator, read once at start from the environment (prefix `SDO_`).

Nothing else in the package reads the environment.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sd_operator.gpu_profiles import (
    FAMILY_MEMORY,
    HEADROOM,
    TABLE,
    UNKNOWN_FAMILY,
    GpuSettings,
    Profile,
    parse_family_memory,
    parse_headroom,
    parse_profiles,
)

#: DNS-1123 subdomain: what a Secret may be called.
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
#: What a label's value may be, and its key behind the prefix.
LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


def parse_networks(given: Any) -> tuple[str, ...]:
    """Networks from a list or from text; a ValueError names the one that is none."""
    words = re.split(r"[\s,]+", given) if isinstance(given, str) else list(given)
    found = []
    for word in words:
        if not word:
            continue
        try:
            found.append(str(ipaddress.ip_network(word)))
        except ValueError as error:
            raise ValueError(f"{word!r} is no network such as 10.0.0.0/8: {error}") from error
    return tuple(found)


def parse_names(given: Any) -> tuple[str, ...]:
    """Names of objects from a list or from text; a ValueError names the one that is none."""
    words = re.split(r"[\s,]+", given) if isinstance(given, str) else list(given)
    found = tuple(dict.fromkeys(word for word in words if word))
    for word in found:
        if not _is_name(word):
            raise ValueError(f"{word!r} is no name of an object: at most 253 of a-z, 0-9, - and .")
    return found


def parse_labels(given: Any) -> dict[str, str]:
    """Labels from an object or from text; a ValueError names the one that is none."""
    pairs = given.items() if isinstance(given, Mapping) else _pairs(given)
    found: dict[str, str] = {}
    for key, value in pairs:
        prefix, slash, name = key.rpartition("/")
        if not re.fullmatch(LABEL, name) or (slash and not _is_name(prefix)):
            raise ValueError(f"{key!r} is no key of a label, such as release or example.org/team")
        if not re.fullmatch(f"({LABEL})?", value):
            raise ValueError(f"{key}: {value!r} is no value of a label: at most 63 of a-zA-Z0-9-_.")
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key}: it has two values, {found[key]!r} and {value!r}")
    return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for word in filter(None, re.split(r"[\s,]+", text)):
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no label such as release=prometheus")
        yield key, value


def _is_name(word: str) -> bool:
    return len(word) <= 253 and re.fullmatch(SUBDOMAIN, word) is not None


class Settings(BaseSettings):
    """Each field's description says what it does, its unit and what follows from changing it."""

    model_config = SettingsConfigDict(env_prefix="SDO_", frozen=True)

    watch_namespace: str = Field(
        default="",
        description="Serve only this namespace; empty serves all namespaces (needs cluster-wide rights).",
    )
    catalog_namespace: str = Field(
        default="",
        description="Namespace whose SDPlugins every SDInstance may use, with scope Catalog: the operator's "
        "own. Empty: there is no catalog.",
    )
    operator_image: str = Field(description="Image of the fetch Jobs: the operator's own image.")
    runtime_image: str = Field(description="Image of serving pods whose SDInstance names none.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="imagePullPolicy of every pod the operator makes."
    )
    image_pull_secrets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)] = Field(
        default=(),
        description="Names (separated by commas) of Secrets that the kubelet pulls images with, added to "
        "those of the spec in every pod the operator makes; each namespace that has such pods needs them. "
        "With any, the secrets of a namespace's service accounts are not used. A change makes every serving "
        "pod roll once.",
    )
    service_monitor_labels: Annotated[dict[str, str], NoDecode, BeforeValidator(parse_labels)] = Field(
        default={},
        description="Labels (key=value, separated by commas) of every instance's ServiceMonitor, beside the "
        "operator's own, which they do not replace: those by which a Prometheus selects its ServiceMonitors.",
    )
    namespace: str = Field(
        default="", description="Namespace of the operator's own pod, where SDO_KEY_SECRET is."
    )
    key_secret: str = Field(
        default="",
        description="Secret in SDO_NAMESPACE whose entry `key` is what the management token of every "
        "instance is derived from. It is made if there is none and the operator may. Another content makes "
        "every serving pod roll once.",
    )
    key_file: Path | None = Field(
        default=None, description="File with that key, instead of SDO_KEY_SECRET: outside of a cluster."
    )
    hf_endpoint: str = Field(
        default="https://huggingface.co", description="Hugging Face or a mirror with the same URLs."
    )
    civitai_endpoint: str = Field(
        default="https://civitai.com", description="Civitai or a mirror with the same API."
    )
    fetch_allowed_networks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_networks)] = Field(
        default=(),
        description="Networks (CIDR, separated by commas) that files may be fetched from although they would "
        "be refused: loopback, link-local and other special addresses, and those of the next setting.",
    )
    fetch_refused_networks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_networks)] = Field(
        default=(),
        description="Networks (CIDR, separated by commas) that no file is fetched from, besides the special "
        "addresses: the cluster's pods, Services and nodes. Empty: the networks of its pods and Services, "
        "where the operator may ask for them.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severity that is logged."
    )
    metrics_port: int = Field(
        default=9090, ge=0, le=65535, description="Port of /metrics, /healthz and /readyz."
    )
    workers: int = Field(
        default=16, ge=1, le=256, description="How many objects are reconciled at the same time."
    )
    recheck_seconds: float = Field(
        default=600.0,
        ge=1,
        description="Seconds between two looks at a settled object (spread by a fifth), beside those that "
        "its own and its children's changes cause. They read what no watch tells, such as what the pods have "
        "loaded, and write only when something changed.",
    )
    audit_seconds: float = Field(
        default=300.0,
        ge=1,
        description="Seconds between two comparisons of what the operator has in memory with what the "
        "cluster has (spread by a fifth). A change that no watch told of is noticed this late; each "
        "comparison lists the metadata of all objects.",
    )
    # Decoded by the validators, whose sentences name what is wrong in the JSON.
    gpu_profiles: Annotated[tuple[Profile, ...], NoDecode, BeforeValidator(parse_profiles)] = Field(
        default=TABLE,
        description="Kinds of GPU that pods may ask for, a JSON list. Each has name, backend (Whole, MIG or "
        "DRA), memory (of the largest device of the kind; an SDInstance that needs more than all of them is "
        "refused), and optionally nodeSelector, tolerations and runtimeClassName. Whole: resource (default "
        "nvidia.com/gpu), memoryLabel (label of nodes with the memory of their GPUs in MiB). MIG: resource. "
        "DRA: deviceClass and driver (both default to gpu.nvidia.com). Empty: the built-in table for NVIDIA.",
    )
    gpu_headroom: Annotated[str, AfterValidator(parse_headroom)] = Field(
        default=HEADROOM,
        description="GPU memory that is added to what the checkpoint's family needs, a quantity: what CUDA "
        "itself takes. Not added to an SDInstance's spec.gpu.memory.",
    )
    gpu_family_memory: Annotated[dict[str, str], NoDecode, BeforeValidator(parse_family_memory)] = Field(
        default=dict(FAMILY_MEMORY),
        description="GPU memory that checkpoints of a family need, quantities by family, a JSON object that "
        f"replaces the default whole. A family that is not in it needs {UNKNOWN_FAMILY}.",
    )

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if bool(self.key_secret) == (self.key_file is not None):
            raise ValueError("SDO_KEY_SECRET, SDO_KEY_FILE: one of the two is needed, and not both")
        if self.key_secret and not self.namespace:
            raise ValueError("SDO_NAMESPACE: needed with SDO_KEY_SECRET, whose namespace it is")
        return self

    @property
    def gpu(self) -> GpuSettings:
        """What they say about GPUs."""
        return GpuSettings(
            profiles=self.gpu_profiles, headroom=self.gpu_headroom, family_memory=self.gpu_family_memory
        )


def load() -> Settings:
    """The settings of this process; a ValidationError names what is missing or wrong."""
    from_environment: dict[str, Any] = {}
    return Settings(**from_environment)
