"""Which modules are available: those whose files are there and are what they should be."""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sd_plugin.contract import ModuleDescription
from sd_plugin.errors import ModuleUnavailable
from sd_plugin.module import Pixels, Plugin
from sd_plugin.plugins.aux_detectors import residents
from sd_plugin.plugins.aux_detectors.catalogue import ENTRIES
from sd_plugin.plugins.aux_detectors.networks import NETWORKS
from sd_plugin.plugins.aux_detectors.residents import Residents

PICTURE: Pixels = np.zeros((64, 64, 3), np.uint8)
Write = Callable[..., Path]


def said(plugin: Plugin, name: str) -> ModuleDescription:
    found = plugin.describe().module(name)
    assert found is not None
    return found


def run(plugin: Plugin, name: str) -> None:
    module = next(each for each in plugin.modules if each.description.name == name)
    module.run(PICTURE, None, {"resolution": 64})


def test_without_weights_every_module_names_its_file_and_where_it_goes(plugin: Plugin) -> None:
    for entry in ENTRIES:
        found = said(plugin, entry.name)
        assert not found.available
        for network in entry.networks:
            assert NETWORKS[network].file in found.reason
        assert "models/Annotators" in found.reason
        assert "type Annotator" in found.reason
        with pytest.raises(ModuleUnavailable, match=NETWORKS[entry.networks[0]].file):
            run(plugin, entry.name)


def test_weights_that_come_and_go_are_noticed(plugin: Plugin, write: Write) -> None:
    path = write("lineart")
    assert said(plugin, "lineart_realistic").available
    assert not said(plugin, "lineart_coarse").available
    run(plugin, "lineart_realistic")
    path.unlink()
    assert not said(plugin, "lineart_realistic").available
    with pytest.raises(ModuleUnavailable, match=r"sk_model\.pth"):
        run(plugin, "lineart_realistic")


@pytest.mark.parametrize("name", ["sk_model.safetensors", "SK_Model.pth", "lineart/sk_model.pth"])
def test_a_file_may_be_converted_or_in_a_folder(name: str, plugin: Plugin, write: Write) -> None:
    write("lineart", name=name)
    run(plugin, "lineart_realistic")
    assert said(plugin, "lineart_realistic").available


def test_all_files_of_a_module_are_wanted(plugin: Plugin, write: Write) -> None:
    write("leres")
    assert said(plugin, "depth_leres").available
    reason = said(plugin, "depth_leres++").reason
    assert "latest_net_G.pth" in reason
    assert "res101" not in reason


class Command:
    """Asks the unpickler to run a command."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def test_a_pickle_that_runs_something_is_refused_and_does_not(
    plugin: Plugin, annotators: Path, tmp_path: Path
) -> None:
    marker, path = tmp_path / "ran", annotators / "sk_model.pth"
    torch.save({"model0.1.weight": Command(marker)}, path)
    with pytest.raises(ModuleUnavailable, match=r"sk_model\.pth: a pickle that names (posix|os)\.system"):
        run(plugin, "lineart_realistic")
    path.write_bytes(pickle.dumps(Command(marker)))
    with pytest.raises(ModuleUnavailable, match=r"sk_model\.pth: a pickle"):
        run(plugin, "lineart_realistic")
    assert not marker.exists()


def test_what_a_file_holds_cannot_make_the_description_break_the_contract(
    plugin: Plugin, annotators: Path
) -> None:
    pickled = b"\x80\x02cos\nev\x01il\n)R."
    (annotators / "sk_model.pth").write_bytes(pickled)
    with pytest.raises(ModuleUnavailable, match=r"sk_model\.pth"):
        run(plugin, "lineart_realistic")
    reason = said(plugin, "lineart_realistic").reason
    assert "ev" in reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"model0.1.bias": None}, "model0.1.bias is missing"),
        ({"model0.1.weight": torch.zeros(64, 1, 7, 7)}, "model0.1.weight is 64x1x7x7, not 64x3x7x7"),
    ],
)
def test_a_file_with_other_tensors_is_named_and_the_module_unavailable_until_it_changes(
    tensors: dict[str, torch.Tensor | None], told: str, plugin: Plugin, write: Write
) -> None:
    path = write("lineart")
    held = torch.load(path, weights_only=True) | tensors
    write("lineart", tensors={name: each for name, each in held.items() if each is not None})
    assert said(plugin, "lineart_realistic").available  # nobody has read it yet
    with pytest.raises(ModuleUnavailable, match=f"sk_model.pth: not the weights of this network: {told}"):
        run(plugin, "lineart_realistic")
    assert told in said(plugin, "lineart_realistic").reason
    write("lineart")
    assert said(plugin, "lineart_realistic").available
    run(plugin, "lineart_realistic")


@pytest.mark.parametrize("name", ["sk_model.safetensors", "sk_model.pth"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04cut off"])
def test_a_file_of_something_else_is_named(
    name: str, content: bytes, plugin: Plugin, annotators: Path
) -> None:
    (annotators / name).write_bytes(content)
    with pytest.raises(ModuleUnavailable, match=f"^{name}: "):
        run(plugin, "lineart_realistic")


def test_a_file_that_cannot_be_read_now_may_be_read_later(
    plugin: Plugin, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("lineart")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", refuse)
        with pytest.raises(ModuleUnavailable, match=r"sk_model\.pth: cannot be read: Input/output error"):
            run(plugin, "lineart_realistic")
    assert said(plugin, "lineart_realistic").available
    run(plugin, "lineart_realistic")


def test_the_longest_unused_networks_make_room(annotators: Path, write: Write) -> None:
    for name in ("lineart", "lineart_coarse", "pidinet", "hed"):
        write(name)
    shelf = residents.shelf((annotators.parents[1],))
    size = residents.size_of(Residents(shelf).network("lineart"))
    held = Residents(shelf, budget=2 * size)
    for name in ("lineart", "lineart_coarse", "lineart"):
        held.network(name)
    assert held.names() == ("lineart_coarse", "lineart")
    held.network("pidinet")
    assert held.names() == ("lineart", "pidinet")
    held.network("hed")  # larger than all that is allowed
    assert held.names() == ("hed",)


def test_a_network_is_loaded_once_while_its_file_stays_the_same(annotators: Path, write: Write) -> None:
    write("lineart")
    held = Residents(residents.shelf((annotators.parents[1],)))
    first = held.network("lineart")
    assert held.network("lineart") is first
    write("lineart", tensors={name: -each for name, each in first.state_dict().items()})
    second = held.network("lineart")
    assert torch.equal(second.state_dict()["model0.1.bias"], -first.state_dict()["model0.1.bias"])


def test_the_hub_is_off_and_only_the_detectors_that_are_used_are_imported(
    plugin: Plugin, write: Write
) -> None:
    write("lineart")
    run(plugin, "lineart_realistic")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "controlnet_aux.lineart" in sys.modules
    assert "controlnet_aux.mediapipe_face" not in sys.modules
    assert "controlnet_aux.processor" not in sys.modules
