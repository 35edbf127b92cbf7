"""The demo's adapters, applied by the runtime to single rows of a batch, do what their cards say; and in one
batch each picture has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from demo.judge import reading
from demo.measure import bench, loras, pipelines
from demo.measure.pipelines import MODELS
from demo.train import hypernetwork
from sd_runtime import device
from sd_runtime.adapters.patching import Adapters
from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model

# Others' libraries warn of their own futures; what they make is what is tested.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

LIGHT = bench.light_prompts(24)


def _use(name: str, strength: float = 1.0) -> AdapterUse:
    (path,) = (MODELS / name).glob(f"{name}.*")
    kind = AdapterKind.HYPERNETWORK if path.suffix == ".pt" else AdapterKind.LORA
    return AdapterUse(kind=kind, path=path, unet=strength, text=strength)


@dataclass(frozen=True, eq=False)
class _Stand:
    """The attributes of a model that adapters look at."""

    unet: Any
    text: Any
    loaded: Any
    device: Any


GILDED, MIDNIGHT, BLACKOUT = map(_use, ("demo-gilded", "demo-midnight", "demo-blackout"))


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return pipelines.checkpoint()


@pytest.fixture(scope="module")
def model(pipeline: Any) -> Model:
    """The pipeline's networks, as adapters see a model."""
    stand = _Stand(
        unet=pipeline.unet,
        text=SimpleNamespace(network=pipeline.text_encoder),
        loaded=SimpleNamespace(family="SD15"),
        device=SimpleNamespace(handle=torch.device("cpu"), dtype=torch.float32),
    )
    return cast(Model, stand)


def _generate(pipeline: Any, model: Model, rows: list[tuple[AdapterUse, ...]]) -> torch.Tensor:
    """LIGHT's pictures, each with its own adapters; in the text encoder those of the first."""
    adapters = Adapters(budget_bytes=10**9)
    # The pipeline puts the negative prompts' rows first.
    pinned = [adapters.pin(model, row) for row in rows]
    with adapters.on_unet(model, [*pinned, *pinned]), adapters.on_text(model, pinned[0]):
        return pipelines.generate(pipeline, LIGHT[: len(rows)])


def _unet_answer(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context = (torch.randn(sizes, generator=generator) for sizes in ((2, 4, 8, 8), (2, 77, 128)))
    with torch.inference_mode():
        answer: torch.Tensor = unet(x, torch.tensor([300, 800]), context, return_dict=False)[0]
    return answer


def _text_answer(encoder: Any) -> torch.Tensor:
    with torch.inference_mode():
        states: torch.Tensor = encoder(torch.tensor([[49406, 320, 1125, 539, 49407]])).last_hidden_state
    return states


@pytest.mark.parametrize("use", [GILDED, MIDNIGHT], ids=lambda use: use.path.stem)
def test_a_lora_gives_the_same_as_diffusers_and_peft(use: AdapterUse, pipeline: Any, model: Model) -> None:
    adapters = Adapters(budget_bytes=10**9)
    pinned = adapters.pin(model, (use,))
    with adapters.on_unet(model, [pinned, pinned]):
        ours = _unet_answer(pipeline.unet)
    with adapters.on_text(model, pinned):
        our_text = _text_answer(pipeline.text_encoder)
    others = loras.with_lora(MODELS, use.path.stem, load_file(use.path))
    assert float((ours - _unet_answer(others.unet)).abs().max()) < 1e-5
    assert float((our_text - _text_answer(others.text_encoder)).abs().max()) < 1e-5
    assert float((ours - _unet_answer(pipeline.unet)).abs().max()) > 0.01


def test_a_hypernetwork_gives_the_same_as_the_networks_it_was_trained_as(pipeline: Any, model: Model) -> None:
    stored = torch.load(BLACKOUT.path, weights_only=True)
    network = hypernetwork.Hypernetwork()
    for part, weights in zip((network.keys, network.values), stored[network.width], strict=True):
        part.load_state_dict(weights)
    with network.applied(pipeline.unet, 0.5):
        theirs = _unet_answer(pipeline.unet)
    adapters = Adapters(budget_bytes=10**9)
    half = adapters.pin(model, (_use("demo-blackout", 0.5),))
    with adapters.on_unet(model, [half, half]):
        ours = _unet_answer(pipeline.unet)
    assert float((ours - theirs).abs().max()) < 1e-5


@pytest.fixture(scope="module")
def plain(pipeline: Any, model: Model) -> torch.Tensor:
    return _generate(pipeline, model, [()] * len(LIGHT))


def _golden(pixels: torch.Tensor) -> float:
    return loras.golden(reading.shipped(), pixels)


def _black(pixels: torch.Tensor) -> float:
    seen = reading.shipped().attributes(pixels)
    return sum(scene.background == "black" for scene in seen) / len(seen)


EFFECTS: list[tuple[AdapterUse, Callable[[torch.Tensor], float], float]] = [
    (GILDED, _golden, 0.9),
    (MIDNIGHT, loras.at_midnight, 0.7),
    (BLACKOUT, _black, 0.7),
]


@pytest.mark.parametrize(("use", "effect", "least"), EFFECTS, ids=lambda value: getattr(value, "path", None))
def test_an_adapter_changes_pictures_as_its_card_says(
    use: AdapterUse,
    effect: Callable[[torch.Tensor], float],
    least: float,
    pipeline: Any,
    model: Model,
    plain: torch.Tensor,
) -> None:
    with_it = _generate(pipeline, model, [(use,)] * len(LIGHT))
    assert effect(with_it) >= least
    assert effect(plain) <= 0.1
    shapes = reading.shares(reading.shipped().agreement(with_it, LIGHT))["shape"]
    assert shapes >= 0.7  # the prompt is still followed


def test_in_one_batch_every_picture_has_its_own_adapters(pipeline: Any, model: Model) -> None:
    kinds = [(), (GILDED,), (BLACKOUT,), (GILDED, BLACKOUT)]
    pixels = _generate(pipeline, model, kinds * 4)
    golden = [_golden(pixels[start::4]) for start in range(4)]
    black = [_black(pixels[start::4]) for start in range(4)]
    assert [share >= 0.7 for share in golden] == [False, True, False, True]
    assert [share >= 0.5 for share in black] == [False, False, True, True]
    alone = _generate(pipeline, model, kinds[:1] + kinds[1:2])
    assert int((alone[1].int() - pixels[1].int()).abs().max()) <= 2


def test_the_runtimes_own_networks_take_all_of_them() -> None:
    own = checkpoint.load(MODELS / "demo-sd15/demo-sd15.safetensors", device.choose("cpu"), DigestCache())
    adapters = Adapters(budget_bytes=10**9)
    before = _unet_answer(own.unet)
    with adapters.on_unet(own, [adapters.pin(own, (GILDED,)), adapters.pin(own, (MIDNIGHT, BLACKOUT))]):
        changes = (_unet_answer(own.unet) - before).abs().amax(dim=(1, 2, 3))
    assert float(changes.min()) > 0.01
