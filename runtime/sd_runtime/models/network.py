"""A resident model: its networks, tokenizer and noise schedule, as the engine uses them.

The only module that calls the networks' forward methods; it knows nothing of prompts' grammar, samplers or
batches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sd_runtime.device import Device
from sd_runtime.errors import GenerationError, UnsupportedError
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.discrete import DiscreteSchedule
from sd_runtime.models.text import TextEncoder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything one checkpoint file became. The networks are diffusers' and transformers', which have no
    types.
    """

    loaded: LoadedCheckpoint
    device: Device
    unet: Any
    vae: Any
    text: TextEncoder
    tokenizer: Any
    discrete: DiscreteSchedule
    latent_channels: int
    latent_stride: int
    latent_scale: float

    def latent_shape(self, *, width: int, height: int) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latents."""
        for field, size in (("width", width), ("height", height)):
            if size % self.latent_stride:
                raise UnsupportedError(field, size, f"multiples of {self.latent_stride} with this model")
        return self.latent_channels, height // self.latent_stride, width // self.latent_stride

    def predict_noise(
        self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, pooled: torch.Tensor | None
    ) -> torch.Tensor:  # (B, C, H, W), (B,), (B, L, D), (B, P) -> (B, C, H, W)
        """One UNet call, returning float32."""
        dtype = self.device.dtype
        output = self.unet(
            x.to(dtype),
            timesteps,
            encoder_hidden_states=context.to(dtype),
            added_cond_kwargs=None if pooled is None else self._size_conditioning(x, pooled.to(dtype)),
            return_dict=False,
        )
        noise: torch.Tensor = output[0].float()
        return noise

    def _size_conditioning(self, x: torch.Tensor, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """SDXL also sees the picture's size: as it was, where it was cropped, and what it is to be."""
        height, width = x.shape[2] * self.latent_stride, x.shape[3] * self.latent_stride
        times = torch.tensor([[height, width, 0, 0, height, width]], device=x.device, dtype=pooled.dtype)
        return {"text_embeds": pooled, "time_ids": times.expand(len(x), -1)}

    def decode(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:  # (1, C, H, W) -> (8H, 8W, 3)
        """The picture of finished latents; latents or pixels that are not numbers are an error, never a
        black square.
        """
        _demand_numbers(latents, "the latents")
        pixels = self.vae.decode(
            latents.to(self.device.decoder_dtype) / self.latent_scale, return_dict=False
        )[0]
        _demand_numbers(pixels, "the decoded picture")
        shades = (pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255
        picture: npt.NDArray[np.uint8] = shades.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return picture


def _demand_numbers(values: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise GenerationError(
            f"{what} contain values that are not finite numbers; the model overflows its number format"
            " or the request drives it out of range (try a lower cfg_scale)"
        )
