import hashlib
import json
import os
import struct
import time

import pytest

from sd_modelfiles import manifest
from sd_modelfiles.kinds import ModelType
from sd_runtime.errors import CheckpointUnavailable
from sd_runtime.models.library import Library

OLD = time.time() - 3600


def safetensors(name="a", data=b"data", **metadata):
    header = {"__metadata__": metadata} if metadata else {}
    header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


class Root:
    """A volume that is written to while a library looks at it."""

    def __init__(self, path):
        self.path = path

    def add(self, *names, content=b"", settled=True):
        for name in names:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if settled:
            self.settle()
        return path

    def settle(self):
        """As if nothing had happened here for an hour."""
        for folder, _, _ in os.walk(self.path):
            os.utime(folder, (OLD, OLD))


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "volume"
    path.mkdir()
    return Root(path)


@pytest.fixture
def library(root):
    return Library([root.path])


def names(library, model_type):
    return [file.name for file in library.all(model_type)]


@pytest.mark.parametrize(
    ("model_type", "path", "name"),
    [
        (ModelType.CHECKPOINT, "models/Stable-diffusion/a.safetensors", "a.safetensors"),
        (ModelType.CHECKPOINT, "models/Stable-diffusion/people/a.CKPT", "people/a.CKPT"),
        (ModelType.LORA, "models/Lora/a.safetensors", "a.safetensors"),
        (ModelType.LORA, "models/Lora/a.pt", "a.pt"),
        (ModelType.LORA, "models/LyCORIS/a.ckpt", "a.ckpt"),
        (ModelType.TEXTUAL_INVERSION, "embeddings/a.pt", "a.pt"),
        (ModelType.TEXTUAL_INVERSION, "embeddings/b/a.bin", "b/a.bin"),
        (ModelType.VAE, "models/VAE/a.safetensors", "a.safetensors"),
        (ModelType.VAE, "models/VAE/a.vae.pt", "a.vae.pt"),
        (ModelType.VAE, "models/Stable-diffusion/a.vae.safetensors", "a.vae.safetensors"),
        (ModelType.HYPERNETWORK, "models/hypernetworks/a.pt", "a.pt"),
        (ModelType.UPSCALER, "models/ESRGAN/a.pth", "a.pth"),
        (ModelType.UPSCALER, "models/RealESRGAN/a.safetensors", "a.safetensors"),
        (ModelType.UPSCALER, "models/SwinIR/a.pt", "a.pt"),
        (ModelType.UPSCALER, "models/DAT/a.pth", "a.pth"),
        (ModelType.CONTROLNET, "models/ControlNet/a.safetensors", "a.safetensors"),
    ],
)
def test_a_file_is_where_a1111_looks_for_its_type_and_nowhere_else(root, library, model_type, path, name):
    root.add(path)
    assert {each: names(library, each) for each in ModelType if names(library, each)} == {model_type: [name]}


@pytest.mark.parametrize(
    "path",
    [
        "models/Lora/.hidden.safetensors",
        "models/Lora/.folder/a.safetensors",
        "models/Lora/notes.txt",
        "models/Lora/a.safetensors/readme.md",
        ".sd-operator/partial/a.safetensors",
        "models/a.safetensors",
    ],
)
def test_other_files_are_not_seen(root, library, path):
    root.add("models/Lora/seen.safetensors", path)
    assert [name for each in ModelType for name in names(library, each)] == ["seen.safetensors"]


def test_files_are_listed_by_name_whatever_their_case(root, library):
    root.add(*(f"models/Lora/{name}.pt" for name in ("b", "C", "a", "sub/d")))
    assert names(library, ModelType.LORA) == ["a.pt", "b.pt", "C.pt", "sub/d.pt"]


def test_key_and_stem_have_no_ending(root, library):
    root.add("models/Lora/people/anna.v1.0.safetensors")
    (file,) = library.all(ModelType.LORA)
    assert (file.key, file.stem) == ("people/anna.v1.0", "anna.v1.0")


def test_models_itself_may_be_the_root(root):
    root.add("models/Lora/a.pt")
    assert names(Library([root.path / "models"]), ModelType.LORA) == ["a.pt"]


def test_a_folder_in_diffusers_layout_is_one_checkpoint(root, library):
    folder = "models/Stable-diffusion/in-parts"
    root.add(f"{folder}/model_index.json", f"{folder}/unet/diffusion_pytorch_model.safetensors")
    root.add(f"{folder}/vae/diffusion_pytorch_model.safetensors")
    (file,) = library.all(ModelType.CHECKPOINT)
    assert (file.name, file.stem, file.path.is_dir()) == ("in-parts", "in-parts", True)


def test_a_configuration_without_weights_is_no_checkpoint(root, library):
    root.add("models/Stable-diffusion/a/model_index.json", "models/Stable-diffusion/a/unet/config.json")
    assert library.all(ModelType.CHECKPOINT) == ()


def test_a_plain_folder_tells_types_from_the_files(root, library):
    root.add("sub/model.safetensors", content=safetensors("model.diffusion_model.x"))
    root.add("lora.safetensors", content=safetensors("lora_unet_a.lora_down.weight"))
    root.add("old.ckpt", "other.bin")
    assert names(library, ModelType.CHECKPOINT) == ["old.ckpt", "sub/model.safetensors"]
    assert names(library, ModelType.LORA) == ["lora.safetensors"]


def test_a_broken_file_in_a_plain_folder_is_listed_so_that_its_fault_can_be_told(root, library):
    root.add("cut.safetensors", content=safetensors()[:-2])
    assert names(library, ModelType.CHECKPOINT) == ["cut.safetensors"]


def test_links_are_followed_within_the_root_and_not_out_of_it(root, library, tmp_path):
    root.add("models/Lora/a.pt", "elsewhere/b.pt")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.pt").write_bytes(b"")
    folder = root.path / "models" / "Lora"
    (folder / "inside").symlink_to(root.path / "elsewhere")
    (folder / "file.pt").symlink_to(tmp_path / "outside" / "secret.pt")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "broken.pt").symlink_to(tmp_path / "absent.pt")
    (folder / "around").symlink_to(folder)
    assert names(library, ModelType.LORA) == ["a.pt", "inside/b.pt"]


def test_a_root_that_is_not_there_holds_nothing_until_it_is(root, tmp_path):
    library = Library([tmp_path / "later"])
    assert library.all(ModelType.LORA) == ()
    later = Root(tmp_path / "later")
    later.add("models/Lora/a.pt")
    assert names(library, ModelType.LORA) == ["a.pt"]


@pytest.mark.parametrize("settled", [True, False], ids=["long after", "at once"])
def test_files_come_and_go_while_the_library_is_used(root, library, settled):
    root.add("models/Lora/a.pt")
    assert names(library, ModelType.LORA) == ["a.pt"]
    path = root.add("models/Lora/new/b.pt", settled=False)
    assert names(library, ModelType.LORA) == ["a.pt", "new/b.pt"]
    if settled:
        root.settle()
    assert names(library, ModelType.LORA) == ["a.pt", "new/b.pt"]
    path.unlink()
    assert names(library, ModelType.LORA) == ["a.pt"]


FOUND = {
    "people/anna.safetensors": "people/anna.safetensors",
    "people/anna": "people/anna.safetensors",
    "anna": "people/anna.safetensors",
    "Anna": "Anna.pt",
    "ANNA": "Anna.pt",
    "trained-name": "other.safetensors",
    "Trained-Name": "other.safetensors",
    " anna ": "people/anna.safetensors",
    "ann": None,
    "": None,
}


@pytest.mark.parametrize(("name", "found"), FOUND.items())
def test_a_file_is_found_by_any_of_its_names_the_exact_one_first(root, library, name, found):
    root.add("models/Lora/Anna.pt", "models/Lora/people/anna.safetensors")
    root.add("models/Lora/other.safetensors", content=safetensors(ss_output_name="trained-name"))
    file = library.find(ModelType.LORA, name)
    assert (file.name if file else None) == found


def test_only_loras_go_by_the_name_they_were_trained_under(root, library):
    root.add("models/Stable-diffusion/a.safetensors", content=safetensors(ss_output_name="other"))
    assert library.find(ModelType.CHECKPOINT, "other") is None


def test_of_two_files_of_one_name_the_earlier_roots_is_found_and_both_are_listed(tmp_path):
    for name in ("first", "second"):
        Root(tmp_path / name).add("models/Lora/a.pt")
    library = Library([tmp_path / "second", tmp_path / "first"])
    assert library.find(ModelType.LORA, "a").root == tmp_path / "second"
    assert len(library.all(ModelType.LORA)) == 2


def test_metadata_is_what_stands_in_the_file_now(root, library):
    path = root.add("models/Lora/a.safetensors", content=safetensors(ss_output_name="x", n="1"))
    (file,) = library.all(ModelType.LORA)
    assert library.metadata(file) == {"ss_output_name": "x", "n": "1"}
    path.write_bytes(safetensors(ss_output_name="longer"))
    assert library.metadata(file) == {"ss_output_name": "longer"}


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", safetensors(a="b")[:-3]])
def test_a_file_without_a_readable_header_has_none(root, library, content):
    root.add("models/Lora/a.safetensors", content=content)
    (file,) = library.all(ModelType.LORA)
    assert library.metadata(file) == {}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_known_once_it_was_made(root, library):
    path = root.add("models/Stable-diffusion/a.safetensors", content=b"x" * 50)
    (file,) = library.all(ModelType.CHECKPOINT)
    assert (file.sha256, library.short_hash(file)) == (None, None)
    assert library.sha256(file) == sha256(b"x" * 50)
    (file,) = library.all(ModelType.CHECKPOINT)
    assert (file.sha256, library.short_hash(file)) == (sha256(b"x" * 50), sha256(b"x" * 50)[:10])
    path.write_bytes(b"y" * 51)
    assert library.all(ModelType.CHECKPOINT)[0].sha256 is None


def test_a_digest_is_kept_over_restarts(root, tmp_path):
    root.add("models/Stable-diffusion/a.safetensors", content=b"x")
    first = Library([root.path], tmp_path / "digests.json")
    first.sha256(first.all(ModelType.CHECKPOINT)[0])
    second = Library([root.path], tmp_path / "digests.json")
    assert second.all(ModelType.CHECKPOINT)[0].sha256 == sha256(b"x")


def list_in_manifest(root, path, size):
    entry = manifest.Entry(path=path, size=size, sha256="ab" * 32, type="Checkpoint", family="", source="")
    with manifest.locked(root.path):
        manifest.save(root.path, manifest.Manifest((entry,)))


def test_the_manifest_tells_a_digest_as_long_as_the_size_is_right(root, library):
    path = root.add("models/Stable-diffusion/a.safetensors", content=b"x")
    list_in_manifest(root, "models/Stable-diffusion/a.safetensors", 1)
    assert library.all(ModelType.CHECKPOINT)[0].sha256 == "ab" * 32
    path.write_bytes(b"xy")
    assert library.all(ModelType.CHECKPOINT)[0].sha256 is None


def test_what_was_hashed_here_counts_more_than_the_manifest(root, library):
    root.add("models/Stable-diffusion/a.safetensors", content=b"x")
    list_in_manifest(root, "models/Stable-diffusion/a.safetensors", 1)
    library.sha256(library.all(ModelType.CHECKPOINT)[0])
    assert library.all(ModelType.CHECKPOINT)[0].sha256 == sha256(b"x")


def test_a_broken_manifest_tells_nothing(root, library):
    root.add("models/Stable-diffusion/a.safetensors", ".sd-operator/manifest.json", content=b"{")
    assert library.all(ModelType.CHECKPOINT)[0].sha256 is None


def test_a_loras_short_hash_is_that_of_its_trainer_or_of_its_weights_alone(root, library):
    root.add("models/Lora/told.safetensors", content=safetensors(sshs_model_hash="0123456789abcdef"))
    root.add("models/Lora/silent.safetensors", content=safetensors(data=b"weights!", note="x"))
    silent, told = library.all(ModelType.LORA)
    assert library.short_hash(told) == "0123456789ab"
    assert library.short_hash(silent) is None
    assert library.short_hash(silent, compute=True) == sha256(b"weights!")[:12]
    assert library.short_hash(silent) == sha256(b"weights!")[:12]


def test_a_pickled_loras_short_hash_is_of_the_whole_file(root, library):
    root.add("models/Lora/a.pt", content=b"pickle")
    (file,) = library.all(ModelType.LORA)
    assert library.short_hash(file, compute=True) == sha256(b"pickle")[:12]


def test_hashing_a_file_that_is_gone_is_an_error_that_names_it(root, library):
    path = root.add("models/Lora/a.pt")
    (file,) = library.all(ModelType.LORA)
    path.unlink()
    with pytest.raises(CheckpointUnavailable, match=r"^a.pt: "):
        library.sha256(file)


def test_the_revision_changes_with_the_files_and_only_then(root, library):
    path = root.add("embeddings/a.pt")
    first = library.revision(ModelType.TEXTUAL_INVERSION)
    root.add("models/Lora/b.pt")
    assert library.revision(ModelType.TEXTUAL_INVERSION) == first
    path.write_bytes(b"longer")
    second = library.revision(ModelType.TEXTUAL_INVERSION)
    root.add("embeddings/c.pt")
    third = library.revision(ModelType.TEXTUAL_INVERSION)
    assert len({first, second, third}) == 3


def test_the_library_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, sd_runtime.models.library; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_pickles_are_not_there_where_they_are_not_allowed_but_for_types_that_know_no_other_form(root):
    root.add(
        *("models/Stable-diffusion/a.ckpt", "models/Lora/a.pt", "models/VAE/a.pt", "models/ESRGAN/a.pth"),
        *("embeddings/a.pt", "models/hypernetworks/a.pt"),
    )
    strict = Library([root.path], allow_pickles=False)
    found = {model_type: names(strict, model_type) for model_type in ModelType if names(strict, model_type)}
    assert found == {ModelType.TEXTUAL_INVERSION: ["a.pt"], ModelType.HYPERNETWORK: ["a.pt"]}
    assert names(Library([root.path]), ModelType.CHECKPOINT) == ["a.ckpt"]
    withheld = {model_type: [file.name for file in strict.withheld(model_type)] for model_type in ModelType}
    assert {model_type: found for model_type, found in withheld.items() if found} == {
        ModelType.CHECKPOINT: ["a.ckpt"],
        ModelType.LORA: ["a.pt"],
        ModelType.VAE: ["a.pt"],
        ModelType.UPSCALER: ["a.pth"],
    }
    assert not any(Library([root.path]).withheld(model_type) for model_type in ModelType)


def test_a_file_in_a_folder_is_found_by_its_own_name_with_its_ending(root, library):
    """As the list of VAEs, and so A1111's clients, call it."""
    root.add("models/VAE/soft/a.safetensors", "models/VAE/b.safetensors", "models/VAE/soft/b.safetensors")
    assert library.find(ModelType.VAE, "a.safetensors").name == "soft/a.safetensors"
    assert library.find(ModelType.VAE, "b.safetensors").name == "b.safetensors"
