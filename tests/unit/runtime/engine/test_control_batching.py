"""Evaluations with ControlNets and without share calls, whose time and memory are learned apart from those of
calls without."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from sd_runtime.engine import batching
from sd_runtime.engine.work import ActiveControl, Evaluate

A, B = Path("a.safetensors"), Path("b.safetensors")


def asking(*networks: Path) -> Evaluate:
    text: Any = SimpleNamespace(context=torch.zeros(1, 77, 8))
    shown: Any = None
    controls = tuple(ActiveControl(network, shown, 1.0) for network in networks)
    return Evaluate(torch.zeros(1, 4, 8, 8), 1.0, ((text, 1.0),), text, 5.0, controls=controls)


def test_those_with_and_without_share_a_call() -> None:
    waiting = [asking(), asking(A), asking(B, A), asking()]
    assert batching.choose(waiting, 8) == [0, 1, 2, 3]
    assert {batching.kind_of(each) for each in waiting} == {batching.kind_of(asking())}


def test_a_call_is_measured_by_the_networks_that_it_runs() -> None:
    assert batching.networks_of([asking(), asking(A), asking(A, B)]) == {A, B}
    assert batching.networks_of([asking()]) == frozenset()


def test_one_that_brings_a_network_along_waits_where_there_is_no_room_for_it() -> None:
    waiting = [asking(), asking(A), asking(), asking(B), asking()]
    evaluations = {0: (8, None), 1: (2, None), 2: (2, None)}
    assert batching.choose_within(waiting, evaluations.__getitem__) == [0, 1]
    rows = {0: (8, None), 1: (8, 2), 2: (8, 2)}
    assert batching.choose_within(waiting, rows.__getitem__) == [0, 2, 4]


def test_a_network_that_is_there_already_makes_a_call_no_other() -> None:
    limits = {0: (8, None), 1: (8, None), 2: (1, None)}
    waiting = [asking(A), asking(B), asking(A), asking()]
    assert batching.choose_within(waiting, limits.__getitem__) == [0, 2, 3]
