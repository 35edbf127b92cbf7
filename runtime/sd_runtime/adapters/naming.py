"""Which module of a network a tensor of a LoRA's file is for.

Files name modules in four ways: kohya's (`lora_unet_…`, paths joined by "_", of diffusers or of LDM),
diffusers' and peft's (`unet.….lora_A.weight`), older ones of diffusers (`….processor.to_q_lora.down.weight`),
and LDM's own (`diffusion_model.….lora_up.weight`). All are brought to one form: the part of the model, and
the path joined by "_". The names that a network knows are made from its own modules.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sd_runtime.adapters.terms import Changeable

UNET = "unet"

_KOHYA = re.compile(r"(?:lora|lycoris)_(unet|te[123]?)_(.+)", re.DOTALL)
_PATHS = (
    ("model.diffusion_model.", UNET),
    ("diffusion_model.", UNET),
    ("unet.", UNET),
    ("text_encoder_2.", "te2"),
    ("text_encoder.", "te"),
)
_WRAPPINGS = ("base_model.model.",)

# peft may write its adapter's name after the matrix's; another writer's ending is none.
_ADAPTER = r"(?:\.(?!lora_(?:up|down)\.)\w+)?"
# What is stored of a module, and what it is called here.
_ENDINGS = (
    (re.compile(rf"[._](?:lora_down|lora_A{_ADAPTER}|lora\.down|lora_linear_layer\.down)\.weight\Z"), "down"),
    (re.compile(rf"[._](?:lora_up|lora_B{_ADAPTER}|lora\.up|lora_linear_layer\.up)\.weight\Z"), "up"),
    (re.compile(r"\.lora_mid\.weight\Z"), "mid"),
    (re.compile(r"\.alpha\Z"), "alpha"),
    (re.compile(r"\.((?:hada_(?:w[12]_[ab]|t[12]))|(?:lokr_(?:w[12](?:_[ab])?|t2)))\Z"), ""),
)


@dataclass(frozen=True, slots=True)
class Place:
    """The part of the model ("unet", "te", "te1", …), and the module's path joined by "_"."""

    part: str
    path: str


def parse(name: str) -> tuple[Place, str] | None:
    """A tensor's place, and which of the module's tensors it is; None for what is none of a LoRA's."""
    for ending, role in _ENDINGS:
        found = ending.search(name)
        if found is not None:
            return _place(name[: found.start()]), role or found[1]
    return None


def _place(path: str) -> Place:
    kohya = _KOHYA.fullmatch(path)
    if kohya is not None and "." not in path:
        return Place(kohya[1], _joined(kohya[1], kohya[2]))
    for wrapping in _WRAPPINGS:
        path = path.removeprefix(wrapping)
    for prefix, part in _PATHS:
        if path.startswith(prefix):
            return Place(part, _joined(part, path.removeprefix(prefix)))
    return Place(UNET, _joined(UNET, path))


def _joined(part: str, path: str) -> str:
    joined = path.replace(".processor", "").replace(".", "_")
    if part == UNET:
        # Older diffusers' processors left the number out.
        return f"{joined}_0" if joined.endswith("_to_out") else joined
    return joined.removeprefix("text_model_")


def modules(unet: Any, text: Any) -> Mapping[Place, Changeable]:
    """Every module of the networks that a LoRA may change, under each name that files have for it."""
    found = dict(_unet_modules(unet))
    for parts, network in _text_networks(text):
        for name, module in _changeable(network):
            path = _joined(parts[0], name)
            found.update({Place(part, path): module for part in parts})
    return found


def _text_networks(text: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The text encoders with the names that files give them: numbered where there are two."""
    if hasattr(text, "second"):
        return [(("te1", "te"), text.first), (("te2",), text.second)]
    return [(("te", "te1"), text.network)]


def _changeable(network: Any) -> Iterator[tuple[str, Changeable]]:
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            yield name, module


def _unet_modules(unet: Any) -> Iterator[tuple[Place, Changeable]]:
    blocks = dict(_ldm_blocks(unet))
    for name, module in _changeable(unet):
        yield Place(UNET, name.replace(".", "_")), module
        ldm = _ldm_name(name, blocks)
        if ldm is not None:
            yield Place(UNET, ldm.replace(".", "_")), module


# Of the modules that are in no block, and of those within a residual block.
_LDM_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_LDM_RESIDUAL = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _ldm_blocks(unet: Any) -> Iterator[tuple[str, str]]:
    """Each block by diffusers' name and by LDM's, which numbers them on through all levels."""
    number = 1  # 0 is conv_in
    for level, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1"
            number += 1
        if block.downsamplers:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
            number += 1
    yield "mid_block.resnets.0", "middle_block.0"
    yield "mid_block.attentions.0", "middle_block.1"
    yield "mid_block.resnets.1", "middle_block.2"
    number = 0
    for level, block in enumerate(unet.up_blocks):
        for layer in range(len(block.resnets)):
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        if block.upsamplers:
            place = 2 if hasattr(block, "attentions") else 1
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{number - 1}.{place}.conv"


def _ldm_name(name: str, blocks: Mapping[str, str]) -> str | None:
    if name in _LDM_OUTSIDE:
        return _LDM_OUTSIDE[name]
    if name in blocks:
        return blocks[name]
    pieces = name.split(".")
    length = 3 if pieces[0] == "mid_block" else 4
    block, inside = blocks.get(".".join(pieces[:length])), ".".join(pieces[length:])
    if block is None:
        return None
    return f"{block}.{_LDM_RESIDUAL.get(inside, inside)}"
