"""The names taken from diffusers and transformers, which ship no usable types: the one place where they
become `Any`.
"""

from typing import Any

import diffusers
import transformers
from diffusers.loaders import single_file_utils

ControlNet: Any = diffusers.ControlNetModel
UNet: Any = diffusers.UNet2DConditionModel
AutoencoderKL: Any = diffusers.AutoencoderKL
ClipConfig: Any = transformers.CLIPTextConfig
ClipText: Any = transformers.CLIPTextModel
ClipTextWithProjection: Any = transformers.CLIPTextModelWithProjection
ClipTokenizer: Any = transformers.CLIPTokenizer

convert_controlnet: Any = single_file_utils.convert_controlnet_checkpoint
convert_unet: Any = single_file_utils.convert_ldm_unet_checkpoint
convert_vae: Any = single_file_utils.convert_ldm_vae_checkpoint
convert_open_clip: Any = single_file_utils.convert_open_clip_checkpoint
