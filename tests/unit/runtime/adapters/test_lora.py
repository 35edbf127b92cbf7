"""A LoRA applied beside the weights is the same as one added to them, whatever its kind and its names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.export import ldm_keys
from sd_runtime.adapters.patching import Adapters
from sd_runtime.errors import UnsupportedError
from tests.unit.runtime.adapters import made
from tests.unit.runtime.adapters.made import difference, use

KINDS = {
    "LoRA and LoCon": made.lora(),
    "LoRA without alpha": made.lora(alpha=None),
    "LoCon with a core": made.locon_with_core,
    "LoHa": made.loha,
    "LoHa with cores": made.loha_with_cores,
    "LoKr": made.lokr,
    "LoKr of two whole matrices": made.lokr_whole,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("xl", [False, True], ids=["SD15", "SDXL"])
def test_a_lora_of_every_module_is_as_if_it_were_added_to_the_weights(
    kind: str, xl: bool, tmp_path: Path
) -> None:
    model = made.model(xl=xl)
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(path, {"unet": model.unet}, KINDS[kind], strength=0.7)
    plain = made.run_unet(model.unet, 2)
    changed = made.with_adapters(model, [(use(path, unet=0.7),)] * 2)
    assert difference(changed, made.run_unet(fused["unet"], 2)) < 1e-5
    assert difference(changed, plain) > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_encoders_part_is_as_if_it_were_added_to_the_weights(kind: str, tmp_path: Path) -> None:
    model = made.model(xl=True)
    networks = {"te1": model.text.first, "te2": model.text.second}  # type: ignore[attr-defined]
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(path, networks, KINDS[kind], strength=0.7)
    adapters = Adapters(budget_bytes=10**9)
    with adapters.on_text(model, adapters.pin(model, (use(path, text=0.7, unet=0),))):
        changed = {part: made.run_text(network) for part, network in networks.items()}
    for part, network in networks.items():
        assert difference(changed[part], made.run_text(fused[part])) < 1e-5
        assert difference(changed[part], made.run_text(network)) > 0.01


def _ldm_names(unet: Any) -> dict[str, str]:
    """By diffusers' names, as the exporter of the demo's checkpoints has them."""
    state = unet.state_dict()
    by_memory = {value.data_ptr(): name for name, value in ldm_keys.unet(state).items()}
    return {
        name.removesuffix(".weight"): by_memory[value.data_ptr()]
        .removeprefix(ldm_keys.UNET_PREFIX)
        .removesuffix(".weight")
        for name, value in state.items()
        if name.endswith(".weight")
    }


@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model.", "model.diffusion_model."])
def test_ldms_names_of_modules_are_known(prefix: str, tmp_path: Path) -> None:
    model = made.model()
    names = _ldm_names(model.unet)
    path = tmp_path / "a.safetensors"

    def key(_: str, name: str) -> str:
        return prefix + (names[name].replace(".", "_") if prefix.endswith("_") else names[name])

    fused = made.file_and_fused(path, {"unet": model.unet}, made.lora(), key=key)
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused["unet"])) < 1e-5


def test_ldms_names_of_the_modules_that_only_sdxl_has_are_known(tmp_path: Path) -> None:
    model = made.model(xl=True)
    generator = torch.Generator().manual_seed(0)
    parts, change = made.lora()(model.unet.add_embedding.linear_2, generator)
    path = tmp_path / "a.safetensors"
    save_file({f"lora_unet_label_emb_0_2.{part}": value for part, value in parts.items()}, path)
    changed = made.with_adapters(model, [(use(path),)])
    model.unet.add_embedding.linear_2.weight += change
    assert difference(changed, made.run_unet(model.unet)) < 1e-5


_SPELLINGS = {
    "peft": ("unet.", ".lora_A.weight", ".lora_B.weight"),
    "peft's own": ("base_model.model.unet.", ".lora_A.default.weight", ".lora_B.default.weight"),
    "peft of a U-Net alone": ("", ".lora_A.weight", ".lora_B.weight"),
    "diffusers": ("unet.", ".lora.down.weight", ".lora.up.weight"),
    "LyCORIS": ("unet.", ".lora_down.weight", ".lora_up.weight"),
}  # fmt: skip


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_diffusers_names_of_tensors_are_known(spelling: str, tmp_path: Path) -> None:
    prefix, down, up = _SPELLINGS[spelling]
    model = made.model()
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(
        path, {"unet": model.unet}, made.lora(alpha=None), key=lambda _, name: prefix + name
    )
    _respell(path, {".lora_down.weight": down, ".lora_up.weight": up})
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused["unet"])) < 1e-5


def _respell(path: Path, endings: dict[str, str], metadata: dict[str, str] | None = None) -> None:
    stored = load_file(path)
    for old, new in endings.items():
        stored = {
            name.removesuffix(old) + new if name.endswith(old) else name: v for name, v in stored.items()
        }
    save_file(stored, path, metadata)


def test_older_names_of_attention_processors_are_known(tmp_path: Path) -> None:
    model = made.model()
    attention = "mid_block.attentions.0.transformer_blocks.0.attn1"
    module = model.unet.get_submodule(f"{attention}.to_out.0")
    parts, change = made.lora(alpha=None)(module, torch.Generator().manual_seed(0))
    path = tmp_path / "a.safetensors"
    save_file(
        {
            f"unet.{attention}.processor.to_out_lora.{part.removeprefix('lora_')}": value
            for part, value in parts.items()
        },
        path,
    )
    changed = made.with_adapters(model, [(use(path),)])
    module.weight += change
    assert difference(changed, made.run_unet(model.unet)) < 1e-5


@pytest.mark.parametrize(
    ("prefix", "endings"),
    [
        ("text_encoder.text_model.", (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")),
        ("text_encoder.", (".lora_A.weight", ".lora_B.weight")),
        ("lora_te_text_model_", (".lora_down.weight", ".lora_up.weight")),
    ],
)
def test_the_text_encoders_names_are_known(prefix: str, endings: tuple[str, str], tmp_path: Path) -> None:
    model = made.model()
    network = model.text.network  # type: ignore[attr-defined]
    path = tmp_path / "a.safetensors"

    def key(_: str, name: str) -> str:
        return prefix + (name.replace(".", "_") if prefix.endswith("_") else name)

    fused = made.file_and_fused(path, {"te": network}, made.lora(alpha=None), key=key)
    _respell(path, dict(zip((".lora_down.weight", ".lora_up.weight"), endings, strict=True)))
    adapters = Adapters(budget_bytes=10**9)
    with adapters.on_text(model, adapters.pin(model, (use(path),))):
        changed = made.run_text(network)
    assert difference(changed, made.run_text(fused["te"])) < 1e-5


@pytest.mark.parametrize(
    ("notes", "factor"),
    [
        ({"unet.lora_alpha": 6, "unet.r": 3}, 2.0),
        ({"unet.lora_alpha": 3, "unet.use_rslora": True}, 3**0.5),
        ({}, 1.0),
    ],
)
def test_pefts_alpha_scales_a_file_that_has_it_in_its_metadata(
    notes: dict[str, Any], factor: float, tmp_path: Path
) -> None:
    model = made.model()
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(
        path, {"unet": model.unet}, made.lora(alpha=None), key=lambda _, n: f"unet.{n}", strength=factor
    )
    _respell(path, {}, {"lora_adapter_metadata": json.dumps(notes)})
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused["unet"])) < 1e-5


def test_a_lora_cut_to_a_rank_keeps_its_first_ranks_and_its_scale(tmp_path: Path) -> None:
    model = made.model()
    path, cut = tmp_path / "a.safetensors", tmp_path / "cut.safetensors"
    made.file_and_fused(path, {"unet": model.unet}, made.lora(rank=4, alpha=4.0))
    stored = load_file(path)
    for name, value in stored.items():
        if name.endswith("lora_down.weight"):
            stored[name] = value[:2].contiguous()
        if name.endswith("lora_up.weight"):
            stored[name] = value[:, :2].contiguous()
        if name.endswith("alpha"):
            stored[name] = value / 2
    save_file(stored, cut)
    by_use = made.with_adapters(model, [(use(path, rank=2),)])
    by_file = made.with_adapters(model, [(use(cut),)])
    assert difference(by_use, by_file) < 1e-6


def test_a_linear_layer_takes_the_matrices_of_a_one_by_one_convolution(tmp_path: Path) -> None:
    """SD 1.5 has convolutions where later families have linear layers."""
    model = made.model()
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(path, {"unet": model.unet}, made.lora())
    stored = load_file(path)
    save_file({n: v[..., None, None] if v.ndim == 2 else v for n, v in stored.items()}, path)
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused["unet"])) < 1e-5


_MODULE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
_DOWN, _UP = torch.zeros(2, made.WIDTH), torch.zeros(32, 2)
_GOOD = {f"{_MODULE}.lora_down.weight": _DOWN, f"{_MODULE}.lora_up.weight": _UP}
REFUSED = {
    "a DoRA": ({**_GOOD, f"{_MODULE}.dora_scale": torch.ones(32, 1)}, "of the kind DoRA"),
    "IA3": ({f"{_MODULE}.weight": torch.ones(32), f"{_MODULE}.on_input": torch.tensor(False)}, "kind IA3"),
    "whole changes": ({f"{_MODULE}.diff": torch.zeros(32, made.WIDTH)}, "of the kind full"),
    "OFT": ({_MODULE.replace("lora", "oft") + ".oft_blocks": torch.zeros(2, 2, 2)}, "kind OFT"),
    "no LoRA at all": ({"vectors": torch.zeros(3, 4)}, "it is no LoRA"),
    "a bias beside it": ({**_GOOD, f"{_MODULE}.diff_b": torch.zeros(32)}, "diff_b"),
    "an embedding bundled": ({**_GOOD, "bundle_emb.cat.emb_params": torch.zeros(1, 4)}, "bundle_emb.cat"),
    "a module that is not there": (
        {**_GOOD, "lora_unet_input_blocks_99_1_proj_in.lora_down.weight": torch.zeros(2, 2)},
        "unet input_blocks_99_1_proj_in, which the checkpoint does not have; it is made for SDXL",
    ),
    "a second text encoder": (
        {**_GOOD, "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.zeros(2, 24)},
        "it is made for SDXL, the checkpoint is of SD15",
    ),
    "another width of context": (
        {f"{_MODULE}.lora_down.weight": torch.zeros(2, 1024), f"{_MODULE}.lora_up.weight": _UP},
        "it is made for SD21, the checkpoint is of SD15",
    ),
    "half of it": ({f"{_MODULE}.lora_down.weight": _DOWN}, "incomplete: it has down"),
    "half of a LoHa": ({f"{_MODULE}.hada_w1_a": _UP}, "incomplete"),
    "a LoHa of two sizes": (
        {f"{_MODULE}.hada_w{n}_{p}": torch.zeros((32, 2) if p == "a" else (2, made.WIDTH + n))
         for n in (1, 2) for p in "ab"},
        "of the sizes",
    ),
    "a LoKr that makes more than there is": (
        {f"{_MODULE}.lokr_w1_a": torch.zeros(10**6, 1), f"{_MODULE}.lokr_w1_b": torch.zeros(1, 10**6),
         f"{_MODULE}.lokr_w2": torch.zeros(2, 2)},
        "of the sizes",
    ),
    "a vector for a matrix": ({**_GOOD, f"{_MODULE}.lora_down.weight": _DOWN[0]}, "of the sizes"),
    "a module twice": (
        {**_GOOD, **{n.replace("mid_block_attentions_0", "middle_block_1"): v for n, v in _GOOD.items()}},
        "twice",
    ),
    "a tensor twice": (
        {**_GOOD, "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": _DOWN}, "twice"
    ),
    "an alpha that is no number": ({**_GOOD, f"{_MODULE}.alpha": torch.zeros(2)}, "is no number"),
    "integers for weights": ({**_GOOD, f"{_MODULE}.lora_up.weight": _UP.int()}, "dtype I32"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_applied_as_a_whole_is_refused_by_name(what: str, tmp_path: Path) -> None:
    tensors, words = REFUSED[what]
    path = tmp_path / "strange.safetensors"
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, path)
    model, adapters = made.model(), Adapters(budget_bytes=10**9)
    with pytest.raises(UnsupportedError) as refusal:
        adapters.pin(model, (use(path),))
    assert (refusal.value.field, refusal.value.value) == ("prompt", "<lora:strange>")
    assert words in str(refusal.value)
    assert adapters.nbytes == 0


def test_notes_of_peft_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for notes in ("{", "[]", json.dumps({"unet.alpha_pattern": {"to_k": 3}})):
        save_file(_GOOD, path, {"lora_adapter_metadata": notes})
        with pytest.raises(UnsupportedError, match=r"lora_adapter_metadata|alpha_pattern"):
            Adapters(budget_bytes=10**9).pin(made.model(), (use(path),))
