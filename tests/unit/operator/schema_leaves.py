"""The leaves of a structural schema: what a table that has every field must have."""

from collections.abc import Iterator
from typing import Any


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of a schema's leaves; [] after a list, {} after a map."""
    if "properties" in schema:
        for name, child in schema["properties"].items():
            yield from leaves(child, f"{path}.{name}" if path else name)
    elif isinstance(schema.get("items"), dict):
        yield from leaves(schema["items"], f"{path}[]")
    elif isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}{{}}"
    else:
        yield path
