"""Starts the autoencoder as a plain reducer and enlarger of pictures, which training then sharpens.

From random weights, a network this small spends most of a short training finding out about colours, because
every group norm takes the brightness of its few channels out. Here three channels carry red, green and blue
past all blocks (which start as identities) into three latents and back, and the two norms that everything
must pass are given constant companions, against which tones keep their size.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn.functional import silu

GROUP = 3  # channels per norm group where the pictures and the latents leave the network
TONES = (0, GROUP, 2 * GROUP)  # the channels of red, green and blue, each first in its group
COMPANION = 3.0
NORM_BIAS = 3.0  # where SiLU is nearly straight
TONE_SCALE = 2.0  # latents with a deviation near 1


@torch.no_grad()
def start(vae: AutoencoderKL) -> None:
    """Sets the weights that the plain path needs; all others keep their random start."""
    for module in vae.modules():
        if hasattr(module, "conv_shortcut") and hasattr(module, "conv2"):
            _silence(module.conv2)
            if module.conv_shortcut is not None:
                _pass_on(module.conv_shortcut, [(0, 0)], 1)
        if hasattr(module, "to_out"):
            _silence(module.to_out[0])
    encoder, decoder = vae.encoder, vae.decoder
    _pass_on(encoder.conv_in, [(1, 1)], 1, sources=(0, 1, 2))
    for block in encoder.down_blocks[:-1]:
        _pass_on(block.downsamplers[0].conv, [(0, 0), (0, 1), (1, 0), (1, 1)], 1 / 4)
    _read_out(encoder.mid_block.resnets[-1].conv2, encoder.conv_norm_out, encoder.conv_out, TONE_SCALE)
    _start_quiet(vae.quant_conv)
    vae.post_quant_conv.weight.copy_(torch.eye(len(vae.post_quant_conv.weight))[:, :, None, None])
    vae.post_quant_conv.bias.zero_()
    _pass_on(decoder.conv_in, [(1, 1)], 1 / TONE_SCALE, sources=(0, 1, 2))
    for block in decoder.up_blocks[:-1]:
        _pass_on(block.upsamplers[0].conv, [(1, 1)], 1)
    _read_out(decoder.up_blocks[-1].resnets[-1].conv2, decoder.conv_norm_out, decoder.conv_out, 1)


def _silence(layer: nn.Conv2d | nn.Linear) -> None:
    layer.weight.zero_()
    _bias(layer).zero_()


def _pass_on(
    conv: nn.Conv2d, taps: list[tuple[int, int]], weight: float, *, sources: tuple[int, ...] = TONES
) -> None:
    """Lets a convolution hand the tones on, and nothing else in their channels."""
    for target, source in zip(TONES, sources, strict=True):
        conv.weight[target] = 0
        _bias(conv)[target] = 0
        for y, x in taps:
            conv.weight[target, source, y, x] = weight


def _read_out(last: nn.Conv2d, norm: nn.GroupNorm, out: nn.Conv2d, gain: float) -> None:
    """Puts constant companions beside the first channel of each group, and reads the tones against them."""
    _bias(last)[1::GROUP] = COMPANION
    _bias(last)[2::GROUP] = -COMPANION
    norm.bias.fill_(NORM_BIAS)
    spread = COMPANION * (2 / GROUP) ** 0.5
    at = torch.tensor([0.0, COMPANION, -COMPANION]) / spread + NORM_BIAS
    step = 0.01
    slope = (silu(at[0] + step) - silu(at[0] - step)) / (2 * step)
    weights = torch.tensor([1.0, -0.5, -0.5]) * gain * spread / slope
    out.weight[:3] = 0
    for row, channel in enumerate(TONES):
        out.weight[row, channel : channel + GROUP, 1, 1] = weights
        _bias(out)[row] = -(weights * silu(at)).sum()


def _start_quiet(quant_conv: nn.Conv2d) -> None:
    """Hands the latents on, with a small variance: the usual start at 1 drowns most latents for long."""
    half = len(quant_conv.weight) // 2
    quant_conv.weight.zero_()
    quant_conv.weight[:half, :half, 0, 0] = torch.eye(half)
    _bias(quant_conv)[:half] = 0
    _bias(quant_conv)[half:] = -6


def _bias(layer: nn.Conv2d | nn.Linear) -> torch.Tensor:
    if layer.bias is None:
        raise ValueError(f"{layer} has no bias; the plain path needs one")
    return layer.bias
