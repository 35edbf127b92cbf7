"""A detector of controlnet_aux as a module of the plugin."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sd_plugin import contract, resolution
from sd_plugin.contract import RESOLUTION, ModuleDescription
from sd_plugin.module import Grey, Pixels, Result
from sd_plugin.plugins.aux_detectors import library
from sd_plugin.plugins.aux_detectors.catalogue import Entry
from sd_plugin.plugins.aux_detectors.residents import Residents


@dataclass(frozen=True, slots=True)
class DetectorModule:
    """Available while the files of all its networks are there and none is known to be wrong."""

    entry: Entry
    residents: Residents

    @property
    def description(self) -> ModuleDescription:
        """See `Module.description`."""
        faults = [fault for name in self.entry.networks if (fault := self.residents.fault(name))]
        return ModuleDescription(
            name=self.entry.name,
            label=self.entry.name,
            aliases=self.entry.aliases,
            control_types=self.entry.control_types,
            matches=self.entry.matches,
            available=not faults,
            reason=contract.line("; ".join(faults)),
            parameters=self.entry.parameters,
        )

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """See `Module.run`. The map is the detector's, white on black but for depths and normals."""
        networks = [self.residents.network(name) for name in self.entry.networks]
        fitted = resolution.padded(
            resolution.at_resolution(image, parameters[RESOLUTION], self.entry.most_pixels)
        )
        # Multiples of 64, so the detector's own fitting leaves the picture as it is.
        side = min(fitted.image.shape[:2])
        detector = self.entry.detector(*networks)
        with library.quiet(), torch.inference_mode():
            found: Pixels = detector(
                fitted.image,
                detect_resolution=side,
                image_resolution=side,
                output_type="np",
                **self.entry.options(parameters),
            )
        return Result(np.ascontiguousarray(fitted.cut(found)))
