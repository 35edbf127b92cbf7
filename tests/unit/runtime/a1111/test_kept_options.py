"""Whatever POST /sdapi/v1/options keeps can be used: a value that only later requests are refused for would
fail them all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import extras_plan
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.a1111.known_models import KnownModels
from sd_runtime.a1111.option_table import CHANGEABLE
from sd_runtime.a1111.options import Options, Served
from sd_runtime.a1111.schemas.extras import ExtrasSingleRequest
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.discrete import scaled_linear
from sd_runtime.sampling import schedules
from sd_runtime.settings import Settings

#: What Stable Diffusion was trained on, with and without noise of infinite strength.
TRAINED = [scaled_linear(start=0.00085, end=0.012, zero_terminal=zero) for zero in (False, True)]
NAMES = ["None", "Automatic", "Lanczos", "Nearest", "ink", "soft", "soft.safetensors", "fine", "gone", ""]
WORDS = ["No norm", "Original", "Ignore", "CPU", "GPU", "bh2", "png", "jpg", "webp", "#00FF7f", "red"]

numbers = (
    st.sampled_from([0, 1, 2, 12, 14, 15, 31, 32, 33, 48, 74, 512, 1000, 2**53, -1, 1e-300, 1e-3, 0.01, 0.5])
    | st.integers(-2, 1100)
    | st.floats(0, 1000)
    | st.floats()
)
values = st.booleans() | numbers | st.sampled_from([*NAMES, *WORDS])
changes = st.dictionaries(st.sampled_from(sorted(CHANGEABLE)), values, min_size=1, max_size=4)
sigmas = st.fixed_dictionaries(dict.fromkeys(("sigma_min", "sigma_max", "rho"), numbers))


class Server:
    """Keeps options, and plans requests with them."""

    def __init__(self, desk: Any) -> None:
        for kind, name in (
            (ModelType.VAE, "soft.safetensors"),
            (ModelType.LORA, "ink.safetensors"),
            (ModelType.HYPERNETWORK, "ink.pt"),
            (ModelType.UPSCALER, "fine.safetensors"),
        ):
            desk.put(kind, name)
        self._desk = desk

    def keep(self, changed: dict[str, Any]) -> None:
        """From now on these are changed, and no others."""
        desk, options = self._desk, Options(output_root=Path("/outputs"))
        models = KnownModels(desk.library, Shelf(desk.library), desk.served, desk.plugins)
        current = options.as_dict(checkpoint_title="shapes", checkpoint_sha256=None)
        served = Served(current=current, models=models, text_layers=12)
        options.change(changed, served)
        desk.options = options.overridden({}, served)

    def plan(self) -> None:
        desk = self._desk
        small = {"width": 64, "height": 64, "steps": 5}
        planned = [
            desk.txt2img(**small, enable_hr=True, hr_upscaler="fine", batch_size=2, save_images=True),
            desk.img2img(**small, mask=True),
        ]
        picture = np.zeros((64, 64, 3), np.uint8)
        extras_plan.plan(
            ExtrasSingleRequest(upscaler_1="fine"),
            [(picture, "")],
            library=desk.library,
            plugins=desk.plugins,
            options=desk.options,
            settings=Settings(checkpoint=Path("/x")),
        )
        for plan in planned:
            numbers = plan.iterations[0][0].guided.sampling
            for name in (*schedules.SCHEDULES, *schedules.OWN):
                for trained in TRAINED:
                    levels = schedules.build(name, 5, trained, numbers)
                    assert np.isfinite(levels).all(), name


@pytest.fixture
def server(desk: Any) -> Server:
    return Server(desk)


@given(changes | sigmas)
@example({"ESRGAN_tile": 1})
@example({"ESRGAN_tile": 31})
@example({"sigma_min": 5, "sigma_max": 3})
@example({"sigma_min": 15})
@example({"sigma_max": 0.001})
@example({"rho": 0.001})
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_can_be_planned_with(server: Server, changed: dict[str, Any]) -> None:
    try:
        server.keep(changed)
    except UnsupportedError as refused:
        assert refused.field in changed
        return
    server.plan()
