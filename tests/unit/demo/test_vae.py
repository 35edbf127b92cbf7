"""The autoencoder hands tones through before any training."""

from __future__ import annotations

import torch
from torch.nn import functional

from demo.draw import scenes
from demo.train import networks, pictures, vae, vae_start


def test_an_untrained_autoencoder_already_keeps_colours() -> None:
    torch.manual_seed(0)
    coder = networks.build_vae().eval()
    vae_start.start(coder)
    pixels, _ = pictures.draw_many(scenes.draw_training, 4, seed=0)
    with torch.no_grad():
        latents = coder.encode(pictures.to_network(pixels)).latent_dist.mean
    reduced = functional.avg_pool2d(pictures.to_network(pixels), 8)
    assert float((latents[:, :3] / vae_start.TONE_SCALE - reduced).abs().mean()) < 0.15
    assert vae.psnr(coder, pixels) > 17


def test_crops_are_squares_of_their_own_picture() -> None:
    torch.manual_seed(0)
    batch = torch.arange(2.0)[:, None, None, None].expand(2, 3, 64, 64)
    cut = vae.crops(batch, 32)
    assert cut.shape == (2, 3, 32, 32)
    assert torch.equal(cut[:, 0, 0, 0], torch.arange(2.0))


def test_coverage_is_where_the_shape_is() -> None:
    pixels = torch.full((1, 3, 64, 64), 250, dtype=torch.uint8)
    pixels[:, 1:, 10:20, 30:40] = 30
    covered = vae.coverage(pictures.to_network(pixels))
    assert int(covered.sum()) == 100 and bool(covered[0, 0, 15, 35])
