"""A resident model: its networks, tokenizer and noise schedule, as the engine uses them.

The only module that calls the denoising network; it knows nothing of prompts' grammar, samplers or batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch

from sd_modelfiles.family import Family
from sd_runtime.device import Device
from sd_runtime.errors import UnsupportedError
from sd_runtime.models import LoadedCheckpoint, controlling
from sd_runtime.models.controlling import Rows, Say
from sd_runtime.models.discrete import DiscreteSchedule
from sd_runtime.models.text import TextEncoder
from sd_runtime.models.vae import Pixels, Vae
from sd_runtime.models.wrapping import Wrapping


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything one checkpoint file became. The networks are diffusers' and transformers', which have no
    types.
    """

    loaded: LoadedCheckpoint
    device: Device
    unet: Any
    autoencoder: Vae
    text: TextEncoder
    tokenizer: Any
    discrete: DiscreteSchedule
    _wrapping: Wrapping = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_wrapping", Wrapping(self.unet))

    @property
    def vae(self) -> Any:
        """The autoencoder's network."""
        return self.autoencoder.network

    @property
    def prediction(self) -> Literal["epsilon", "v"]:
        """What the network's output is: the noise, or the velocity."""
        return cast(Literal["epsilon", "v"], self.loaded.prediction)

    @property
    def latent_channels(self) -> int:
        """Of a picture's latents."""
        return self.autoencoder.channels

    @property
    def extra_channels(self) -> int:
        """What the network takes beside latents: 0, or 1 + latent_channels of a checkpoint for inpainting."""
        return int(self.unet.config.in_channels) - self.latent_channels

    @property
    def latent_stride(self) -> int:
        """Pixels on a side of a latent."""
        return self.autoencoder.stride

    @property
    def latent_scale(self) -> float:
        """From the autoencoder's latents to those that the network was trained on."""
        return self.autoencoder.scale

    @property
    def is_told_a_score(self) -> bool:
        """Whether the network takes an aesthetic score with each text, as SDXL's refiner does."""
        return self.loaded.family == Family.SDXL_REFINER

    def latent_shape(self, *, width: int, height: int) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latents."""
        for name, size in (("width", width), ("height", height)):
            if size % self.latent_stride:
                raise UnsupportedError(name, size, f"multiples of {self.latent_stride} with this model")
        return self.latent_channels, height // self.latent_stride, width // self.latent_stride

    def predict(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        pooled: torch.Tensor | None,
        *,
        scores: Sequence[float] | None = None,
        concat: torch.Tensor | None = None,
        tiling: bool = False,
        says: Sequence[Say] = (),
    ) -> torch.Tensor:  # (B, C, H, W), (B,), (B, L, D), (B, P), (B, K, H, W) -> (B, C, H, W)
        """The network's answer as it is (`prediction` says what it means), float32. `scores`, one for each
        row, are given exactly where the network `is_told_a_score`, `concat` where there are `extra_channels`;
        `tiling`: the picture's edges meet; `says`: what ControlNets have to say in some rows."""
        dtype = self.device.dtype
        sample = (x if concat is None else torch.cat([x, concat.to(x)], dim=1)).to(dtype)
        context = context.to(dtype)
        told = None if pooled is None else self._told(x, pooled.to(dtype), scores)
        down, middle = None, None
        if says:
            # They see the latents alone, also where the network is shown more (inpainting).
            rows = Rows(x.to(dtype), timesteps, context, told)
            down, middle = controlling.residuals(says, rows, tiling=tiling)
        with self._wrapping.on(tiling):
            output = self.unet(
                sample,
                timesteps,
                encoder_hidden_states=context,
                added_cond_kwargs=told,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )
        answer: torch.Tensor = output[0].float()
        return answer

    def _told(
        self, x: torch.Tensor, pooled: torch.Tensor, scores: Sequence[float] | None
    ) -> dict[str, torch.Tensor]:
        """SDXL also sees the picture's size: as it was, where it was cropped, and what it is to be. Its
        refiner sees in place of the last how well the picture is to be liked."""
        height, width = x.shape[2] * self.latent_stride, x.shape[3] * self.latent_stride
        last = [[height, width]] if scores is None else [[score] for score in scores]
        times = torch.tensor(
            [[height, width, 0, 0, *each] for each in last], device=x.device, dtype=pooled.dtype
        )
        return {"text_embeds": pooled, "time_ids": times.expand(len(x), -1)}

    def decode(self, latents: torch.Tensor, *, vae: Vae | None = None, tiling: bool = False) -> Pixels:
        """The picture of finished latents, as `Vae.decode`; by another autoencoder if one is given."""
        return (vae or self.autoencoder).decode(latents, tiling=tiling)

    def encode_image(self, pixels: Pixels, *, vae: Vae | None = None, tiling: bool = False) -> torch.Tensor:
        """The latents of a picture, as `Vae.encode`; by another autoencoder if one is given."""
        return (vae or self.autoencoder).encode(pixels, tiling=tiling)
