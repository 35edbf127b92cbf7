"""What a network predicts, the noise or the velocity, and how that is known of a file.

No tensor's name or shape shows it, so people leave marks; where there is none, a network of a family that has
both kinds is asked (Stable Diffusion 2: 2-base and 2.1-base predict noise, 2 and 2.1 velocity, and their
files differ in nothing but the numbers).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sd_modelfiles.family import Family
from sd_modelfiles.header import Header
from sd_runtime.errors import CheckpointError

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

Kind = Literal["epsilon", "v"]

_WORDS: dict[str, Kind] = {
    "eps": "epsilon",
    "epsilon": "epsilon",
    "v": "v",
    "v_prediction": "v",
    "v-prediction": "v",
}
_PARAMETERIZATION = re.compile(r"""^\s*parameterization\s*:\s*["']?([\w-]+)["']?\s*(?:#.*)?$""", re.MULTILINE)
_MOST_CONFIG_BYTES = 1024 * 1024
_V_KEY, _ZERO_TERMINAL_KEY = "v_pred", "ztsnr"
_METADATA_KEY = "modelspec.prediction_type"

#: Of its input, in the answer of a network that predicts noise, at the greatest noise. The best ones of
#: either kind give about 1 and sqrt(alpha_bar) = 0.07.
_LEAST_SHARE = 0.5
_PROBE_SIDE = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """ "epsilon" or "v", and how that is known; `zero_terminal`: the network was trained up to pure noise."""

    kind: Kind
    reason: str
    zero_terminal: bool = False


def told(path: Path, head: Header, family: Family) -> Prediction | None:
    """What the file of a checkpoint, or the configuration beside it, says; None where the network must be
    asked. Raises `CheckpointError` for a prediction that is none of the two."""
    zero_terminal = _ZERO_TERMINAL_KEY in head.tensors
    config = path.with_suffix(".yaml")
    words = _parameterization(config)
    if words is not None:
        return Prediction(kind_of(words, config.name), f"parameterization in {config.name}", zero_terminal)
    words = head.metadata.get(_METADATA_KEY)
    if words:
        return Prediction(kind_of(words, _METADATA_KEY), f"the file's {_METADATA_KEY}", zero_terminal)
    if _V_KEY in head.tensors:
        return Prediction("v", f"the file's key {_V_KEY}", zero_terminal)
    if family is Family.SD21:
        return None
    return Prediction("epsilon", f"what {family.value} predicts without a mark")


def kind_of(words: str, place: str) -> Kind:
    """The kind that these words mean; raises `CheckpointError` naming where they stand."""
    kind = _WORDS.get(words.strip().lower())
    if kind is None:
        raise CheckpointError(f"{place}: the prediction {words!r} is not supported; allowed: epsilon, v")
    return kind


def measured(model: "Model") -> Prediction:
    """Ask the network itself: at the greatest noise its input is nearly all noise, so one that predicts the
    noise gives its input back, and one that predicts the velocity, there the picture's negative (Salimans and
    Ho 2022, arXiv:2202.00512, appendix D), gives something else."""
    import torch

    begin, end = model.tokenizer.bos_token_id, model.tokenizer.eos_token_id
    context = torch.cat(model.text.encode([[begin, *[end] * 76]], 1).states, dim=-1)
    shape = 1, model.latent_channels + model.extra_channels, _PROBE_SIDE, _PROBE_SIDE
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device.handle)
    x, concat = noise[:, : model.latent_channels], noise[:, model.latent_channels :]
    last = torch.tensor([len(model.discrete.sigmas) - 1.0], device=x.device)
    with torch.inference_mode():
        output = model.predict(x, last, context, None, concat=concat if model.extra_channels else None)
    share = float((output * x).sum() / x.square().sum())
    kind: Kind = "epsilon" if share > _LEAST_SHARE else "v"
    return Prediction(kind, f"measured: its answer to pure noise holds {share:.0%} of that noise")


def _parameterization(config: Path) -> str | None:
    """As LDM's configurations have it; None where there is no such file, or it says nothing."""
    try:
        with config.open("rb") as file:
            text = file.read(_MOST_CONFIG_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    found = _PARAMETERIZATION.search(text)
    return found[1] if found else None
