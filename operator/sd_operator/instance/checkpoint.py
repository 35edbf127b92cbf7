"""The checkpoint that an instance's pods must load, and how it is written on them. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sd_operator import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A verified file on a bundle's volume."""

    bundle: str
    file: str
    #: relative to the root of the volume
    path: str
    sha256: str
    #: bytes
    size: int

    @property
    def reference(self) -> str:
        """What people call it: `<bundle>/<file>`."""
        return f"{self.bundle}/{self.file}"

    def annotation(self) -> str:
        """As it is written on the pod template."""
        return json.dumps(asdict(self), sort_keys=True)


def written_on(template: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint that a pod, or a pod template, was made for."""
    text = ((template.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_CHECKPOINT)
    if not text:
        return None
    try:
        return Checkpoint(**json.loads(text))
    except (ValueError, TypeError):
        # Edited by hand: the next apply puts it right.
        return None
