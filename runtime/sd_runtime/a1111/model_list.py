"""Every model file as something to choose: what a request calls it, what it is, what is told of it, and
whether it can be used with a checkpoint. Headers are read, and the notes beside the files; nothing is hashed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlencode

from pydantic import BaseModel

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import fitness, upscalers
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet import networks
from sd_runtime.a1111.fitness import Judge
from sd_runtime.models import facts, notes
from sd_runtime.models.diffusers_layout import all_weight_files
from sd_runtime.models.library import Library, ModelFile
from sd_runtime.models.notes import Notes

TypeName = Literal["Checkpoint", "VAE", "LoRA", "Embedding", "Hypernetwork", "ControlNet", "Upscaler"]
_TYPES: Mapping[TypeName, ModelType] = {
    "Checkpoint": ModelType.CHECKPOINT,
    "VAE": ModelType.VAE,
    "LoRA": ModelType.LORA,
    "Embedding": ModelType.TEXTUAL_INVERSION,
    "Hypernetwork": ModelType.HYPERNETWORK,
    "ControlNet": ModelType.CONTROLNET,
    "Upscaler": ModelType.UPSCALER,
}
PREVIEW_PATH = "/v1/models/preview"
#: By type how a prompt names a file.
_MENTIONS = {ModelType.LORA: "lora", ModelType.HYPERNETWORK: "hypernet"}
#: They end a name within <lora:…>.
_ENDS_OF_NAMES = (":", ">")


class ModelItem(BaseModel):
    """A model file; `name` is what requests call it, `file` its path below its root."""

    type: TypeName
    name: str
    file: str
    #: Null where nothing tells.
    family: str | None
    bytes: int
    #: Null until it is known: nothing is hashed for a list.
    sha256: str | None
    #: What a prompt says to use it; null of what no prompt names.
    insert: str | None
    trigger_words: list[str]
    description: str | None
    #: Where its picture is; null: it has none.
    preview: str | None
    #: Whether a request with the checkpoint may name it, as far as its header shows.
    usable: bool
    #: Why not; "" where it is usable.
    reason: str


class ModelsResponse(BaseModel):
    """Every model file; `checkpoint` is the title of the served one, null while none is known."""

    checkpoint: str | None
    models: list[ModelItem]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file, what requests call it, and a fault that is not of the file itself."""

    name: str
    file: ModelFile
    fault: str | None = None


def items(library: Library, served: Checkpoint | None, judge: Judge) -> list[ModelItem]:
    """Every file of every type, by type and name."""
    folders = _Folders()
    return [
        _item(each, type_, judge, folders) for type_ in _TYPES for each in _entries(library, type_, served)
    ]


def picture_of(library: Library, served: Checkpoint | None, type_: TypeName, name: str) -> Path | None:
    """The picture beside the model of that name; None: there is no such model, or it has none."""
    found = next((each.file for each in _entries(library, type_, served) if each.name == name), None)
    return None if found is None else notes.Folder(found.path.parent, found.root).picture(found.stem)


class _Folders:
    """Each folder is looked at once."""

    def __init__(self) -> None:
        self._known: dict[Path, notes.Folder] = {}

    def of(self, file: ModelFile) -> notes.Folder:
        path = file.path.parent
        if path not in self._known:
            self._known[path] = notes.Folder(path, file.root)
        return self._known[path]


def _entries(library: Library, type_: TypeName, served: Checkpoint | None) -> Iterator[_Entry]:
    """The files of a type; of two with one name the second leads nowhere."""
    model_type = _TYPES[type_]
    withheld = library.withheld(model_type)
    files = [*library.all(model_type), *withheld]
    if model_type is ModelType.CHECKPOINT and served is not None:
        files = _with_served(files, served)
    short = _SHORT_NAMES[type_]
    alike = Counter(short(file).lower() for file in files)
    taken: set[str] = set()
    for file in sorted(files, key=lambda file: (file.name.lower(), file.name)):
        name = short(file) if alike[short(file).lower()] == 1 else _LONG_NAMES.get(type_, short)(file)
        fault = fitness.PICKLE if file in withheld else None
        if fault is None and name in taken and type_ != "Embedding":
            fault = "another file of this name comes before it"
        taken.add(name)
        yield _Entry(name, file, fault)


def _with_served(files: list[ModelFile], served: Checkpoint) -> list[ModelFile]:
    """Its digest is that of what was loaded; it may also lie elsewhere."""
    there = [
        replace(each, sha256=served.sha256 or each.sha256) if each.path == served.path else each
        for each in files
    ]
    if any(each.path == served.path for each in there):
        return there
    root = served.path.parent
    return [*there, ModelFile(served.path, root, served.name, ModelType.CHECKPOINT, served.sha256)]


def _item(entry: _Entry, type_: TypeName, judge: Judge, folders: _Folders) -> ModelItem:
    file, told = entry.file, facts.of(entry.file.path)
    folder = folders.of(file)
    noted = folder.notes(file.stem).before(told.notes)
    insert = _insert(entry, noted)
    fault = entry.fault or judge.fault(file)
    if fault is None and insert is None and file.type in _MENTIONS:
        fault = f"no prompt can name it: its name has one of {' '.join(_ENDS_OF_NAMES)}"
    has_picture = folder.picture(file.stem) is not None
    return ModelItem(
        type=type_,
        name=entry.name,
        file=file.path.relative_to(file.root).as_posix(),
        family=judge.family(file),
        bytes=_size(file.path),
        sha256=file.sha256,
        insert=insert,
        trigger_words=list(noted.trigger_words),
        description=noted.description,
        preview=f"{PREVIEW_PATH}?{urlencode({'type': type_, 'name': entry.name})}" if has_picture else None,
        usable=fault is None,
        reason=fault or "",
    )


def _insert(entry: _Entry, noted: Notes) -> str | None:
    if entry.file.type is ModelType.TEXTUAL_INVERSION:
        return entry.name
    word = _MENTIONS.get(entry.file.type)
    if word is None or any(each in entry.name for each in _ENDS_OF_NAMES):
        return None
    return f"<{word}:{entry.name}:{1.0 if noted.weight is None else noted.weight:g}>"


def _size(path: Path) -> int:
    """Of a folder: of its weights."""
    try:
        files = all_weight_files(path) if path.is_dir() else (path,)
        return sum(each.stat().st_size for each in files)
    except OSError:
        return 0


def _stem(file: ModelFile) -> str:
    return file.stem


def _title(file: ModelFile) -> str:
    return Checkpoint(file.path, file.name, file.sha256).title


_SHORT_NAMES: Mapping[TypeName, Callable[[ModelFile], str]] = {
    "Checkpoint": _title,
    "VAE": lambda file: file.path.name,
    "LoRA": _stem,
    "Embedding": _stem,
    "Hypernetwork": _stem,
    "ControlNet": networks.title_of,
    "Upscaler": upscalers.name_of,
}
#: Where several have the short name, and requests know a longer one.
_LONG_NAMES: Mapping[TypeName, Callable[[ModelFile], str]] = {
    "VAE": lambda file: file.name,
    "LoRA": lambda file: file.key,
    "Hypernetwork": lambda file: file.key,
}
assert set(get_args(TypeName)) == set(_TYPES) == set(_SHORT_NAMES)
