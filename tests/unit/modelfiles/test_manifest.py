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
        "name": "a",
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


def test_every_type_has_its_own_folder():
    assert (
        str(place.path_of(ModelType.CHECKPOINT, "x.safetensors")) == "models/Stable-diffusion/x.safetensors"
    )
    assert len({place.folder_of(each) for each in ModelType}) == len(ModelType)
