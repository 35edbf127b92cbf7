"""The ControlNets in the device's memory: those that tasks use, and as many others as a budget has room for,
the one used last at the end. Device thread only. Knows no tasks: which are in use is told by the caller.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from sd_modelfiles.family import Family
from sd_runtime.engine import memory
from sd_runtime.engine.machine import Machine
from sd_runtime.engine.memory import Meter
from sd_runtime.errors import CheckpointError, CheckpointUnavailable, GenerationError, UnsupportedError
from sd_runtime.models import controlnet
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.digests import FileKey, key_of
from sd_runtime.models.network import Model
from sd_runtime.models.shortage import ran_out

logger = logging.getLogger(__name__)


class ControlNets:
    """Networks by their files' bytes, so that one that was changed is another, and what their names say."""

    def __init__(self, budget_bytes: int, machine: Machine) -> None:
        self._budget = budget_bytes
        self._machine = machine
        self._kept: OrderedDict[tuple[FileKey, Family, bool], ControlNet] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Of what is on the device; more than the budget only while tasks under way need it."""
        return sum(net.nbytes for net in self._kept.values())

    def get(self, path: Path, model: Model, in_use: Collection[ControlNet], meter: Meter) -> ControlNet:
        """The file's network, which fits the model. Raises `UnsupportedError` that names the file and says
        why it cannot be used, `CheckpointUnavailable` where it cannot be read now, and `GenerationError`
        where the device has too little memory."""
        try:
            key = key_of(path.stat()), Family(model.loaded.family), controlnet.pools(path)
            net = self._kept.get(key)
            if net is None:
                net = self._kept[key] = self._load(path, model, in_use, meter)
            else:
                controlnet.demand_fit(path, net.family, net.config, model)
        except OSError as error:
            raise CheckpointUnavailable(f"{path.name}: cannot be read: {error.strerror}") from error
        except CheckpointUnavailable:
            raise
        except CheckpointError as error:
            allowed = f"ControlNets that can be used; this one cannot: {error}"
            raise UnsupportedError("model", path.stem, allowed) from error
        self._kept.move_to_end(key)
        return net

    def trim(self, in_use: Collection[ControlNet], *, room: int = 0) -> None:
        """Drop those used longest ago that nobody uses until the rest and `room` bytes keep to the budget."""
        for key, net in list(self._kept.items()):
            if self.nbytes + room <= self._budget:
                return
            if net not in in_use:
                del self._kept[key]

    def _load(self, path: Path, model: Model, in_use: Collection[ControlNet], meter: Meter) -> ControlNet:
        plan, size = self._machine.plan_controlnet(path, model)
        self.trim(in_use, room=size)
        try:
            return self._machine.load_controlnet(plan)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            memory.forget_traceback(error)
        logger.warning("the device's memory ran out while %s was loaded; others are dropped", path.name)
        self.trim(in_use, room=self._budget + 1)
        meter.release()
        try:
            return self._machine.load_controlnet(plan)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            memory.forget_traceback(error)
            meter.release()
            told = f"the device's memory is too small for the ControlNet {path.name} ({size >> 20} MiB)"
            raise GenerationError(told) from None
