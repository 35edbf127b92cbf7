"""The adapters of pictures on the networks of models: files read once and kept, and the blocks in which a
call's rows, or a text, are computed with theirs.

A picture's files are looked at once, when it is pinned to them: replaced or removed while it is made, they
change neither it nor its neighbours. A model's own weights are never changed, so that pictures with different
adapters share every call. Everything here runs on the device thread.
"""

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary, finalize

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


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Fitted:
    """A file that was read for a model, and fits it."""

    model: Model
    file: FileKey
    unet: Changes
    text: Changes
    inputs: Mapping[nn.Linear, Mlp]
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Used:
    """A file's weights on one side of a model, and how strongly."""

    fitted: _Fitted
    strength: float
    rank: int | None

    @property
    def content(self) -> Hashable:
        """The same for the same, without holding on to the weights."""
        return self.fitted.file, self.strength, self.rank


@dataclass(frozen=True, slots=True)
class Pinned:
    """The adapters of a picture, as their files were when it was pinned to them, for one model.

    Equal for the same strengths of the same bytes, whatever the files are called. The weights stay on the
    device for as long as it lives: what outlives the picture keeps `files` instead.
    """

    #: What identifies the bytes, in the order of the uses that have any strength.
    files: tuple[FileKey, ...]
    _unet: tuple[_Used, ...]
    _text: tuple[_Used, ...]

    def __bool__(self) -> bool:
        """Whether anything is computed otherwise for it."""
        return bool(self._unet or self._text)


_NOTHING = Pinned((), (), ())


class Adapters:
    """Those in use, and as many others as a budget has room for; the least recently used go."""

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._kept: OrderedDict[tuple[Model, FileKey], _Fitted] = OrderedDict()
        # With those that are only kept by pictures: they take memory, and need not be read again.
        self._alive: WeakValueDictionary[tuple[Model, FileKey], _Fitted] = WeakValueDictionary()
        self._modules: dict[Model, Mapping[Place, Changeable]] = {}
        self._plans: dict[Hashable, Patches] = {}

    @property
    def nbytes(self) -> int:
        """Of what is on the device; more than the budget only while pictures under way need it."""
        return sum(fitted.nbytes for fitted in self._alive.values())

    def pin(self, model: Model, uses: tuple[AdapterUse, ...]) -> Pinned:
        """The adapters as their files are now, each read unless it is known, and fitted to the model whole.

        Raises UnsupportedError that names the adapter and says why it cannot be used. Adapters without any
        strength are absent: their files are not looked at.
        """
        found = [(use, self._get(model, use)) for use in uses if use.unet or use.text]
        if not found:
            return _NOTHING
        return Pinned(
            tuple(fitted.file for _, fitted in found),
            tuple(
                _Used(fitted, use.unet, use.rank)
                for use, fitted in found
                if use.unet and (fitted.unet or fitted.inputs)
            ),
            tuple(_Used(fitted, use.text, use.rank) for use, fitted in found if use.text and fitted.text),
        )

    @contextmanager
    def on_unet(self, model: Model, pinned: Sequence[Pinned | None]) -> Iterator[None]:
        """While the block runs, row i of the U-Net's batch is computed with the adapters of pinned[i]."""
        present = [row._unet if row else () for row in pinned]
        if not any(present):
            yield
            return
        with _uncompiled(), rows.patched(self._plan(model, "unet", present)):
            yield

    @contextmanager
    def on_text(self, model: Model, pinned: Pinned | None) -> Iterator[None]:
        """While the block runs, the text encoders compute with these adapters."""
        if not pinned or not pinned._text:
            yield
            return
        with rows.patched(self._plan(model, "text", [pinned._text])):
            yield

    def forget(self, model: Model) -> None:
        """Everything that was made for a model that leaves, but for what is pinned."""
        self._modules.pop(model, None)
        for key in [key for key in self._kept if key[0] is model]:
            del self._kept[key]
        self._plans.clear()

    def _plan(self, model: Model, side: Side, present: Sequence[tuple[_Used, ...]]) -> Patches:
        """The changes of every module, for rows with these adapters; one only is for all rows."""
        known = {used.fitted for row in set(present) for used in row}
        if any(fitted.model is not model for fitted in known):
            raise RuntimeError("adapters pinned for another model")
        for fitted in known:
            self._touch(fitted)
        key = model, side, tuple(tuple(used.content for used in row) for row in present)
        plan = self._plans.pop(key, None)
        if plan is None:
            plan = _planned(side, present, model.device.handle)
        self._plans[key] = plan
        # Weights may be let go on any thread, and all plans with them.
        while len(self._plans) > _KEPT_PLANS:
            self._plans.pop(next(iter(self._plans), None), None)
        return plan

    def _touch(self, fitted: _Fitted) -> None:
        key = fitted.model, fitted.file
        if key in self._kept:
            self._kept.move_to_end(key)

    def _get(self, model: Model, use: AdapterUse) -> _Fitted:
        try:
            fitted = self._alive.get((model, files.key(use.path)))
            if fitted is None:
                fitted = self._read(model, use)
                # Plans hold on to its weights.
                finalize(fitted, self._plans.clear).atexit = False
        except Unusable as error:
            allowed = f"a {use.kind} that fits the checkpoint; this one cannot be used: {error}"
            raise UnsupportedError("prompt", f"<{_WORDS[use.kind]}:{use.path.stem}>", allowed) from error
        self._keep(fitted)
        return fitted

    def _read(self, model: Model, use: AdapterUse) -> _Fitted:
        device = model.device
        key, content = files.read(use.path, device=device.handle, dtype=device.dtype, limit=self._budget)
        family = model.loaded.family
        if use.kind is AdapterKind.HYPERNETWORK:
            inputs = hypernetwork.fit(content, model.unet, model_family=family)
            return _Fitted(model, key, {}, {}, inputs, content.nbytes)
        if model not in self._modules:
            self._modules[model] = naming.modules(model.unet, model.text)
        unet, text = lora.fit(content, self._modules[model], model_family=family)
        return _Fitted(model, key, unet, text, {}, content.nbytes)

    def _keep(self, fitted: _Fitted) -> None:
        """As the most recently used; others go until there is room."""
        key = fitted.model, fitted.file
        self._alive[key] = self._kept[key] = fitted
        self._kept.move_to_end(key)
        while self.nbytes > self._budget and len(self._kept) > 1:
            self._kept.popitem(last=False)


def _planned(side: Side, present: Sequence[tuple[_Used, ...]], device: torch.device) -> Patches:
    groups: dict[tuple[_Used, ...], list[int]] = {}
    for row, used in enumerate(present):
        groups.setdefault(used, []).append(row)
    return rows.patches(
        (rows.rows_of(found, len(present), device), [_applied(used, side) for used in group])
        for group, found in groups.items()
    )


def _applied(used: _Used, side: Side) -> Applied:
    fitted = used.fitted
    if side == "text":
        return Applied(fitted.text, {}, used.strength, used.rank)
    return Applied(fitted.unet, fitted.inputs, used.strength, used.rank)


def _uncompiled() -> AbstractContextManager[object]:
    """Compiled blocks would not see what their modules do besides; they run as they are written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager
