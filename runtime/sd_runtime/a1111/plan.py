"""A request of A1111 once everything about it is decided: data, and what follows from it alone."""

from dataclasses import dataclass

from sd_runtime.a1111.checkpoints import Checkpoint
from sd_runtime.a1111.controlnet.deciding import Decided
from sd_runtime.a1111.controlnet.reading import Given
from sd_runtime.a1111.option_values import Values
from sd_runtime.a1111.sampler_names import Choice
from sd_runtime.a1111.schemas import GenerationRequest
from sd_runtime.a1111.second_pass import SecondPass
from sd_runtime.a1111.stock import Network
from sd_runtime.a1111.words import Words
from sd_runtime.engine.work import Pixels
from sd_runtime.models.library import ModelFile
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Grey, Upscaler
from sd_runtime.tasks.txt2img import Txt2Img


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """The pictures that a request brings along, decoded."""

    images: tuple[Pixels, ...] = ()
    mask: Grey | None = None
    #: Stands for what the first pass of txt2img would make.
    first_pass: Pixels | None = None
    #: The units of ControlNet that are on, with their pictures.
    units: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Everything decided about a request before it is accepted."""

    request: GenerationRequest
    inputs: Inputs
    options: Values
    choice: Choice
    words: Words
    #: The extra networks that the words name.
    networks: tuple[Network, ...]
    #: None: there is one pass.
    second: SecondPass | None = None
    #: Of the second pass; where none are given those of the first.
    second_words: Words
    second_networks: tuple[Network, ...]
    #: The checkpoint that the request asks for; None: the one that is served.
    checkpoint: Checkpoint | None = None
    #: None: the checkpoint's own.
    vae: ModelFile | None = None
    refiner: Checkpoint | None = None
    #: How img2img makes a picture larger; None: as it does by itself.
    enlarging: Upscaler | None = None
    batch_size: int
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...]
    controls: tuple[Decided, ...] = ()
    iterations: tuple[tuple[Txt2Img | Img2Img, ...], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first pass, which is what A1111 tells."""
        return self.second.sizes.first if self.second else (self.request.width, self.request.height)

    @property
    def all_networks(self) -> tuple[Network, ...]:
        """Those of both passes, each name once."""
        return tuple({each.name: each for each in (*self.networks, *self.second_networks)}.values())

    @property
    def shows_maps(self) -> bool:
        """Whether the maps of ControlNets are added to the answer."""
        return self.request.send_images and not self.options.no_detected_maps

    @property
    def saves(self) -> bool:
        """Whether the pictures are written to the output folder."""
        return self.options.save_samples and (
            self.request.save_images or not self.request.do_not_save_samples
        )

    @property
    def wants_grid(self) -> bool:
        """Whether several pictures, if there are, are shown on one more."""
        asked = self.request.save_images and not self.request.do_not_save_grid
        return asked and (self.options.return_grid or self.options.grid_save)
