"""What several processes, kills and people's hands do to a volume, and what the next fetch makes of it."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from sd_modelfiles import manifest
from sd_operator.fetch import listing
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.upkeep import keep_up

PATH = "models/Stable-diffusion/model.safetensors"
COPY = "models/Stable-diffusion/copy.safetensors"
LORA = {
    f"lora_unet_mid_block_resnets_0_conv1.lora_{part}.weight": shape
    for part, shape in (("down", (4, 8, 1, 1)), ("up", (8, 4, 1, 1)))
}


@pytest.fixture
def other(fetches):
    """Another bundle on the same volume."""
    return fetches.of(bundle="second")


@pytest.fixture
def blocked(fetches):
    """A volume on which the manifest cannot be written, until this is removed."""
    path = manifest.path_in(fetches.root).with_suffix(".json.new")
    path.mkdir(parents=True)
    return path


class After(Stop):
    """Something happens right after one of the works that can be interrupted, counted from 0."""

    def __init__(self, number, action):
        super().__init__()
        self._left = number
        self._action = action

    @contextmanager
    def interruptible(self):
        with super().interruptible():
            yield
        self._left -= 1
        if self._left == -1:
            self._action()


def changing(fetches, server, made):
    """Another content for the first bundle's file, in the same place."""

    def change():
        server.content, server.etag = made.checkpoint(size=9000), '"two"'
        fetches.run(sha256=made.sha256(server.content))

    return change


def owners(fetches):
    return {entry.path: entry.owners for entry in fetches.entries()}


# --- Files that change while they are looked at


def test_a_file_that_is_replaced_after_it_was_hashed_is_not_taken_for_the_wanted_one(
    fetches, other, server, made
):
    wanted = fetches.run().sha256
    stop = After(0, changing(fetches, server, made))
    with pytest.raises(FetchError) as caught:
        other.run(sha256=wanted, fileName="model.safetensors", stop=stop)
    assert caught.value.reason == "PathConflict"
    (entry,) = fetches.entries()
    assert entry.owners == ("demo/base",)
    assert entry.sha256 == made.sha256(fetches.target.read_bytes()) != wanted


def test_a_file_that_is_replaced_by_the_same_bytes_is_hashed_again(fetches, other, server):
    wanted = fetches.run().sha256

    def renew():
        fetches.target.unlink()
        fetches.target.write_bytes(server.content)

    assert other.run(sha256=wanted, stop=After(0, renew)).shared


def test_a_twin_that_is_replaced_after_it_was_hashed_is_not_stored_as_ours(fetches, other, server, made):
    old, wanted = server.content, fetches.run().sha256
    stop = After(1, changing(fetches, server, made))
    found = other.run(sha256=wanted, fileName="copy.safetensors", stop=stop)
    assert (found.sha256, (fetches.root / COPY).read_bytes()) == (wanted, old)


def test_a_twin_that_is_removed_after_it_was_hashed_costs_nothing(fetches, other, server):
    base = fetches.run()

    def remove():
        gone = {"name": "base", "path": base.path, "sha256": base.sha256}
        words = json.dumps({"bundle": "demo", "remove": [gone]})
        keep_up(Settings(**fetches.variables(), SD_FETCH_UPKEEP=words), Stop())

    found = other.run(sha256=base.sha256, fileName="copy.safetensors", stop=After(1, remove))
    assert fetches.visible() == [COPY] and not found.shared
    assert (fetches.root / COPY).read_bytes() == server.content


def test_a_twin_that_is_a_link_is_left_alone(fetches, other, server, tmp_path):
    wanted = fetches.run().sha256
    fetches.target.rename(tmp_path / "elsewhere")
    fetches.target.symlink_to(tmp_path / "elsewhere")
    other.run(sha256=wanted, fileName="copy.safetensors")
    assert not (fetches.root / COPY).is_symlink()


# --- Fetches that died between the file and its entry


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_file_in_place_that_was_not_written_down_is_completed(fetches, server, blocked, etag):
    server.etag = etag
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.retryable and fetches.target.exists() and fetches.entries() == []
    blocked.rmdir()
    server.requests.clear()
    fetches.run()
    assert server.requests == [] and fetches.left() == []
    assert owners(fetches) == {PATH: ("demo/base",)}


def test_a_file_in_place_that_was_not_written_down_is_not_in_the_way_of_another(
    fetches, server, made, blocked
):
    server.etag = None
    with pytest.raises(FetchError):
        fetches.run()
    blocked.rmdir()
    server.content = made.checkpoint(size=9000)
    fetches.run(source=fetches.at("other/model.safetensors"))
    assert fetches.target.read_bytes() == server.content


def test_a_file_that_somebody_put_in_its_stead_stays(fetches, blocked):
    with pytest.raises(FetchError):
        fetches.run()
    blocked.rmdir()
    fetches.target.write_bytes(b"mine")
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "PathConflict" and fetches.target.read_bytes() == b"mine"


@pytest.mark.parametrize("path", ["/etc/passwd", "models/VAE/../../x", ".sd-operator/manifest.json", "x"])
def test_notes_that_name_a_path_outside_the_folders_of_models_are_not_believed(fetches, made, path):
    outside = fetches.root / "x"
    outside.write_bytes(b"x")
    with fetches.left_partial() as left:
        left.seal(sha256=made.sha256(b"x"), source_sha256="", path=PATH)
    fetches.change_notes(path=path)
    fetches.run()
    assert outside.read_bytes() == b"x"


# --- Places


def test_an_entry_whose_file_is_gone_is_no_conflict(fetches, other, server, made):
    fetches.run()
    fetches.target.unlink()
    server.content = made.checkpoint(size=9000)
    other.run(source=fetches.at("other/model.safetensors"))
    other.run(source=fetches.at("other/model.safetensors"), sha256=made.sha256(server.content))
    assert owners(fetches) == {PATH: ("second/base",)}


def test_a_file_that_nobody_owns_any_more_may_be_replaced(fetches, other, server, made):
    fetches.run()
    (entry,) = fetches.entries()
    manifest.save(fetches.root, manifest.Manifest((replace(entry, owners=()),)))
    server.content = made.checkpoint(size=9000)
    other.run(source=fetches.at("other/model.safetensors"))
    assert owners(fetches) == {PATH: ("second/base",)}


def test_two_files_of_a_bundle_can_change_places(fetches, server, made):
    contents = {"one": server.content, "two": made.checkpoint(size=9000)}
    hashes = {name: made.sha256(content) for name, content in contents.items()}

    def fetch(name, file_name):
        server.content, server.etag = contents[name], f'"{name}"'
        fetches.run(name=name, fileName=file_name, source=fetches.at(f"files/{name}"))

    fetch("one", "model.safetensors")
    fetch("two", "copy.safetensors")
    fetch("one", "copy.safetensors")
    fetch("two", "model.safetensors")
    assert owners(fetches) == {PATH: ("demo/two",), COPY: ("demo/one",)}
    assert {entry.path: entry.sha256 for entry in fetches.entries()} == {
        PATH: hashes["two"],
        COPY: hashes["one"],
    }


@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_got_another_name_in_its_bundle_keeps_its_place(fetches, server, made, same):
    fetches.run(name="old", fileName="model.safetensors")
    server.content = server.content if same else made.checkpoint(size=9000)
    fetches.run(name="new", fileName="model.safetensors", source=fetches.at("other/x"))
    assert owners(fetches) == {PATH: ("demo/new",)}
    assert fetches.target.read_bytes() == server.content


def test_a_place_of_another_bundle_is_not_given_up_for_a_file_name(fetches, other, server, made):
    fetches.run(fileName="model.safetensors")
    server.content = made.checkpoint(size=9000)
    with pytest.raises(FetchError) as caught:
        other.run(fileName="model.safetensors", source=fetches.at("other/x"))
    assert caught.value.reason == "PathConflict"


def test_networks_may_be_bare_addresses():
    found = Settings(SD_FETCH_REFUSED_NETWORKS="10.0.0.0/8,192.168.1.7,fd00::1").refused_networks
    assert [str(each) for each in found] == ["10.0.0.0/8", "192.168.1.7/32", "fd00::1/128"]


# --- The manifest and the notes


def test_a_damaged_manifest_is_mended_as_the_message_says(fetches, server):
    fetches.run()
    path = manifest.path_in(fetches.root)
    path.write_text("{")
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert "manifest.json.bak" in caught.value.message
    path.with_suffix(".json.bak").replace(path)
    server.requests.clear()
    fetches.run()
    assert server.requests == []


def test_waiting_for_the_manifest_has_an_end(fetches):
    with (
        manifest.locked(fetches.root),
        pytest.raises(FetchError) as caught,
        listing.locked(fetches.root, Stop(), seconds=0.1),
    ):
        pass
    assert (caught.value.reason, caught.value.retryable) == ("VolumeUnreachable", True)


def test_a_stop_ends_the_waiting_for_the_manifest(fetches, server):
    with manifest.locked(fetches.root):
        process = fetches.start()
        fetches.wait_until(lambda: fetches.part.exists() and fetches.arrived() == len(server.content))
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 1
    assert fetches.told()["reason"] == "Interrupted"


def test_two_threads_may_write_the_notes_at_once(fetches):
    with fetches.left_partial() as left, ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(lambda: [left.sync() for _ in range(100)])
        count = 0
        while not syncing.done():
            left.know_total(count)
            count += 1
        syncing.result()


def test_what_is_known_of_a_file_stays_known_when_another_owner_says_otherwise(fetches, other, server, made):
    document = {"__metadata__": {"ss_base_model_version": "sd_v1"}}
    begun = 0
    for name, shape in LORA.items():
        document[name] = {"dtype": "U8", "shape": shape, "data_offsets": [begun, begun + 32]}
        begun += 32
    server.content = made.with_header(json.dumps(document).encode(), bytes(begun))
    assert fetches.run(type="LoRA").family == "SD15"
    assert other.run(type="LoRA", family="SD21").family == "SD15"
    assert [entry.family for entry in fetches.entries()] == ["SD15"]


# --- Links that lead elsewhere


@pytest.mark.parametrize("suffix", [".part", ".journal", ".lock", ".json.new"])
def test_a_link_among_the_downloads_is_not_followed(fetches, tmp_path, suffix):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    fetches.part.parent.mkdir(parents=True)
    fetches.part.with_name(f"demo--base{suffix}").symlink_to(victim)
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "VolumeError" and suffix in caught.value.message
    assert victim.read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_manifests_lock_is_not_followed(fetches, tmp_path):
    (fetches.root / ".sd-operator").mkdir()
    (fetches.root / ".sd-operator/lock").symlink_to(tmp_path / "victim")
    with pytest.raises(FetchError):
        fetches.run()
    assert not (tmp_path / "victim").exists()
