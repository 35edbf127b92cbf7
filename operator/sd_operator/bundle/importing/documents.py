"""Entries → the text of ModelBundles. Pure.

The text is put together from pieces, because the notes on a file go into comments above it.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.bundle import BundleFile
from sd_operator.bundle.importing import naming
from sd_operator.bundle.importing.collecting import Entry
from sd_operator.bundle.importing.reporting import shown

#: What spec.files may hold.
MAX_FILES = 64
_GI = 1024**3


@dataclass(frozen=True, slots=True)
class Target:
    """What the bundles are called, and where the cluster finds the folder."""

    name: str
    claim: str
    prefix: str = ""

    def source(self, entry: Entry) -> dict[str, Any]:
        """Where the cluster finds the file of an entry."""
        path = f"{self.prefix}/{entry.path}" if self.prefix else entry.path
        return {"volume": {"claimName": self.claim, "path": path}}


def file(entry: Entry, target: Target) -> dict[str, Any]:
    """An item of spec.files; raises errors.ManifestError when the API cannot have it."""
    policy = _policy([entry])
    manifest: dict[str, Any] = {"name": entry.label, "type": str(entry.model.type)}
    if entry.model.family is not None:
        manifest["family"] = str(entry.model.family)
    manifest["source"] = target.source(entry)
    if entry.sha256 is not None:
        manifest["sha256"] = entry.sha256
    if parse(BundleFile, manifest).name_on_volume(policy) != entry.file_name:
        manifest["fileName"] = entry.file_name
        parse(BundleFile, manifest)
    return manifest


def documents(entries: Sequence[Entry], target: Target) -> Iterator[str]:
    """The bundles as YAML, each with as many files as one may have."""
    parts = [entries[start : start + MAX_FILES] for start in range(0, len(entries), MAX_FILES)]
    for number, part in enumerate(parts, start=1):
        name = naming.numbered(target.name, number) if len(parts) > 1 else target.name
        yield _document(name, part, target)


def size(entries: Iterable[Entry]) -> str:
    """A volume for the files: a tenth and 1 GiB more, for what a file system keeps for itself."""
    total = sum(entry.model.size for entry in entries)
    return f"{-(-(total * 11 // 10 + _GI) // _GI)}Gi"


def _document(name: str, entries: Sequence[Entry], target: Target) -> str:
    head = {
        "apiVersion": names.API_VERSION,
        "kind": names.MODELBUNDLE.kind,
        "metadata": {"name": name},
    }
    spec: dict[str, Any] = {"storage": {"size": size(entries)}}
    if _policy(entries) != "SafetensorsOnly":
        spec = {"formatPolicy": _policy(entries), **spec}
    files = "".join(_item(entry, target) for entry in entries)
    return f"{_dump(head)}spec:\n{textwrap.indent(_dump(spec), '  ')}  files:\n{files}"


def _policy(entries: Iterable[Entry]) -> str:
    return "ScanPickle" if any(entry.model.pickle for entry in entries) else "SafetensorsOnly"


def _item(entry: Entry, target: Target) -> str:
    comments = "".join(f"# {shown(note)}\n" for note in entry.notes)
    return textwrap.indent(comments + _dump([file(entry, target)]), "  ")


# What Kubernetes' reader takes for a number or a truth value and PyYAML does not: 1e3, 0o17, y.
_AMBIGUOUS = re.compile(r"[-+.\d_]+(e[-+]?\d+)?|0[xob][\da-f_]+|[a-z]", re.IGNORECASE)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML might take for something else."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _AMBIGUOUS.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(value: object) -> str:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return dumped
