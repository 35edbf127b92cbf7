"""Faults of a ControlNet that its header shows."""

import pytest

from sd_modelfiles import controlnet, header

HINT, QUERY = (
    "control_model.input_hint_block.0",
    "control_model.middle_block.1.transformer_blocks.0.attn1.to_q",
)
LDM = {f"{HINT}.weight": "F16", f"{HINT}.bias": "F16", f"{QUERY}.weight": "F8_E4M3"}
DIFFUSERS = {
    "controlnet_cond_embedding.conv_in.weight": "F32",
    "controlnet_cond_embedding.conv_in.bias": "BF16",
}


@pytest.fixture
def fault(write):
    """That of a file with tensors of these kinds, two numbers each."""

    def told(kinds):
        data = sum(2 * header.BITS[kind] // 8 for kind in kinds.values())
        start = header.encode({name: (kind, (2,)) for name, kind in kinds.items()}, {})
        return controlnet.fault(header.read(write(start + bytes(data))))

    return told


@pytest.mark.parametrize(
    "kinds", [LDM, DIFFUSERS, LDM | {"step": "I64", "other.weight": "U8"}], ids=["LDM", "diffusers", "beside"]
)
def test_a_whole_one_has_none(fault, kinds):
    assert fault(kinds) is None


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (
            LDM | {f"{QUERY}.weight": "I32"},
            f"'{QUERY}.weight' has the unsupported dtype I32; allowed: F64, F32",
        ),
        (DIFFUSERS | {"step": "I64"}, "'step' has the unsupported dtype I64"),
        ({f"{HINT}.weight": "F16"}, f"'{HINT}.bias' is missing"),
        ({f"{HINT}.bias": "F16"}, f"'{HINT}.weight' is missing"),
    ],
    ids=["whole numbers", "whole numbers of diffusers", "no bias", "no weight"],
)
def test_what_cannot_be_loaded_is_told_by_tensor(fault, kinds, told):
    assert told in fault(kinds)
