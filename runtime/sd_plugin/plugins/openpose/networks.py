"""MediaPipe's networks as LiteRT runs them: files in a folder, looked for when they are asked for.

The files come from the Python package mediapipe (`hack/pose-models`), licence Apache-2.0. Knows nothing of
what the networks' numbers mean.
"""

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from sd_plugin.errors import ModuleUnavailable
from sd_plugin.module import Pixels
from sd_plugin.settings import POSE_MODELS

#: What a network answers with, without the batch's dimension.
Outputs = tuple[npt.NDArray[np.float32], ...]


class Model(StrEnum):
    """A network, by its file's name."""

    BODY_DETECTION = "pose_detection.tflite"
    BODY_LANDMARKS = "pose_landmark_full.tflite"
    PALM_DETECTION = "palm_detection_full.tflite"
    HAND_LANDMARKS = "hand_landmark_full.tflite"
    FACE_DETECTION = "face_detection_short_range.tflite"
    FACE_LANDMARKS = "face_landmark.tflite"


class Network:
    """One network, loaded. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        try:
            # One thread: the networks are small, and a container's processors are not the machine's.
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModuleUnavailable(f"{path} is not a network that LiteRT can run: {error}.") from error
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]

    @property
    def side(self) -> int:
        """Of the square picture it takes, in pixels."""
        return int(self._input["shape"][1])

    def __call__(self, picture: Pixels, *, lowest: float) -> Outputs:
        """Runs it on a picture (side, side, 3), whose values it is shown as `lowest`..1 (0 or -1)."""
        values = picture.astype(np.float32) * ((1 - lowest) / 255) + lowest
        self._interpreter.set_tensor(self._input["index"], values[None])
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(index)[0] for index in self._outputs)


class Networks:
    """The networks of a folder, each loaded when it is first asked for."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._loaded: dict[Model, Network] = {}

    def missing(self, models: tuple[Model, ...]) -> str:
        """One sentence about those of the models that are not there; "" where all are."""
        if self._folder is None:
            return f"The folder with the pose models is not told: {POSE_MODELS} is not set."
        absent = [each.value for each in models if not (self._folder / each).is_file()]
        if not absent:
            return ""
        return f"Pose models are missing in {self._folder}: {', '.join(absent)}."

    def __getitem__(self, model: Model) -> Network:
        """Raises `ModuleUnavailable` where the file is not there or is no network."""
        if reason := self.missing((model,)):
            raise ModuleUnavailable(reason)
        assert self._folder is not None
        if model not in self._loaded:
            self._loaded[model] = Network(self._folder / model)
        return self._loaded[model]
