"""Tiny networks, and LoRA files for all of their modules, with what each file does to a weight computed here
anew: the tests' own account of the formats.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sd_runtime.adapters.patching import Adapters
from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.models.network import Model

WIDTH = 24
Tensors = dict[str, torch.Tensor]


def unet(*, xl: bool = False) -> Any:
    """With every kind of module that a U-Net of the family has."""
    extra: dict[str, Any] = {}
    if xl:
        extra = {
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 8 * 6 + 16,
        }
    torch.manual_seed(1)
    return _frozen(
        UNet2DConditionModel(
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D") if xl else ("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D") if xl else ("CrossAttnUpBlock2D",) * 2,
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            norm_num_groups=8,
            **extra,
        )
    )


def text_encoder(*, projected: bool = False) -> Any:
    torch.manual_seed(2)
    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=62,
        eos_token_id=63,
    )
    return _frozen(CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config))


def _frozen(network: Any) -> Any:
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class _Stand:
    """The attributes of a model that adapters look at."""

    unet: Any
    text: Any
    loaded: Any
    device: Any


def model(*, xl: bool = False, dtype: torch.dtype = torch.float32) -> Model:
    text = (
        SimpleNamespace(first=text_encoder(), second=text_encoder(projected=True))
        if xl
        else SimpleNamespace(network=text_encoder())
    )
    stand = _Stand(
        unet=unet(xl=xl).to(dtype),
        text=text,
        loaded=SimpleNamespace(family="SDXL" if xl else "SD15"),
        device=SimpleNamespace(handle=torch.device("cpu"), dtype=dtype),
    )
    return cast(Model, stand)


def run_unet(network: Any, rows: int = 1, *, seed: int = 0) -> torch.Tensor:
    """Row i is always the same."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 4, 8, 8, generator=generator)[:rows]
    context = torch.randn(8, 7, WIDTH, generator=generator)[:rows]
    times = torch.tensor([500.0, 20.0, 900.0, 3.0, 77.0, 640.0, 1.0, 333.0])[:rows]
    added = None
    if network.config.addition_embed_type:
        added = {
            "text_embeds": torch.randn(8, 16, generator=generator)[:rows],
            "time_ids": torch.randint(64, (8, 6), generator=generator)[:rows],
        }
    with torch.inference_mode():
        answer: torch.Tensor = network(x, times, context, added_cond_kwargs=added, return_dict=False)[0]
    return answer


def run_text(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        tokens = torch.tensor([[62, 5, 9, 11, 63]])
        states: torch.Tensor = network(tokens, output_hidden_states=True).hidden_states[-1]
    return states


def changeable(network: Any) -> Iterable[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            yield name, module


# What a file stores of one module, and what that changes in its weight.
Maker = Callable[[nn.Module, torch.Generator], tuple[Tensors, torch.Tensor]]


def lora(rank: int = 3, alpha: float | None = 2.0) -> Maker:
    def make(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
        out, into, *kernel = module.weight.shape
        down = torch.randn(rank, into, *kernel, generator=generator) * 0.2
        up = torch.randn(out, rank, *(1 for _ in kernel), generator=generator) * 0.2
        parts = {"lora_down.weight": down, "lora_up.weight": up}
        if alpha is not None:
            parts["alpha"] = torch.tensor(alpha)
        change = up.reshape(out, rank) @ down.reshape(rank, -1)
        return parts, change.reshape(module.weight.shape) * (1.0 if alpha is None else alpha / rank)

    return make


def locon_with_core(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
    if isinstance(module, nn.Linear):
        return lora()(module, generator)
    out, into, *kernel = module.weight.shape
    down, up = (torch.randn(sizes, generator=generator) * 0.3 for sizes in ((3, into, 1, 1), (out, 3, 1, 1)))
    mid = torch.randn(3, 3, *kernel, generator=generator) * 0.3
    change = torch.einsum("on,nmkl,mi->oikl", up[..., 0, 0], mid, down[..., 0, 0]) * (2.0 / 3)
    parts = {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}
    return {**parts, "alpha": torch.tensor(2.0)}, change


def loha(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
    out, rest = len(module.weight), module.weight[0].numel()
    a, c = (torch.randn(out, 2, generator=generator) * 0.5 for _ in range(2))
    b, d = (torch.randn(2, rest, generator=generator) * 0.5 for _ in range(2))
    parts = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(1.0)}
    return parts, ((a @ b) * (c @ d)).reshape(module.weight.shape) / 2


def loha_with_cores(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
    if isinstance(module, nn.Linear):
        return loha(module, generator)
    out, into, *kernel = module.weight.shape
    made, parts = [], {"alpha": torch.tensor(1.0)}
    for n in (1, 2):
        core, a, b = (
            torch.randn(sizes, generator=generator) * 0.5 for sizes in ((2, 2, *kernel), (2, out), (2, into))
        )
        parts |= {f"hada_t{n}": core, f"hada_w{n}_a": a, f"hada_w{n}_b": b}
        made.append(torch.einsum("ijkl,jr,ip->prkl", core, b, a))
    return parts, made[0] * made[1] / 2


def lokr(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
    out, into, *kernel = module.weight.shape
    a, c = (2, 1) if into % 2 == 0 and out % 2 == 0 else (1, 1)
    first = torch.randn(a, a, generator=generator)
    left = torch.randn(out // a, 2, generator=generator) * 0.2
    right = torch.randn(2, into // a * torch.Size(kernel).numel(), generator=generator) * 0.2
    second = (left @ right).reshape(out // a, into // a, *kernel)
    parts = {"lokr_w1": first, "lokr_w2_a": left, "lokr_w2_b": right, "alpha": torch.tensor(1.0)}
    return parts, torch.kron(first.reshape(a, a, *(1 for _ in kernel)), second) * c / c / 2


def lokr_whole(module: Any, generator: torch.Generator) -> tuple[Tensors, torch.Tensor]:
    """Two whole matrices, which no alpha scales."""
    out, into, *kernel = module.weight.shape
    first = torch.randn(1, 1, generator=generator)
    second = torch.randn(out, into, *kernel, generator=generator) * 0.1
    return {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(9.0)}, first[0, 0] * second


def file_and_fused(
    path: Path,
    networks: Mapping[str, Any],
    make: Maker,
    *,
    key: Callable[[str, str], str] = lambda prefix, name: f"lora_{prefix}_" + name.replace(".", "_"),
    strength: float = 1.0,
    seed: int = 7,
) -> dict[str, Any]:
    """Writes a file that changes every module of the networks; copies of them with the change in their
    weights. `key` is what the file calls a module, by the part's prefix and its name.
    """
    generator = torch.Generator().manual_seed(seed)
    stored: Tensors = {}
    fused = {}
    for prefix, network in networks.items():
        fused[prefix] = copy.deepcopy(network)
        for name, module in changeable(fused[prefix]):
            parts, change = make(module, generator)
            stored |= {f"{key(prefix, name)}.{part}": value for part, value in parts.items()}
            cast(Any, module).weight += strength * change
    save_file({name: value.contiguous() for name, value in stored.items()}, path)
    return fused


def use(path: Path, unet: float = 1.0, text: float = 1.0, **others: Any) -> AdapterUse:
    return AdapterUse(kind=AdapterKind.LORA, path=path, unet=unet, text=text, **others)


def hypernet(path: Path, strength: float = 1.0) -> AdapterUse:
    return AdapterUse(kind=AdapterKind.HYPERNETWORK, path=path, unet=strength, text=0.0)


def with_adapters(stand: Model, rows: Sequence[tuple[AdapterUse, ...]]) -> torch.Tensor:
    """The U-Net's answer for these rows."""
    adapters = Adapters(budget_bytes=10**9)
    with adapters.on_unet(stand, [adapters.pin(stand, row) for row in rows]):
        return run_unet(stand.unet, len(rows))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The greatest difference, in parts of how far the values spread."""
    return float((one - other).abs().max() / other.std())
