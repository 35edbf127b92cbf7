"""What the models of all kinds share: Kubernetes' spelling, and errors that a person can act on.

Knows nothing of any particular kind.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sd_operator.errors import ManifestError


class Model(BaseModel):
    """A part of an object: camelCase outside, immutable inside.

    Unknown fields are ignored: the API server prunes what the schema does not know, and an older operator
    must be able to read what a newer CRD stored.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def as_manifest(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The metadata that the operator uses."""

    name: str
    namespace: str
    uid: str
    generation: int = 0
    deletion_timestamp: str | None = None


M = TypeVar("M", bound=Model)


def parse(model: type[M], manifest: Mapping[str, Any]) -> M:
    """The object as its model, or a ManifestError that names field, value and what is allowed."""
    try:
        return model.model_validate(manifest)
    except ValidationError as error:
        raise ManifestError("; ".join(_sentence(detail) for detail in error.errors())) from error


def _sentence(detail: Mapping[str, Any]) -> str:
    path = ""
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    value = repr(detail["input"])
    if len(value) > 80:
        value = f"{value[:77]}..."
    return f"{path}: {detail['msg']} (got {value})"
