"""controlnet-openpose: bodies, hands and faces as OpenPose draws them, found by MediaPipe's networks.

Needs the networks' files (`hack/pose-models`) in the folder that SD_POSE_MODELS names; without one, the
modules that want it are unavailable. Needs neither mediapipe nor torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sd_plugin import __version__, processors, resolution, settings
from sd_plugin.contract import RESOLUTION, ModuleDescription
from sd_plugin.module import Grey, Pixels, Plugin, Result
from sd_plugin.plugins.openpose import drawing, people
from sd_plugin.plugins.openpose.networks import Model, Networks

_BODY = (Model.BODY_DETECTION, Model.BODY_LANDMARKS)
_HANDS = (Model.PALM_DETECTION, Model.HAND_LANDMARKS)
_FACES = (Model.FACE_DETECTION, Model.FACE_LANDMARKS)


@dataclass(frozen=True, slots=True)
class PoseModule:
    """One of sd-webui-controlnet's OpenPose modules: which parts of people its map shows."""

    name: str
    networks: Networks
    hands: bool = False
    faces: bool = False
    bodies: bool = True

    @property
    def description(self) -> ModuleDescription:
        """Not available while a file is missing; the reason names it."""
        reason = self.networks.missing(self._models())
        return ModuleDescription(
            name=self.name,
            label=self.name,
            control_types=("OpenPose",),
            matches=("openpose",),
            available=not reason,
            reason=reason,
            parameters=(resolution.parameter(),),
        )

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """The map, and `poses`: a list with OpenPose's JSON of the picture, in pixels of the map. People are
        looked for in the picture as it was given, whose hands and faces may be larger than the map's."""
        height, width = image.shape[:2]
        size = resolution.size_at((height, width), int(parameters[RESOLUTION]))
        by = np.array([size[1] / width, size[0] / height])
        found = people.find(self.networks, image, hands=self.hands, faces=self.faces)
        shown = [person.scaled(by) for person in found]
        drawn = drawing.draw(shown, *size, bodies=self.bodies)
        return Result(drawn, {"poses": [people.as_json(shown, *size)]})

    def _models(self) -> tuple[Model, ...]:
        return _BODY + _HANDS * self.hands + _FACES * self.faces


def plugin(folder: Path | None = None) -> Plugin:
    """The plugin, with the networks of the folder; where none is given, of the one the environment names."""
    cv2.setNumThreads(processors.threads())
    networks = Networks(folder or settings.pose_models())
    return Plugin(
        name="controlnet-openpose",
        version=__version__,
        kind="Preprocessor",
        modules=(
            PoseModule("openpose", networks),
            PoseModule("openpose_hand", networks, hands=True),
            PoseModule("openpose_face", networks, faces=True),
            PoseModule("openpose_faceonly", networks, faces=True, bodies=False),
            PoseModule("openpose_full", networks, hands=True, faces=True),
        ),
    )
