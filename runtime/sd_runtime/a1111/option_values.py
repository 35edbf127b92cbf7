"""The values of the options that can be changed: plain data. What clients call them, and which values each
takes, is in `option_table`."""

from dataclasses import dataclass

from sd_runtime.prompt.settings import Emphasis
from sd_runtime.sampling.settings import NoiseSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """One value for each option, with A1111's defaults but for `randn_source`."""

    #: The name of another checkpoint than the served one, for one request; None: the served one.
    checkpoint: str | None = None
    #: A VAE's name; "Automatic": the one named after the checkpoint, else the checkpoint's own; "None": the
    #: checkpoint's own.
    vae: str = "Automatic"
    #: Applied to every picture beside those its prompt names, at full strength; "None": none.
    lora: str = "None"
    hypernetwork: str = "None"

    #: 1 is the last layer of the text encoder.
    clip_skip: int = 1
    emphasis: Emphasis = Emphasis.ORIGINAL
    #: Tokens before the end of a chunk within which a comma ends it.
    comma_back_off: int = 20
    prompt_comments: bool = True
    #: What SDXL's refiner is told with a prompt, and with a negative one.
    score: float = 6.0
    negative_score: float = 2.5

    randn_source: NoiseSource = NoiseSource.CPU
    seed_delta: int = 0
    eta_ancestral: float = 1.0
    eta_ddim: float = 0.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    #: 0: no upper limit.
    s_tmax: float = 0.0
    s_noise: float = 1.0
    s_min_uncond: float = 0.0
    sgm_noise_multiplier: bool = False
    discard_penultimate: bool = False
    #: Of the schedule; 0: the model's or the schedule's own.
    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    unipc_variant: str = "bh1"
    unipc_order: int = 3
    unipc_lower_order_final: bool = True
    beta_alpha: float = 0.6
    beta_beta: float = 0.6

    #: How a picture that img2img is given is made larger; "None": Lanczos.
    upscaler_for_img2img: str = "None"
    img2img_fix_steps: bool = False
    img2img_color_correction: bool = False
    #: What shows through where a picture is transparent: #rrggbb.
    img2img_background_color: str = "#ffffff"
    initial_noise_multiplier: float = 1.0
    #: Side of a tile of an upscaler's network and its overlap, in pixels; 0: the whole picture at once.
    esrgan_tile: int = 192
    esrgan_tile_overlap: int = 8

    #: ControlNets that a request may have on at once.
    controlnet_units: int = 3
    #: Whether the maps of ControlNets are left out of answers.
    no_detected_maps: bool = False

    save_samples: bool = True
    #: png, jpg or webp: of saved pictures and of those in answers.
    samples_format: str = "png"
    jpeg_quality: int = 80
    webp_lossless: bool = False
    #: Whether pictures carry their infotext.
    enable_pnginfo: bool = True
    return_grid: bool = True
    grid_save: bool = True
    previews: bool = True
