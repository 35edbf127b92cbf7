"""A tiny Stable Diffusion checkpoint with random weights, in the original single-file layout.

torch is imported by the fixtures that need it, so that the tests of the HTTP side stay quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

# Makes small_files.py importable.
sys.path.append(str(Path(__file__).parent))


def _networks() -> tuple[Any, Any, Any]:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=1,
            hidden_act="quick_gelu",
            initializer_range=0.5,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )
    return unet, vae, text


def _strengthen(unet: Any, vae: Any) -> None:
    """Untrained networks answer almost nothing; without this every picture would be the same grey."""
    import torch

    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if "attn2.to_out.0.weight" in name:
                weight.mul_(20)
        noise = unet(torch.randn(2, 4, 8, 8), torch.tensor([500.0, 100.0]), torch.randn(2, 77, 64)).sample
        unet.conv_out.weight.div_(noise.std())
        pixels = vae.decode(torch.randn(2, 4, 8, 8) * 5).sample
        vae.decoder.conv_out.weight.div_(2 * pixels.std())


@pytest.fixture(scope="session")
def networks() -> tuple[Any, Any, Any]:
    """UNet, autoencoder and text encoder, as their own libraries made them."""
    import torch

    torch.set_num_threads(1)
    unet, vae, text = _networks()
    _strengthen(unet.eval(), vae.eval())
    return unet, vae, text.eval()


@pytest.fixture(scope="session")
def checkpoint_file(networks: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same networks as one file."""
    import torch
    from safetensors.torch import save_file

    from demo.export import ldm_keys

    unet, vae, text = networks
    weights = {
        **ldm_keys.unet(unet.state_dict()),
        **ldm_keys.vae(vae.state_dict()),
        **ldm_keys.text(text.state_dict()),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model_ema.decay": torch.tensor(0.5),
    }
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, path)
    return path


@pytest.fixture(scope="session")
def model(checkpoint_file: Path) -> Model:
    from sd_runtime import device
    from sd_runtime.models import checkpoint
    from sd_runtime.models.digests import DigestCache

    return checkpoint.load(checkpoint_file, device.choose("cpu"), DigestCache())
