"""The model files of all roots, by type and by the names that people use for them.

A root is laid out as A1111's folder (or as its folder `models`), or it is a plain folder of files, whose
types are then told from their headers. Every question looks at the folders anew, so that files may come and
go while the server runs. Reads headers, and whole files only to hash them; knows nothing of torch. May be
asked from any thread.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sd_modelfiles import header, kinds, manifest, place
from sd_modelfiles.family import Family, FamilyUnknown, detect
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import ModelType
from sd_runtime.models.digests import DigestCache, FileKey, key_of
from sd_runtime.models.faults import Faults
from sd_runtime.models.folders import Folders, Found

_SAFETENSORS = ".safetensors"
_ENDINGS = {
    ModelType.CHECKPOINT: (_SAFETENSORS, ".ckpt"),
    ModelType.VAE: (_SAFETENSORS, ".ckpt", ".pt"),
    ModelType.LORA: (_SAFETENSORS, ".pt", ".ckpt"),
    ModelType.TEXTUAL_INVERSION: (_SAFETENSORS, ".pt", ".bin"),
    ModelType.HYPERNETWORK: (_SAFETENSORS, ".pt"),
    ModelType.CONTROLNET: (_SAFETENSORS, ".pth"),
    ModelType.UPSCALER: (_SAFETENSORS, ".pth", ".pt"),
    ModelType.ANNOTATOR: (_SAFETENSORS, ".pth", ".pt"),
}
#: Beside the one that the fetcher writes to.
_FURTHER_FOLDERS = {
    ModelType.LORA: ("models/LyCORIS",),
    ModelType.UPSCALER: ("models/RealESRGAN", "models/SwinIR", "models/DAT"),
}
#: A1111 writes these as pickles; they are small and read without executing anything.
_OFTEN_PICKLES = (ModelType.TEXTUAL_INVERSION, ModelType.HYPERNETWORK)
_LORA_HASH_DIGITS = 12
_HASH_DIGITS = 10


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file, or a checkpoint's folder in diffusers' layout."""

    path: Path
    root: Path
    #: The path below the folder of its type, with ending, parts separated by "/".
    name: str
    type: ModelType
    #: Of its content, as far as it is known without reading it: hashed before, or told by the manifest.
    sha256: str | None

    @property
    def key(self) -> str:
        """The name without ending."""
        ending = next((each for each in _ENDINGS[self.type] if self.name.lower().endswith(each)), "")
        return self.name[: len(self.name) - len(ending)]

    @property
    def stem(self) -> str:
        """The last part of the name without ending."""
        return self.key.rpartition("/")[2]


class Library:
    """The files of several roots; of two with the same name the earlier root's is found.

    `cache` is a file that keeps digests over restarts. Without `allow_pickles` files that are pickles are not
    there, but for the types that come in no other form.
    """

    def __init__(
        self, roots: Iterable[Path], cache: Path | None = None, *, allow_pickles: bool = True
    ) -> None:
        self._allow_pickles = allow_pickles
        self.digests = DigestCache(cache)
        self._shelves = tuple(_Shelf(root) for root in roots)
        self._headers = _Headers()
        self.faults = Faults()
        self._lock = threading.Lock()
        self._revisions: dict[ModelType, tuple[int, object]] = {}

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that it was given."""
        return tuple(shelf.root for shelf in self._shelves)

    def all(self, model_type: ModelType) -> tuple[ModelFile, ...]:
        """Every file of a type, by name."""
        files = (self._with_digest(shelf, file) for shelf, file in self._listed(model_type))
        return tuple(sorted(files, key=lambda file: (file.name.lower(), file.name)))

    def usable(self, model_type: ModelType) -> tuple[ModelFile, ...]:
        """Those of them whose headers show no fault. `find` finds the others, too, so that who names one is
        told what is wrong with it."""
        return tuple(file for file in self.all(model_type) if self.faults.of(file.path, model_type) is None)

    def withheld(self, model_type: ModelType) -> tuple[ModelFile, ...]:
        """The pickles of a type that are as if they were not there, because pickles are not allowed."""
        return tuple(
            self._with_digest(shelf, file) for shelf, file in self._listed(model_type, withheld=True)
        )

    def find(self, model_type: ModelType, name: str) -> ModelFile | None:
        """The file of that name, with or without ending and folders; of a LoRA also by the name that it was
        trained under. An exact spelling comes before one in other case."""
        listed = list(self._listed(model_type))
        wanted = name.strip()
        for spelling in (str, str.lower):
            for name_of in (_full_name, _key, _file_name, _stem, self._alias):
                for shelf, file in listed:
                    own = name_of(file)
                    if own and spelling(own) == spelling(wanted):
                        return self._with_digest(shelf, file)
        return None

    def _is_allowed(self, found: Found, model_type: ModelType) -> bool:
        allowed = self._allow_pickles or model_type in _OFTEN_PICKLES or found.path.is_dir()
        return allowed or found.name.lower().endswith(_SAFETENSORS)

    def _listed(
        self, model_type: ModelType, *, withheld: bool = False
    ) -> Iterator[tuple["_Shelf", ModelFile]]:
        """Root by root, without digests, which take a question to the disk for each file."""
        for shelf in self._shelves:
            for found in shelf.files(model_type, self._headers):
                if self._is_allowed(found, model_type) is not withheld:
                    yield shelf, ModelFile(found.path, shelf.root, found.name, model_type, None)

    def metadata(self, file: ModelFile) -> Mapping[str, str]:
        """What stands beside the tensors of a safetensors file; nothing for others and unreadable ones."""
        head = self._headers.read(file.path)
        return head.metadata if head else {}

    def family(self, checkpoint: Path) -> Family | None:
        """Of a checkpoint's safetensors file, as its header shows it; None of others and unreadable ones."""
        head = self._headers.read(checkpoint)
        return head.family if head else None

    def sha256(self, file: ModelFile) -> str:
        """The digest of a file's bytes, reading it if need be; raises `CheckpointUnavailable`. Of a folder:
        of the list of its weight files and their digests."""
        if file.path.is_dir():
            return self.digests.compute_folder(file.path)
        return self.digests.compute(file.path)

    def short_hash(self, file: ModelFile, *, compute: bool = False) -> str | None:
        """What A1111 writes into a picture's parameters; None where it would take reading the whole file and
        `compute` does not ask for that. Raises `CheckpointUnavailable`."""
        if file.type is not ModelType.LORA:
            known = self.sha256(file) if compute else file.sha256
            return known[:_HASH_DIGITS] if known else None
        head = self._headers.read(file.path)
        told = head.metadata.get("sshs_model_hash") if head else None
        # Without the header, so that a changed note leaves it the same (kohya's sd-scripts).
        start = head.data_start if head else 0
        known = told or self._known(file.path, start)
        if known is None and compute:
            known = self.digests.compute(file.path, start=start)
        return known[:_LORA_HASH_DIGITS] if known else None

    def revision(self, model_type: ModelType) -> int:
        """Another number whenever files of this type came, went or changed since the last question."""
        seen = tuple((file.path, _key_of(file.path)) for _, file in self._listed(model_type))
        with self._lock:
            number, before = self._revisions.get(model_type, (0, None))
            if seen != before:
                number += 1
                self._revisions[model_type] = number, seen
            return number

    def _with_digest(self, shelf: "_Shelf", file: ModelFile) -> ModelFile:
        return replace(file, sha256=self._known(file.path, 0) or shelf.listed_digest(file.path))

    def _known(self, path: Path, start: int) -> str | None:
        key = _key_of(path)
        return self.digests.get(key, start=start) if key else None

    def _alias(self, file: ModelFile) -> str | None:
        if file.type is not ModelType.LORA:
            return None
        return self.metadata(file).get("ss_output_name")


@dataclass(frozen=True, slots=True)
class _Head:
    type: ModelType | None
    metadata: Mapping[str, str]
    data_start: int
    #: Of a checkpoint.
    family: Family | None


class _Headers:
    """Headers of safetensors files, read once while a file stays the same. Only what is asked for again and
    again is kept: not the tensors of all files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[FileKey, _Head | None]] = {}

    def read(self, path: Path) -> _Head | None:
        """None for what is no readable safetensors file."""
        key = _key_of(path)
        if key is None or not path.name.lower().endswith(_SAFETENSORS):
            with self._lock:
                self._known.pop(path, None)
            return None
        with self._lock:
            known = self._known.get(path)
        if known is None or known[0] != key:
            known = key, _head(path)
            with self._lock:
                self._known[path] = known
        return known[1]


def _head(path: Path) -> _Head | None:
    try:
        head = header.read(path)
    except (OSError, header.HeaderError):
        return None
    return _Head(kinds.recognise(head), head.metadata, head.data_start, _family(head))


def _family(head: Header) -> Family | None:
    try:
        return detect(head)
    except FamilyUnknown:
        return None


class _Shelf:
    """One root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = Folders(root)
        self._manifest: tuple[FileKey | None, dict[Path, manifest.Entry]] = (None, {})

    def files(self, model_type: ModelType, headers: _Headers) -> Iterator[Found]:
        """Everything of this type."""
        if self._is_plain():
            yield from self._plain(model_type, headers)
            return
        for folder in _folders(model_type):
            yield from self._in(folder, model_type)
        if model_type is ModelType.VAE:
            beside = self._in(str(place.folder_of(ModelType.CHECKPOINT)), ModelType.VAE)
            yield from (found for found in beside if _is_vae_beside_checkpoint(found.name))

    def _in(self, folder: str, model_type: ModelType) -> Iterator[Found]:
        is_checkpoint = model_type is ModelType.CHECKPOINT
        for found in self._folders.files(
            self._place(folder), _ENDINGS[model_type], models_in_parts=is_checkpoint
        ):
            if not (is_checkpoint and _is_vae_beside_checkpoint(found.name)):
                yield found

    def _plain(self, model_type: ModelType, headers: _Headers) -> Iterator[Found]:
        for found in self._folders.files(self.root, _ENDINGS[model_type], models_in_parts=True):
            if found.path.is_dir():
                told: ModelType | None = ModelType.CHECKPOINT
            elif found.name.lower().endswith(_SAFETENSORS):
                head = headers.read(found.path)
                # One that cannot be read is listed, so that its name and fault can be told.
                told = head.type if head else ModelType.CHECKPOINT
            else:
                told = ModelType.CHECKPOINT if found.name.lower().endswith(".ckpt") else None
            if told is model_type:
                yield found

    def _is_plain(self) -> bool:
        return not any(self._place(folder).is_dir() for each in ModelType for folder in _folders(each))

    def _place(self, folder: str) -> Path:
        """A folder of A1111's layout; `models` itself may be the root."""
        if (self.root / "models").is_dir():
            return self.root / folder
        return self.root / folder.removeprefix("models/")

    def listed_digest(self, path: Path) -> str | None:
        """What the volume's manifest says of a file that still has the size it tells."""
        entry = self._entries().get(path)
        try:
            return entry.sha256 if entry and path.stat().st_size == entry.size else None
        except OSError:
            return None

    def _entries(self) -> dict[Path, manifest.Entry]:
        key = _key_of(manifest.path_in(self.root))
        if key != self._manifest[0]:
            try:
                listed = manifest.load(self.root).files
            except (manifest.ManifestError, OSError):
                listed = ()
            self._manifest = key, {self.root / entry.path: entry for entry in listed}
        return self._manifest[1]


def _folders(model_type: ModelType) -> tuple[str, ...]:
    return str(place.folder_of(model_type)), *_FURTHER_FOLDERS.get(model_type, ())


def _is_vae_beside_checkpoint(name: str) -> bool:
    return any(name.lower().endswith(f".vae{ending}") for ending in _ENDINGS[ModelType.VAE])


def _key_of(path: Path) -> FileKey | None:
    try:
        return key_of(path.stat())
    except OSError:
        return None


def _full_name(file: ModelFile) -> str:
    return file.name


def _key(file: ModelFile) -> str:
    return file.key


def _file_name(file: ModelFile) -> str:
    return file.path.name


def _stem(file: ModelFile) -> str:
    return file.stem
