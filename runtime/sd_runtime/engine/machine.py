"""The device with what was loaded onto it: checkpoints, VAE files, ControlNets, upscalers; and the work that
concerns one picture. Device thread only.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from sd_runtime import device
from sd_runtime.device import Device
from sd_runtime.engine import memory
from sd_runtime.engine.memory import Meter
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.work import Decode, OnPicture, Pixels, Upscale
from sd_runtime.errors import CheckpointUnavailable
from sd_runtime.models import checkpoint, controlnet
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.digests import DigestCache, key_of
from sd_runtime.models.network import Model
from sd_runtime.models.preview import Previewer
from sd_runtime.models.upscaler import Upscalers
from sd_runtime.models.vae import Vae, load_vae

#: VAE files that stay loaded: pictures of one batch may want different ones.
_VAES_KEPT = 3


class Machine:
    """Chosen at the first load, so that a device that is not there is an error of that load."""

    def __init__(self, settings: EngineSettings, digests: DigestCache) -> None:
        self._settings = settings
        self._digests = digests
        self._chosen: Device | None = None
        self._vaes: OrderedDict[object, Vae] = OrderedDict()
        self._previewers: dict[int, Previewer] = {}
        self._upscalers: Upscalers | None = None

    def load(self, path: Path, sha256: str | None, between: Callable[[], None]) -> Model:
        """A checkpoint's networks on the device; raises as `checkpoint.load`."""
        return checkpoint.load(
            path,
            self._device(),
            self._digests,
            sha256=sha256,
            between=between,
            allow_pickles=self._settings.allow_pickles,
        )

    def examine(self, path: Path) -> int:
        """Bytes that a checkpoint will take; raises what is wrong with its header, or with the device."""
        chosen = self._device()
        blueprint = checkpoint.examine(path, allow_pickles=self._settings.allow_pickles)
        return checkpoint.footprint(blueprint, chosen)

    def plan_controlnet(self, path: Path, model: Model) -> tuple[controlnet.Plan, int]:
        """What a ControlNet's header says, and the bytes that it will take; raises as
        `controlnet.examine`."""
        plan = controlnet.examine(path, model, allow_pickles=self._settings.allow_pickles)
        return plan, plan.footprint(self._device())

    def load_controlnet(self, plan: controlnet.Plan) -> ControlNet:
        """Its network on the device; raises as `controlnet.load`."""
        return controlnet.load(plan, self._device(), self._digests)

    def meter(self) -> Meter:
        """Of the device's memory."""
        return memory.meter_of(self._device().handle)

    def forget(self, model: Model) -> None:
        """What was made for this model goes with it."""
        self._previewers.pop(id(model), None)
        self._vaes.clear()

    def preview(self, model: Model, latents: Any) -> Pixels:
        """A small picture of latents."""
        previewer = self._previewers.get(id(model))
        if previewer is None:
            previewer = self._previewers[id(model)] = Previewer(model)
        return previewer.rgb(latents)

    def begin(self, model: Model | None, work: OnPicture) -> Generator[None, None, object]:
        """A piece of work, which returns its answer; of a large picture one tile each time it is resumed.
        Nothing is done before the first `next`. Only an `Upscale` needs no model."""
        if isinstance(work, Upscale):
            return (yield from self._enlarge(work))
        assert model is not None
        vae = self._vae(model, work.vae) or model.autoencoder
        if isinstance(work, Decode):
            return (yield from vae.decoding(work.latents, tiling=work.tiling))
        return (yield from vae.encoding(work.pixels, tiling=work.tiling))

    def _enlarge(self, work: Upscale) -> Generator[None, None, Pixels]:
        if self._upscalers is None:
            self._upscalers = Upscalers(
                self._device(), allow_pickles=self._settings.allow_pickles, digests=self._digests
            )
        return (
            yield from self._upscalers.tiles(work.upscaler, work.pixels, tile=work.tile, overlap=work.overlap)
        )

    def _vae(self, model: Model, path: Path | None) -> Vae | None:
        if path is None:
            return None
        try:
            key = path, key_of(path.stat()), id(model)
        except OSError as error:
            raise CheckpointUnavailable(f"{path.name}: cannot be read: {error.strerror}") from error
        vae = self._vaes.get(key)
        if vae is None:
            vae = self._vaes[key] = load_vae(
                path,
                self._device(),
                model,
                allow_pickles=self._settings.allow_pickles,
                digests=self._digests,
            )
        self._vaes.move_to_end(key)
        while len(self._vaes) > _VAES_KEPT:
            self._vaes.popitem(last=False)
        return vae

    def _device(self) -> Device:
        if self._chosen is None:
            settings = self._settings
            self._chosen = device.choose(
                settings.device,
                dtype=settings.dtype,
                compiles=settings.compile,
                compile_cache=settings.compile_cache,
            )
        return self._chosen
