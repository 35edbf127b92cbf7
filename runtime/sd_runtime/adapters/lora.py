"""A LoRA's file to the changes it makes to a model's modules: all of them, or the reason why it is none.

Served are LoRA with its form for convolutions (LoCon), LoHa and LoKr. Scales follow the files' writers:
alpha / rank, 1 where there is no alpha.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from math import sqrt

import torch

from sd_modelfiles import family, lora
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import ModelType
from sd_runtime.adapters import naming, terms
from sd_runtime.adapters.files import Content, Unusable
from sd_runtime.adapters.naming import UNET, Place
from sd_runtime.adapters.terms import Changeable, Term
from sd_runtime.adapters.uses import LORA_KINDS

# Where diffusers notes what peft was told.
_PEFT_NOTES = "lora_adapter_metadata"
_PEFT_PARTS = {"unet": "unet", "te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2"}

Parts = dict[str, torch.Tensor]  # of one module, by role
Changes = dict[Changeable, Term]


def fit(
    content: Content, modules: Mapping[Place, Changeable], *, model_family: str
) -> tuple[Changes, Changes]:
    """The changes of the U-Net's modules and of the text encoders'; raises Unusable."""
    header = content.header
    variant = lora.variant(header)
    if variant not in LORA_KINDS:
        what = "no LoRA" if variant is None else f"a LoRA of the kind {variant}"
        raise Unusable(f"it is {what}; served are {', '.join(LORA_KINDS)}")
    try:
        return _fit(content, modules)
    except Unusable as error:
        raise Unusable(f"{error}{_made_for(header, model_family)}") from error


def _fit(content: Content, modules: Mapping[Place, Changeable]) -> tuple[Changes, Changes]:
    scale_of = _peft_scales(content.header)
    unet: Changes = {}
    text: Changes = {}
    for place, (parts, alpha) in _by_module(content).items():
        module = modules.get(place)
        shown = f"{place.part} {place.path[:200]}"
        if module is None:
            raise Unusable(f"it changes {shown}, which the checkpoint does not have")
        changes = unet if place.part == UNET else text
        if module in changes:
            raise Unusable(f"it changes {shown} twice")
        try:
            changes[module] = _term(module, parts, alpha, partial(scale_of, place.part))
        except Unusable as error:
            raise Unusable(f"its change of {shown} is {error}") from error
    return unet, text


def _by_module(content: Content) -> dict[Place, tuple[Parts, float | None]]:
    found: dict[Place, Parts] = {}
    alphas: dict[Place, float] = {}
    for name in content.header.tensors:
        parsed = naming.parse(name)
        if parsed is None:
            raise Unusable(f"its tensor {name[:200]!r} is none of a {' or '.join(LORA_KINDS)}")
        place, role = parsed
        if role == "alpha":
            if name not in content.numbers:
                raise Unusable(f"its alpha {name[:200]!r} is no number")
            alphas[place] = content.numbers[name]
            continue
        if role in found.setdefault(place, {}):
            raise Unusable(f"its tensor {name[:200]!r} is there twice")
        found[place][role] = content.weight(name)
    return {place: (parts, alphas.get(place)) for place, parts in found.items()}


def _term(module: Changeable, parts: Parts, alpha: float | None, default: Callable[[int], float]) -> Term:
    if isinstance(module, torch.nn.Conv2d) and module.groups != 1:
        raise Unusable("of a grouped convolution, which is not served")
    roles = parts.keys()
    if {"down", "up"} <= roles <= {"down", "up", "mid"}:
        down = parts["down"]
        scale = default(len(down)) if alpha is None else alpha / max(1, len(down))
        return terms.low_rank(module, down, parts["up"], parts.get("mid"), scale=scale)
    if all(role.startswith("hada_") for role in roles):
        first, second = (_factors(parts, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
        scale = 1.0 if alpha is None else alpha / max(1, len(parts["hada_w1_b"]))
        return terms.hadamard(module, first, second, scale=scale)
    if all(role.startswith("lokr_") for role in roles):
        first, second = _factors(parts, "lokr_w1", "lokr_t1"), _factors(parts, "lokr_w2", "lokr_t2")
        ranked = parts.get("lokr_w2_b", parts.get("lokr_w1_b"))
        # Of two whole matrices there is no rank, and LyCORIS scales nothing.
        scale = 1.0 if alpha is None or ranked is None else alpha / max(1, len(ranked))
        return terms.kronecker(module, first, second, scale=scale)
    raise Unusable(f"incomplete: it has {', '.join(sorted(roles))}")


def _factors(parts: Parts, name: str, core: str) -> tuple[torch.Tensor, ...]:
    """A matrix that is whole, or its factors, led by their core where there is one."""
    if name in parts:
        return (parts[name],)
    try:
        pair = parts[f"{name}_a"], parts[f"{name}_b"]
    except KeyError:
        raise Unusable(f"incomplete: it has {', '.join(sorted(parts))}") from None
    return (parts[core], *pair) if core in parts else pair


def _peft_scales(header: Header) -> Callable[[str, int], float]:
    """The scale of a module without an alpha of its own, by its part and rank."""
    raw = header.metadata.get(_PEFT_NOTES)
    if raw is None:
        return lambda part, rank: 1.0
    try:
        notes = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"its metadata {_PEFT_NOTES} is not JSON") from error
    if not isinstance(notes, dict):
        raise Unusable(f"its metadata {_PEFT_NOTES} is no object")

    def scale(part: str, rank: int) -> float:
        prefix = _PEFT_PARTS.get(part, part)
        if notes.get(f"{prefix}.alpha_pattern"):
            raise Unusable("scaled by peft's alpha_pattern, which is not served")
        alpha = notes.get(f"{prefix}.lora_alpha")
        if not isinstance(alpha, (int, float)):
            return 1.0
        return alpha / (sqrt(rank) if notes.get(f"{prefix}.use_rslora") else rank)

    return scale


def _made_for(header: Header, model_family: str) -> str:
    shown = family.shown(header, ModelType.LORA)
    made_for = shown.family or shown.other or family.hinted(header)
    if made_for is None or made_for == model_family:
        return f"; the checkpoint is of {model_family}"
    return f"; it is made for {made_for}, the checkpoint is of {model_family}"
