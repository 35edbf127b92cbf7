"""The adapters of pictures on the networks of models: files read once and kept, and the blocks in which a
call's rows, or a text, are computed with theirs.

A model's own weights are never changed, so that pictures with different adapters share every call. Everything
here runs on the device thread.
"""

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from sd_runtime.adapters import files, hypernetwork, lora, naming, rows
from sd_runtime.adapters.files import FileKey, Unusable
from sd_runtime.adapters.hypernetwork import Mlp
from sd_runtime.adapters.lora import Changes
from sd_runtime.adapters.naming import Place
from sd_runtime.adapters.rows import Applied, Patches
from sd_runtime.adapters.terms import Changeable
from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.network import Model

# Of batches: as long as the same pictures are under way, the same rows come again.
_KEPT_PLANS = 16

_WORDS = {AdapterKind.LORA: "lora", AdapterKind.HYPERNETWORK: "hypernet"}

Side = Literal["unet", "text"]


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A file that was read for a model, and fits it."""

    unet: Changes
    text: Changes
    inputs: Mapping[nn.Linear, Mlp]
    nbytes: int


class Adapters:
    """Those in use, within a budget; the least recently used go."""

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._fitted: OrderedDict[tuple[Model, FileKey], _Fitted] = OrderedDict()
        self._modules: dict[Model, Mapping[Place, Changeable]] = {}
        self._plans: OrderedDict[Hashable, Patches] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Of what is kept on the device."""
        return sum(fitted.nbytes for fitted in self._fitted.values())

    def prepare(self, model: Model, uses: Sequence[AdapterUse]) -> tuple[FileKey, ...]:
        """Have the files read, and know that each fits the model as a whole; what identifies their bytes.

        Raises UnsupportedError that names the adapter and says why it cannot be used.
        """
        return tuple(self._get(model, use)[0] for use in uses if use.unet or use.text)

    @contextmanager
    def on_unet(self, model: Model, uses: Sequence[tuple[AdapterUse, ...]]) -> Iterator[None]:
        """While the block runs, row i of the U-Net's batch is computed with the adapters uses[i]."""
        present = [tuple(use for use in row if use.unet) for row in uses] if any(uses) else []
        if not any(present):
            yield
            return
        with _uncompiled(), rows.patched(self._plan(model, "unet", present)):
            yield

    @contextmanager
    def on_text(self, model: Model, uses: tuple[AdapterUse, ...]) -> Iterator[None]:
        """While the block runs, the text encoders compute with these adapters."""
        present = tuple(use for use in uses if use.text and use.kind is AdapterKind.LORA)
        if not present:
            yield
            return
        with rows.patched(self._plan(model, "text", [present])):
            yield

    def forget(self, model: Model) -> None:
        """Everything that was made for a model that leaves."""
        self._modules.pop(model, None)
        for key in [key for key in self._fitted if key[0] is model]:
            del self._fitted[key]
        self._plans.clear()

    def _plan(self, model: Model, side: Side, uses: Sequence[tuple[AdapterUse, ...]]) -> Patches:
        """The changes of every module, for rows with these adapters; `uses` is one only for all rows."""
        known = {use: self._get(model, use) for row in set(uses) for use in row}
        key = model, side, tuple(tuple((known[use][0], use) for use in row) for row in uses)
        plan = self._plans.get(key)
        if plan is None:
            groups: dict[tuple[AdapterUse, ...], list[int]] = {}
            for row, present in enumerate(uses):
                groups.setdefault(present, []).append(row)
            device = model.device.handle
            plan = rows.patches(
                (
                    rows.rows_of(found, len(uses), device),
                    [_applied(known[use][1], use, side) for use in group],
                )
                for group, found in groups.items()
            )
            self._plans[key] = plan
        self._plans.move_to_end(key)
        while len(self._plans) > _KEPT_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _get(self, model: Model, use: AdapterUse) -> tuple[FileKey, _Fitted]:
        try:
            key = files.key(use.path)
            fitted = self._fitted.get((model, key))
            if fitted is None:
                key, fitted = self._read(model, use)
                self._keep((model, key), fitted)
        except Unusable as error:
            allowed = f"a {use.kind} that fits the checkpoint; this one cannot be used: {error}"
            raise UnsupportedError("prompt", f"<{_WORDS[use.kind]}:{use.path.stem}>", allowed) from error
        self._fitted.move_to_end((model, key))
        return key, fitted

    def _read(self, model: Model, use: AdapterUse) -> tuple[FileKey, _Fitted]:
        device = model.device
        key, content = files.read(use.path, device=device.handle, dtype=device.dtype, limit=self._budget)
        family = model.loaded.family
        if use.kind is AdapterKind.HYPERNETWORK:
            inputs = hypernetwork.fit(content, model.unet, model_family=family)
            return key, _Fitted({}, {}, inputs, content.nbytes)
        if model not in self._modules:
            self._modules[model] = naming.modules(model.unet, model.text)
        unet, text = lora.fit(content, self._modules[model], model_family=family)
        return key, _Fitted(unet, text, {}, content.nbytes)

    def _keep(self, key: tuple[Model, FileKey], fitted: _Fitted) -> None:
        self._fitted[key] = fitted
        while self.nbytes > self._budget and len(self._fitted) > 1:
            self._fitted.popitem(last=False)
            # They hold on to what went.
            self._plans.clear()


def _applied(fitted: _Fitted, use: AdapterUse, side: Side) -> Applied:
    if side == "text":
        return Applied(fitted.text, {}, use.text, use.rank)
    return Applied(fitted.unet, fitted.inputs, use.unet, use.rank)


def _uncompiled() -> AbstractContextManager[object]:
    """Compiled blocks would not see what their modules do besides; they run as they are written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager
