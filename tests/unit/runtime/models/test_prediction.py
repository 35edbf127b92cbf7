from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sd_modelfiles.family import Family
from sd_modelfiles.header import Header, TensorInfo
from sd_runtime.errors import CheckpointError
from sd_runtime.models import prediction
from sd_runtime.models.network import Model

NOTHING = TensorInfo("F32", (0,), 0, 0)


def header(*keys: str, **metadata: str) -> Header:
    return Header(dict.fromkeys(keys, NOTHING), {f"modelspec.{k}": v for k, v in metadata.items()}, 0, 0)


def told(tmp_path: Path, head: Header, family: Family = Family.SD15, yaml: str = "") -> object:
    if yaml:
        (tmp_path / "a.yaml").write_text(yaml)
    found = prediction.told(tmp_path / "a.safetensors", head, family)
    return found and (found.kind, found.zero_terminal)


@pytest.mark.parametrize(
    ("head", "family", "yaml", "expected"),
    [
        (header(), Family.SD15, "", ("epsilon", False)),
        (header(), Family.SDXL, "", ("epsilon", False)),
        (header(), Family.SD21, "", None),
        (header("v_pred"), Family.SDXL, "", ("v", False)),
        (header("v_pred", "ztsnr"), Family.SDXL, "", ("v", True)),
        (header(prediction_type="v"), Family.SD15, "", ("v", False)),
        (header("v_pred", prediction_type="epsilon"), Family.SDXL, "", ("epsilon", False)),
        (header(), Family.SD21, '    parameterization: "v"\n', ("v", False)),
        (header(), Family.SD21, "    parameterization: v # velocity\n", ("v", False)),
        (header(prediction_type="v"), Family.SD21, "  parameterization: eps\n", ("epsilon", False)),
        (header(), Family.SD21, "model:\n  params: {}\n", None),
        (header(), Family.SD21, "# parameterization: v\n", None),
    ],
)
def test_marks_tell_the_configuration_beside_the_file_first(
    tmp_path: Path, head: Header, family: Family, yaml: str, expected: object
) -> None:
    assert told(tmp_path, head, family, yaml) == expected


@pytest.mark.parametrize(
    ("head", "yaml", "message"),
    [
        (header(), "  parameterization: x0\n", r"a.yaml: the prediction 'x0' is not supported; allowed: eps"),
        (header(prediction_type="sample"), "", r"modelspec.prediction_type: the prediction 'sample'"),
    ],
)
def test_another_prediction_is_refused_by_name(tmp_path: Path, head: Header, yaml: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        told(tmp_path, head, yaml=yaml)


class Perfect(torch.nn.Module):
    """What the best network would answer for pictures whose latents are independent, normal and half as
    strong as the noise."""

    def __init__(self, kind: str, alphas_cumprod: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(in_channels=4)
        self._kind, self._alpha = kind, alphas_cumprod

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, **_: object) -> tuple[torch.Tensor]:
        variance = self._alpha * 0.25 + (1 - self._alpha)
        noise = x * (1 - self._alpha) ** 0.5 / variance
        picture = x * self._alpha**0.5 * 0.25 / variance
        if self._kind == "epsilon":
            return (noise + 0.05 * torch.randn_like(x),)
        velocity = self._alpha**0.5 * noise - (1 - self._alpha) ** 0.5 * picture
        return (velocity + 0.05 * torch.randn_like(x),)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_a_network_is_asked_what_it_predicts(model: Model, kind: str) -> None:
    alpha = 1 / (1 + model.discrete.sigma_max**2)
    found = prediction.measured(replace(model, unet=Perfect(kind, alpha)))
    assert found.kind == kind
    assert found.reason.startswith("measured: its answer to pure noise holds ")
