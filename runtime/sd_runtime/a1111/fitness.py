"""Whether a model file can be used with a checkpoint, and why not, as far as headers tell: what a request
that names the file would be refused for, known before it is sent.

What no header shows (values that are no numbers, say) is found out when the file is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet import networks
from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.adapters.uses import LORA_KINDS
from sd_runtime.models import LoadedCheckpoint, facts
from sd_runtime.models.library import Library, ModelFile

PICKLE = "a pickle, and this server reads none (SD_ALLOW_PICKLES)"
_UNSERVED_CHECKPOINTS = ("instruct-pix2pix", "depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What is known of the checkpoint that files are judged against; what is not known fits everything."""

    name: str = ""
    #: None: no file, as none is served yet.
    path: Path | None = None
    family: Family | None = None
    #: What its attentions read; empty: not known.
    attention_widths: frozenset[int] = frozenset()
    #: Of a token's vector in each text encoder; empty: not known.
    text_widths: tuple[int, ...] = ()
    #: It serves, so nothing is wrong with it.
    is_loaded: bool = False


def against(checkpoint: Checkpoint | None, loaded: LoadedCheckpoint | None) -> Against:
    """The checkpoint by its header, or better by what was loaded."""
    if checkpoint is None:
        return Against()
    told = facts.of(checkpoint.path)
    is_loaded = loaded is not None and loaded.path == checkpoint.path
    return Against(
        name=checkpoint.stem,
        path=checkpoint.path,
        family=Family(loaded.family) if loaded is not None and is_loaded else told.family,
        attention_widths=told.attention_widths,
        text_widths=(loaded.text_widths if loaded is not None and is_loaded else ()) or told.text_widths,
        is_loaded=is_loaded,
    )


class Judge:
    """Judges files against one checkpoint; `adapter_bytes` is how large a LoRA or hypernetwork may be."""

    def __init__(
        self, library: Library, embeddings: Embeddings, checkpoint: Against, *, adapter_bytes: int
    ) -> None:
        self._library = library
        self._embeddings = embeddings
        self._checkpoint = checkpoint
        self._adapter_bytes = adapter_bytes
        self._words: Mapping[Path, str | None] | None = None
        self._by_type: Mapping[ModelType, Callable[[ModelFile], str | None]] = {
            ModelType.CHECKPOINT: self._of_checkpoint,
            ModelType.LORA: self._of_lora,
            ModelType.HYPERNETWORK: self._of_hypernetwork,
            ModelType.TEXTUAL_INVERSION: self._of_embedding,
            ModelType.CONTROLNET: self._of_controlnet,
        }

    def fault(self, file: ModelFile) -> str | None:
        """Why the file cannot be used; None: nothing that a header shows."""
        judged = self._by_type.get(file.type, self._of_file)
        return judged(file)

    def family(self, file: ModelFile) -> Family | None:
        """What the file was made for; of the checkpoint itself what is known of that."""
        return self._checkpoint.family if file.path == self._checkpoint.path else facts.of(file.path).family

    def _of_file(self, file: ModelFile) -> str | None:
        return self._library.faults.of(file.path, file.type) or facts.of(file.path).fault

    def _of_checkpoint(self, file: ModelFile) -> str | None:
        if self._checkpoint.is_loaded and self._checkpoint.path == file.path:
            return None
        variant = facts.of(file.path).variant
        unserved = f"of the kind {variant}, which is not served" if variant in _UNSERVED_CHECKPOINTS else None
        return self._of_file(file) or unserved

    def _of_lora(self, file: ModelFile) -> str | None:
        variant = facts.of(file.path).variant
        unserved = None
        if variant is not None and variant not in LORA_KINDS:
            unserved = f"a LoRA of the kind {variant}; served are {', '.join(LORA_KINDS)}"
        return self._of_file(file) or unserved or self._of_size(file) or self._of_family(file)

    def _of_hypernetwork(self, file: ModelFile) -> str | None:
        fault = self._of_file(file) or self._of_size(file)
        own, read = facts.of(file.path).attention_widths, self._checkpoint.attention_widths
        if fault is None and own and read and own.isdisjoint(read):
            family = self._checkpoint.family
            widths = ", ".join(map(str, sorted(own)))
            return f"its networks are {widths} wide; no attention of {self._checkpoint.name} ({family}) is"
        return fault

    def _of_embedding(self, file: ModelFile) -> str | None:
        if self._words is None:
            self._words = self._embeddings.faults(self._checkpoint.text_widths or None)
        return self._words.get(file.path)

    def _of_controlnet(self, file: ModelFile) -> str | None:
        return networks.fault_of(self._library, file) or facts.of(file.path).fault or self._of_family(file)

    def _of_size(self, file: ModelFile) -> str | None:
        try:
            size = file.path.stat().st_size
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if size > self._adapter_bytes:
            return f"it has {size} bytes; at most {self._adapter_bytes} are kept for adapters"
        return None

    def _of_family(self, file: ModelFile) -> str | None:
        own, family = facts.of(file.path).shown, self._checkpoint.family
        if own is None or family is None or own is family:
            return None
        return f"made for {own}; {self._checkpoint.name} is of {family}"
