import json
import threading

import pytest

from sd_modelfiles import manifest, place
from sd_modelfiles.kinds import ModelType
from sd_modelfiles.manifest import Entry


def entry(path="models/Stable-diffusion/a.safetensors", **changes):
    values = {
        "path": path,
        "size": 10,
        "sha256": "0" * 64,
        "type": "Checkpoint",
        "family": "SD15",
        "source": "https://h/a",
        "owners": ("bundle/a",),
    }
    return Entry(**(values | changes))


def test_a_volume_without_a_manifest_has_no_files(tmp_path):
    assert manifest.load(tmp_path).files == ()


def test_what_is_saved_is_loaded_and_only_one_entry_holds_a_path(tmp_path):
    with manifest.locked(tmp_path):
        manifest.save(tmp_path, manifest.Manifest().with_entry(entry()).with_entry(entry(size=11)))
    assert manifest.load(tmp_path).files == (entry(size=11),)
    assert manifest.load(tmp_path).at(entry().path) == entry(size=11)
    assert manifest.load(tmp_path).at("other") is None


def test_fields_of_a_later_program_are_left_alone(tmp_path):
    manifest.path_in(tmp_path).parent.mkdir()
    document = {"version": 1, "files": [{**_values(entry()), "license": "MIT"}], "more": 1}
    manifest.path_in(tmp_path).write_text(json.dumps(document))
    assert manifest.load(tmp_path).files == (entry(),)


def test_entries_of_an_earlier_program_have_no_owner_rank_or_companion(tmp_path):
    manifest.path_in(tmp_path).parent.mkdir()
    new = ("rank", "source_sha256", "owners", "companions")
    values = {name: value for name, value in _values(entry()).items() if name not in new}
    document = {"version": 1, "files": [{**values, "name": "a"}]}
    manifest.path_in(tmp_path).write_text(json.dumps(document))
    assert manifest.load(tmp_path).files == (entry(owners=()),)


def test_everything_an_entry_tells_is_kept(tmp_path):
    whole = entry(
        type="LoRA",
        family="",
        rank=16,
        source_sha256="1" * 64,
        owners=("one/a", "two/b"),
        companions=("models/Lora/a.civitai.info", "models/Lora/a.preview.png"),
    )
    with manifest.locked(tmp_path):
        manifest.save(tmp_path, manifest.Manifest((whole,)))
    assert manifest.load(tmp_path).files == (whole,)


def test_entries_are_found_by_digest_and_leave_by_path():
    one, two, other = entry("a"), entry("b"), entry("c", sha256="1" * 64)
    listed = manifest.Manifest((one, two, other))
    assert listed.with_sha256("0" * 64) == (one, two)
    assert listed.without("a").files == (two, other)
    assert listed.without("d") == listed


def _values(one):
    return {name: getattr(one, name) for name in Entry.__slots__}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "manifest.json: "),
        ("[" * 100_000, "manifest.json: "),
        ("[]", "list of files"),
        ('{"version": 2, "files": []}', "version 2 is not known"),
        ('{"version": 1, "files": [1]}', r"files\[0\] is not an object"),
        (json.dumps({"version": 1, "files": [_values(entry(size="10"))]}), r"files\[0\].size is '10'"),
        (json.dumps({"version": 1, "files": [_values(entry(rank="8"))]}), r"files\[0\].rank is '8'"),
        (
            json.dumps({"version": 1, "files": [_values(entry(owners="a/b"))]}),
            "owners is 'a/b'; expected a list",
        ),
        (json.dumps({"version": 1, "files": [_values(entry(owners=[1]))]}), "expected a list of strings"),
        (json.dumps({"version": 1, "files": [{"path": "a"}]}), r"files\[0\].size is None"),
        (json.dumps({"version": 1, "files": [_values(entry(companions=["../x"]))]}), "leaves the volume"),
        (json.dumps({"version": 1, "files": [_values(entry(path="../x"))]}), "leaves the volume"),
        (json.dumps({"version": 1, "files": [_values(entry(path="/x"))]}), "leaves the volume"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_named_not_ignored(tmp_path, text, says):
    manifest.path_in(tmp_path).parent.mkdir()
    manifest.path_in(tmp_path).write_text(text)
    with pytest.raises(manifest.ManifestError, match=says):
        manifest.load(tmp_path)


def test_writers_at_once_lose_no_entry(tmp_path):
    def add(number):
        with manifest.locked(tmp_path):
            listed = manifest.load(tmp_path)
            manifest.save(tmp_path, listed.with_entry(entry(f"models/VAE/{number}.safetensors")))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manifest.load(tmp_path).files) == 12


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\0b"])
def test_a_file_name_cannot_leave_its_folder(name):
    with pytest.raises(ValueError, match="plain name"):
        place.path_of(ModelType.CHECKPOINT, name)


FOLDERS = {
    ModelType.CHECKPOINT: "models/Stable-diffusion",
    ModelType.VAE: "models/VAE",
    ModelType.LORA: "models/Lora",
    ModelType.TEXTUAL_INVERSION: "embeddings",
    ModelType.HYPERNETWORK: "models/hypernetworks",
    ModelType.CONTROLNET: "models/ControlNet",
    ModelType.UPSCALER: "models/ESRGAN",
    ModelType.ANNOTATOR: "models/Annotators",
}


@pytest.mark.parametrize("model_type", ModelType)
def test_every_type_lies_where_a1111_looks_for_it(model_type):
    assert str(place.path_of(model_type, "x.safetensors")) == f"{FOLDERS[model_type]}/x.safetensors"
