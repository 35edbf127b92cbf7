"""What an instance's pods must serve: checkpoint and options, and how they are told. Pure.

The pods read it at start from a ConfigMap, so that they need no operator to start again; a change is besides
sent to the pods that run. Its revision is a digest of the content: what a pod reports is compared with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
    #: architecture that the file's header shows: SD15, SDXL, …
    family: str = ""

    @property
    def reference(self) -> str:
        """What people call it: `<bundle>/<file>`."""
        return f"{self.bundle}/{self.file}"

    @property
    def mounted_path(self) -> str:
        """Where the pods find it."""
        return f"{names.bundle_mount_path(self.bundle)}/{self.path}"

    def annotation(self) -> str:
        """As it is written on the ConfigMap."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What every pod of an instance shall serve."""

    checkpoint: Checkpoint
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """A digest of the content."""
        return names.digest(self._content())[:32]

    def document(self) -> dict[str, Any]:
        """What the runtime reads: in the file of the ConfigMap, and (with a generation) in a request."""
        return {"revision": self.revision, **self._content()}

    def _content(self) -> dict[str, Any]:
        checkpoint = {"path": self.checkpoint.mounted_path, "sha256": self.checkpoint.sha256}
        return {"checkpoint": checkpoint, "options": dict(self.options)}


def written_on(config: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint that a ConfigMap of ours tells pods to load."""
    text = ((config.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_CHECKPOINT)
    if not text:
        return None
    try:
        found = Checkpoint(**json.loads(text))
    except (ValueError, TypeError):
        return None
    words = (found.bundle, found.file, found.path, found.sha256, found.family)
    # Edited by hand, if not so: the next apply puts it right.
    return found if all(isinstance(word, str) for word in words) and isinstance(found.size, int) else None
