"""The model files that a request names: every name becomes a file here or is refused. Reads no weights."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sd_modelfiles.family import share_latents
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import upscalers
from sd_runtime.a1111.checkpoints import Checkpoint, Shelf, find
from sd_runtime.a1111.option_values import Values
from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.library import Library, ModelFile
from sd_runtime.plugins import Plugins
from sd_runtime.prompt.extra_networks import HYPERNET, LORA, Mention
from sd_runtime.tasks.recipe import Upscaler

#: What clients send where they mean no file.
_NO_FILE = ("", "none")
#: Of the names that a refusal lists.
_MOST_NAMES = 20

_TYPES = {LORA: ModelType.LORA, HYPERNET: ModelType.HYPERNETWORK}
_KINDS = {LORA: AdapterKind.LORA, HYPERNET: AdapterKind.HYPERNETWORK}


@dataclass(frozen=True, slots=True)
class Network:
    """An extra network that a prompt names: as it is called there, its file, and how it is used."""

    name: str
    file: ModelFile
    use: AdapterUse


class Stock:
    """The files of a library, the checkpoint that is served (None: not known yet), and the plugins."""

    def __init__(self, library: Library, shelf: Shelf, served: Checkpoint | None, plugins: Plugins) -> None:
        self.library = library
        self.plugins = plugins
        self.served = served
        self._shelf = shelf

    def checkpoint(self, field: str, name: str) -> Checkpoint:
        """The checkpoint of that name, in any of A1111's spellings."""
        known = self._shelf.all(self.served)
        found = find(name, known)
        if found is None:
            raise UnsupportedError(field, name, some(each.title for each in known))
        return found

    def checkpoint_or_none(self, field: str, name: str | None, *words: str) -> Checkpoint | None:
        """The checkpoint that an optional field names; None for "", "None" and the `words`."""
        if name is None or name.strip().lower() in (*_NO_FILE, *(word.lower() for word in words)):
            return None
        return self.checkpoint(field, name)

    def demand_shared_latents(self, field: str, checkpoint: Checkpoint, before: Checkpoint | None) -> None:
        """Of a checkpoint that is to go on with latents of the one before it: refuses a family that takes
        them for something else, before one is loaded in place of the other. What their headers do not show is
        found out when they are."""
        own = self.library.family(checkpoint.path)
        other = self.library.family(before.path) if before else None
        if before is not None and own and other and not share_latents(own, other):
            allowed = f"checkpoints with the latents of {before.stem}, as {other} has them"
            raise UnsupportedError(field, f"{checkpoint.stem} ({own})", allowed)

    def vae(self, name: str, checkpoint: Checkpoint | None) -> ModelFile | None:
        """The VAE that the option means for a checkpoint; None: the checkpoint's own.

        "Automatic" is a VAE that is named after the checkpoint, where there is one (A1111's rule): beside it
        as `<stem>.vae.safetensors`, or in the folder of VAEs as `<stem>.safetensors`.
        """
        if name == "None":
            return None
        if name == "Automatic":
            files = self.library.all(ModelType.VAE) if checkpoint else ()
            return next((each for each in files if checkpoint and _belongs(each, checkpoint)), None)
        found = self.library.find(ModelType.VAE, name)
        if found is None:
            names = some(each.path.name for each in self.library.usable(ModelType.VAE))
            raise UnsupportedError("sd_vae", name, f"Automatic, None, {names}")
        return found

    def upscaler(self, field: str, name: str | None, options: Values) -> Upscaler:
        """The upscaler of that name, of pixels or, where the field is of the second pass, of latents."""
        if field == "hr_upscaler":
            mode = latent_mode(name)
            if mode is not None:
                return Upscaler(name=mode)
        return upscalers.find(
            self.library,
            self.plugins,
            field,
            name,
            tile=options.esrgan_tile,
            overlap=options.esrgan_tile_overlap,
        )

    def networks(self, field: str, mentions: Sequence[Mention]) -> tuple[Network, ...]:
        """The files of the extra networks that a prompt mentions."""
        return tuple(self._network(field, mention) for mention in mentions)

    def _network(self, field: str, mention: Mention) -> Network:
        model_type = _TYPES[mention.kind]
        file = self.library.find(model_type, mention.name)
        if file is None:
            names = some(each.stem for each in self.library.usable(model_type))
            raise UnsupportedError(field, mention.written, f"{mention.kind}s of this server: {names}")
        use = AdapterUse(
            kind=_KINDS[mention.kind],
            path=file.path,
            unet=mention.unet,
            text=mention.text,
            rank=mention.rank,
        )
        return Network(mention.name, file, use)


def latent_mode(name: str | None) -> str | None:
    """The way of enlarging latents that hr_upscaler means; None: it means another upscaler."""
    wanted = (name or upscalers.LATENT_MODES[0]).strip().lower()
    return next((mode for mode in upscalers.LATENT_MODES if mode.lower() == wanted), None)


def some(names: Iterable[str]) -> str:
    """The first of the names, as a refusal lists them."""
    known = list(names)
    more = len(known) - _MOST_NAMES
    listed = ", ".join(known[:_MOST_NAMES])
    return (f"{listed} and {more} more" if more > 0 else listed) or "none, as there is no such file"


def _belongs(vae: ModelFile, checkpoint: Checkpoint) -> bool:
    if vae.path.parent == checkpoint.path.parent:
        return vae.path.name.startswith(f"{checkpoint.stem}.vae.")
    return vae.stem == checkpoint.stem
