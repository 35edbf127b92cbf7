"""A training can be stopped anywhere and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from demo.train import trainer
from demo.train.trainer import Trainer


class Killed(Exception):
    """Stands for the end of a process in the middle of a training."""


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))


def training(folder: Path, network: nn.Module, steps: int = 30) -> Trainer:
    """A training that keeps every step, so that a kill loses none."""
    return Trainer(
        folder=folder,
        checkpoint_seconds=-1,
        name="small",
        network=network,
        steps=steps,
        learning_rate=1e-2,
        matrix_rate=1e-2,
        warmup=2,
    )


def losses(network: nn.Module, *, kill_at: int | None = None) -> trainer.LossFunction:
    data = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    calls = 0

    def draw() -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        return {"loss": (network(data)[:, 0] - data.sum(dim=1)).square().mean()}

    return draw


def test_a_training_learns(tmp_path: Path) -> None:
    network = small()
    draw = losses(network)
    before = float(draw()["loss"].detach())
    training(tmp_path, network, steps=200).run(draw)
    assert float(draw()["loss"].detach()) < before / 4


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    undisturbed = small()
    training(tmp_path / "whole", undisturbed).run(losses(undisturbed))
    first = small()
    with pytest.raises(Killed):
        training(tmp_path, first).run(losses(first, kill_at=12))
    second = small()
    resumed = training(tmp_path, second)
    assert resumed.step == 11
    resumed.run(losses(second))
    for one, other in zip(undisturbed.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    network = small()
    training(tmp_path, network).run(losses(network))
    again = training(tmp_path, small())
    assert again.progress == 1
    again.run(losses(network, kill_at=1))
    assert trainer.record(tmp_path, "small")["steps"] == 30


def test_weights_are_never_half_written(tmp_path: Path) -> None:
    network = small()
    training(tmp_path, network).run(losses(network))
    assert [path.name for path in tmp_path.iterdir()] == ["small.pt"]


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    network = small()
    training(tmp_path, network).run(losses(network))
    larger = nn.Sequential(*network, nn.ReLU(), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"4\.bias, 4\.weight"):
        trainer.load(tmp_path, "small", larger)
    with pytest.raises(ValueError, match=r"of another network.*--fresh"):
        training(tmp_path, larger)


def test_a_training_is_finished_when_its_last_step_is_done(tmp_path: Path) -> None:
    network = small()
    assert not trainer.is_finished(tmp_path, "small")
    with pytest.raises(Killed):
        training(tmp_path, network).run(losses(network, kill_at=12))
    assert not trainer.is_finished(tmp_path, "small")
    training(tmp_path, network).run(losses(network))
    assert trainer.is_finished(tmp_path, "small")
