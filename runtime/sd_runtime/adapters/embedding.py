"""Textual inversions: words that a file's vectors teach the text encoders.

A word is its file's name without ending (A1111's trigger). Files come and go while the server runs, so every
question looks at the folders anew; a file is read again only when it changed. Knows no torch and no prompts;
may be asked from any thread.
"""

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sd_modelfiles import header, pickles
from sd_modelfiles.kinds import ModelType

if TYPE_CHECKING:
    from sd_runtime.models.library import Library, ModelFile

#: As many as a chunk of a prompt has places.
MAX_VECTORS = 75
#: 75 vectors for both text encoders of SDXL take 600 KiB; trainers' notes lie beside them.
MAX_BYTES = 64 * 1024 * 1024
# Of the hash that A1111 writes beside a word that a picture was made with.
_SHORT_HASH = 12

# Names of the vectors for CLIP and OpenCLIP in files for SDXL: Stability's and others', diffusers' trainers'.
_PAIRS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}

Vectors = npt.NDArray[np.float32]  # (n, D)
Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A word and what it is to each text encoder of the models that it fits."""

    name: str
    vectors: tuple[Vectors, ...]  # each (n, D_i)
    short_hash: str
    #: What A1111 notes when it trains one.
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None

    @property
    def length(self) -> int:
        """Vectors, and so places in a chunk."""
        return len(self.vectors[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Of a vector for each text encoder."""
        return tuple(vectors.shape[1] for vectors in self.vectors)


@dataclass(frozen=True, slots=True, eq=False)
class Skipped:
    """A word that cannot be used, and why."""

    reason: str
    #: None: its file could not be read.
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """A word as its tokens stand in a prompt."""

    tokens: tuple[int, ...]
    embedding: Embedding


#: By the first token, the longest before the shorter.
Triggers = Mapping[int, tuple[Trigger, ...]]

_Version = tuple[int, int, int, int]  # device, inode, size, time of change
_Words = tuple[dict[str, Embedding], dict[str, Skipped]]


class Embeddings:
    """The words that the files in the library's folders teach."""

    def __init__(self, library: "Library") -> None:
        self._library = library
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[_Version, Embedding | Skipped]] = {}
        self._triggers: tuple[int | None, dict[tuple[int, ...], Triggers]] = (None, {})

    @property
    def revision(self) -> int:
        """Equal only while the set of files is: what was encoded under another one may be stale."""
        return self._library.revision(ModelType.TEXTUAL_INVERSION)

    def for_widths(self, widths: tuple[int, ...] | None) -> _Words:
        """The words that fit text encoders with vectors so wide, and those that do not or cannot be read, by
        name. None: no model is known yet, and whatever can be read fits."""
        loaded: dict[str, Embedding] = {}
        skipped: dict[str, Skipped] = {}
        for file, found in self._judged(widths):
            if isinstance(found, Embedding):
                loaded[file.stem] = found
            else:
                skipped[file.name if file.stem in skipped else file.stem] = found
        return loaded, skipped

    def faults(self, widths: tuple[int, ...] | None) -> dict[Path, str | None]:
        """Why the word of each file cannot be used with such text encoders; None: it can be."""
        return {
            file.path: found.reason if isinstance(found, Skipped) else None
            for file, found in self._judged(widths)
        }

    def triggers(self, widths: tuple[int, ...], tokenize: Tokenize) -> Triggers:
        """The words that fit, as the tokens by which a prompt names them; `tokenize` is the same for all
        models."""
        revision = self.revision
        with self._lock:
            known, by_widths = self._triggers
            if known == revision and widths in by_widths:
                return by_widths[widths]
        made = _arrange(self.for_widths(widths)[0].values(), tokenize)
        with self._lock:
            known, by_widths = self._triggers
            self._triggers = (revision, {**(by_widths if known == revision else {}), widths: made})
        return made

    def describe(self, widths: tuple[int, ...] | None) -> dict[str, dict[str, Any]]:
        """`{"loaded": {name: …}, "skipped": {name: …}}` as A1111 answers it, and with what is skipped a
        reason."""
        loaded, skipped = self.for_widths(widths)
        return {
            "loaded": {name: _described(embedding) for name, embedding in loaded.items()},
            "skipped": {
                name: {**_described(skip.embedding), "reason": skip.reason} for name, skip in skipped.items()
            },
        }

    def _judged(self, widths: tuple[int, ...] | None) -> Iterator[tuple["ModelFile", Embedding | Skipped]]:
        """As `_by_name`; what cannot be used with such text encoders is skipped, too."""
        taught: set[str] = set()
        for file, found in self._by_name():
            if isinstance(found, Embedding):
                fault = _misfit(found, widths)
                if fault is None and file.stem in taught:
                    fault = "another file teaches the same word"
                if fault is None:
                    taught.add(file.stem)
                else:
                    found = Skipped(fault, found)
            yield file, found

    def _by_name(self) -> Iterator[tuple["ModelFile", Embedding | Skipped]]:
        """Every file and its word; of two files for one word the safetensors file is first."""
        files = self._library.all(ModelType.TEXTUAL_INVERSION)
        with self._lock:
            read = {file.path: self._look(file) for file in files}
            self._read = {path: found for path, found in read.items() if found is not None}
        for file in sorted(files, key=lambda file: (file.stem, file.path.suffix != ".safetensors")):
            found = read[file.path]
            if found is not None:
                yield file, found[1]

    def _look(self, file: "ModelFile") -> tuple[_Version, Embedding | Skipped] | None:
        """The file as it is now; None when it has just gone."""
        try:
            status = file.path.stat()
        except OSError:
            return None
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._read.get(file.path)
        if known is not None and known[0] == version:
            return known
        return version, _read(file.stem, file.path, status.st_size)


def _arrange(embeddings: Iterable[Embedding], tokenize: Tokenize) -> Triggers:
    by_first: dict[int, list[Trigger]] = {}
    for embedding in embeddings:
        tokens = tuple(tokenize(embedding.name))
        # A name of nothing but spaces, say, is no word.
        if tokens:
            by_first.setdefault(tokens[0], []).append(Trigger(tokens, embedding))
    return {
        first: tuple(sorted(triggers, key=lambda trigger: -len(trigger.tokens)))
        for first, triggers in by_first.items()
    }


def _misfit(embedding: Embedding, widths: tuple[int, ...] | None) -> str | None:
    if widths is None or embedding.widths == widths:
        return None
    has, needs = (" and ".join(map(str, numbers)) for numbers in (embedding.widths, widths))
    return f"made for another kind of model: its vectors are {has} wide, this model's {needs}"


def _described(embedding: Embedding | None) -> dict[str, Any]:
    if embedding is None:
        return {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 0, "vectors": 0}
    return {
        "step": embedding.step,
        "sd_checkpoint": embedding.sd_checkpoint,
        "sd_checkpoint_name": embedding.sd_checkpoint_name,
        "shape": sum(embedding.widths),
        "vectors": embedding.length,
    }


class _Unusable(Exception):
    """Why a file teaches no word."""


def _read(name: str, path: Path, size: int) -> Embedding | Skipped:
    if size > MAX_BYTES:
        return Skipped(f"the file has {size} bytes; an embedding has at most {MAX_BYTES}")
    try:
        return _parse(name, *_safetensors(path))
    except OSError as error:
        return Skipped(f"the file cannot be read: {error.strerror}")
    except (_Unusable, header.HeaderError, pickles.PickleMalformed, pickles.PickleUnsafe) as error:
        return Skipped(str(error))


def _safetensors(path: Path) -> tuple[bytes, str]:
    """The file as safetensors, and the SHA-256 of it as it is. Pickles are read without running them."""
    original = path.read_bytes()
    digest = hashlib.sha256(original).hexdigest()
    if path.suffix.lower() == ".safetensors":
        return original, digest
    converted = io.BytesIO()
    pickles.convert(path, converted)
    return converted.getvalue(), digest


def _parse(name: str, data: bytes, sha256: str) -> Embedding:
    length = header.header_length(data[: header.LENGTH_BYTES])
    if header.LENGTH_BYTES + length > len(data):
        raise header.HeaderError(f"the header claims {length} bytes, the file has only {len(data)}")
    head = header.parse(data[header.LENGTH_BYTES : header.LENGTH_BYTES + length])
    if head.file_size != len(data):
        raise header.HeaderError(
            f"the header promises a file of {head.file_size} bytes, this one has {len(data)}"
        )
    vectors = tuple(_vectors(head, data, tensor) for tensor in _taught(head))
    if len({len(each) for each in vectors}) > 1:
        raise _Unusable("it has another number of vectors for each text encoder")
    if not 1 <= len(vectors[0]) <= MAX_VECTORS:
        raise _Unusable(f"it has {len(vectors[0])} vectors; a word has 1 to {MAX_VECTORS}")
    notes = head.metadata
    return Embedding(
        name=name,
        vectors=vectors,
        short_hash=sha256[:_SHORT_HASH],
        step=_whole(notes.get("step")),
        sd_checkpoint=_word(notes.get("sd_checkpoint")),
        sd_checkpoint_name=_word(notes.get("sd_checkpoint_name")),
    )


def _taught(head: header.Header) -> tuple[str, ...]:
    """The tensor for each text encoder, in their order."""
    names = head.tensors.keys()
    for pair in _PAIRS:
        if names >= set(pair):
            return pair
    # A1111's `emb_params`, and those of diffusers, named as the word in the trainer's prompts.
    if len(names) == 1:
        return tuple(names)
    raise _Unusable(f"not a textual inversion: it has {len(names)} tensors, none of the known names")


def _vectors(head: header.Header, data: bytes, name: str) -> Vectors:
    tensor = head.tensors[name]
    raw = data[head.data_start + tensor.begin : head.data_start + tensor.end]
    if tensor.dtype == "BF16":  # the upper half of a float32
        values = (np.frombuffer(raw, np.dtype("<u2")).astype(np.uint32) << 16).view(np.float32)
    elif tensor.dtype in _DTYPES:
        with np.errstate(over="ignore"):  # what does not fit is told below
            values = np.frombuffer(raw, _DTYPES[tensor.dtype]).astype(np.float32)
    else:
        raise _Unusable(f"its vectors are of the type {tensor.dtype}")
    if len(tensor.shape) not in (1, 2):
        raise _Unusable(f"its vectors have the shape {tensor.shape}")
    if not np.isfinite(values).all():
        raise _Unusable("its vectors contain values that are not finite numbers")
    return values.reshape(-1, tensor.shape[-1]) if values.size else values.reshape(0, 0)


def _whole(note: str | None) -> int | None:
    value = _plain(note)
    return value if type(value) is int else None


def _word(note: str | None) -> str | None:
    """Texts are noted as they are; a missing one may be noted as JSON's null."""
    return None if note is None or _plain(note) is None else note


def _plain(note: str | None) -> object:
    """The note as JSON has it, or as it is."""
    if note is None:
        return None
    try:
        value: object = json.loads(note)
    except (ValueError, RecursionError):
        return note
    return value
