"""Checkpoint files as clients see and spell them."""

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import pytest

from sd_runtime.a1111.checkpoints import Checkpoint, find
from sd_runtime.a1111.checkpoints import Shelf as OfLibrary
from sd_runtime.models.library import Library

SHA256 = "45dee52b" * 8
CONTENT = bytes(range(256)) * 0x1200  # 1.125 MiB


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "models" / "Stable-diffusion" / "sub"
    folder.mkdir(parents=True)
    (folder / "Model.safetensors").write_bytes(CONTENT)
    (folder.parent / "zebra.safetensors").write_bytes(b"z")
    (folder.parent / "notes.txt").write_bytes(b"n")
    (tmp_path / ".sd-operator").mkdir()
    return tmp_path


def Shelf(roots):
    return OfLibrary(Library(roots))


def write_manifest(root, path, sha256):
    size = (root / path).stat().st_size
    entry = {"path": path, "size": size, "sha256": sha256, "type": "Checkpoint", "family": "SD15"}
    document = {"version": 1, "files": [entry | {"source": "http", "owners": ["bundle/base"]}]}
    (root / ".sd-operator" / "manifest.json").write_text(json.dumps(document))


def served_path(root):
    return root / "models" / "Stable-diffusion" / "sub" / "Model.safetensors"


def test_files_are_listed_by_name_without_digests_when_nothing_is_known(root):
    shelf = Shelf([root])
    assert [(each.title, each.sha256) for each in shelf.all(None)] == [
        ("sub/Model.safetensors", None),
        ("zebra.safetensors", None),
    ]


def test_the_digest_comes_from_the_manifest_and_what_was_loaded_counts_more(root):
    write_manifest(root, "models/Stable-diffusion/sub/Model.safetensors", "ff" * 32)
    shelf = Shelf([root])
    assert shelf.entry(served_path(root)).title == "sub/Model.safetensors [ffffffffff]"
    assert shelf.entry(served_path(root), SHA256).title == "sub/Model.safetensors [45dee52b45]"


@pytest.mark.parametrize("text", ["{", '{"version": 9, "files": []}'])
def test_a_manifest_that_cannot_be_read_costs_the_digests_alone(root, text):
    (root / ".sd-operator" / "manifest.json").write_text(text)
    assert [each.sha256 for each in Shelf([root]).all(None)] == [None, None]


def test_a_checkpoint_outside_of_the_roots_is_listed_too(root):
    elsewhere = root / "elsewhere.safetensors"
    shelf = Shelf([root])
    assert shelf.entry(elsewhere).title == "elsewhere.safetensors"
    assert elsewhere in [each.path for each in shelf.all(shelf.entry(elsewhere))]


def test_a_root_that_is_not_there_is_empty(tmp_path):
    shelf = Shelf([tmp_path / "gone"])
    served = shelf.entry(tmp_path / "gone" / "models" / "Stable-diffusion" / "a.safetensors")
    assert shelf.all(None) == []
    assert [each.name for each in shelf.all(served)] == ["a.safetensors"]


OLD_HASH = hashlib.sha256(CONTENT[0x100000:0x110000]).hexdigest()[:8]


@pytest.mark.parametrize(
    "spelling",
    [
        "sub/Model.safetensors [45dee52b45]",
        "sub/Model.safetensors",
        "Model.safetensors",
        "Model",
        "sub_Model",
        "Model [45dee52b45]",
        "45dee52b45",
        SHA256,
        OLD_HASH,
        f"sub/Model.safetensors [{OLD_HASH}]",
        "sub/Model.safetensors [00000000]",
        "  Model ",
        "ub/Mod",
        "[45dee52b45]",
    ],
)
def test_every_spelling_that_a1111_accepts_is_found(root, spelling):
    shelf = Shelf([root])
    found = find(spelling, shelf.all(shelf.entry(served_path(root), SHA256)))
    assert found is not None
    assert found.path == served_path(root)


@pytest.mark.parametrize("spelling", ["", "  ", "model", "Model2", "ffffffff"])
def test_other_texts_name_nothing(root, spelling):
    shelf = Shelf([root])
    found = find(spelling, shelf.all(shelf.entry(served_path(root), SHA256)))
    assert found is None


def test_a_folder_in_diffusers_layout_is_a_checkpoint_too(root):
    folder = root / "models" / "Stable-diffusion" / "sdxl-base.v1.0"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    (folder / "model_index.json").write_text("{}")
    shelf = Shelf([root])
    (found,) = [each for each in shelf.all(None) if each.path == folder]
    assert (found.title, found.model_name, found.stem) == ("sdxl-base.v1.0",) * 3
    assert found.old_hash() is None
    assert find("sdxl-base.v1.0", shelf.all(None)) == found


class Watched(Checkpoint):
    read: ClassVar[list[str]] = []

    def old_hash(self):
        self.read.append(self.name)
        return super().old_hash()


def test_a_file_is_read_for_its_old_hash_only_when_a_name_looks_like_one(root):
    checkpoints = [Watched(each.path, each.name) for each in Shelf([root]).all(None)]
    for name in ("Model", "zebra.safetensors", "nothing like it", "45dee52b45"):
        find(name, checkpoints)
    assert Watched.read == []
    find("ffffffff", checkpoints)
    assert Watched.read == ["sub/Model.safetensors", "zebra.safetensors"]


def test_of_several_titles_with_the_text_the_shortest_is_meant():
    checkpoints = [Checkpoint(Path(f"/{name}"), name) for name in ("abc-long.safetensors", "abc.safetensors")]
    found = find("bc", checkpoints)
    assert found is not None
    assert found.name == "abc.safetensors"
