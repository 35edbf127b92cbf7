"""Looking after the files of a bundle on a volume."""

import json
import os
import threading
import time
from dataclasses import replace

import pytest

from sd_modelfiles import manifest
from sd_operator.fetch import partial
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.upkeep import keep_up
from sd_operator.fetch.verdict import MAX_BYTES, Kept, Stray, encode

COPY = "models/Stable-diffusion/copy.safetensors"


@pytest.fixture
def base(fetches):
    """A file in place, as the operator expects it."""
    found = fetches.run()
    return {"name": "base", "path": found.path, "sha256": found.sha256}


def keep(fetches, **wanted):
    """In this process."""
    words = json.dumps({"bundle": fetches.bundle, **wanted})
    return keep_up(Settings(**fetches.variables(), SD_FETCH_UPKEEP=words), Stop())


@pytest.mark.parametrize("verify", [True, False])
def test_a_file_as_it_was_fetched_is_intact(fetches, base, verify):
    assert keep(fetches, verify=verify, expect=[base]) == Kept(intact=1)


@pytest.mark.parametrize("verify", [True, False])
def test_a_lost_file_is_told(fetches, base, verify):
    fetches.target.unlink()
    assert keep(fetches, verify=verify, expect=[base]) == Kept(intact=0, lost=("base",))


def test_an_altered_file_is_told_when_it_is_hashed(fetches, base):
    content = bytearray(fetches.target.read_bytes())
    content[-1] ^= 1
    fetches.target.write_bytes(content)
    assert keep(fetches, verify=True, expect=[base]) == Kept(intact=0, altered=("base",))
    assert keep(fetches, verify=False, expect=[base]) == Kept(intact=1)


def test_another_size_is_seen_without_hashing(fetches, base):
    fetches.target.write_bytes(b"short")
    assert keep(fetches, verify=False, expect=[base]) == Kept(intact=0, altered=("base",))


def test_a_removed_file_is_gone_with_its_entry(fetches, base):
    assert keep(fetches, remove=[base]) == Kept(intact=0, removed=(base["path"],))
    assert fetches.visible() == [] and fetches.entries() == []
    # Asked again, as after a verdict that was lost.
    assert keep(fetches, remove=[base]) == Kept(intact=0, removed=(base["path"],))


def test_companions_go_with_their_file(fetches, base):
    beside = fetches.target.with_suffix(".civitai.info")
    beside.write_text("{}")
    (entry,) = fetches.entries()
    entry = replace(entry, companions=(str(beside.relative_to(fetches.root)),))
    manifest.save(fetches.root, manifest.Manifest((entry,)))
    keep(fetches, remove=[base])
    assert fetches.visible() == []


def test_a_file_of_others_stays_theirs(fetches, base):
    second = fetches.of(bundle="second")
    second.run()
    assert keep(fetches, remove=[base]).removed == (base["path"],)
    assert fetches.target.exists()
    assert [entry.owners for entry in fetches.entries()] == [("second/base",)]
    keep(second, remove=[base])
    assert fetches.visible() == []


def test_bytes_that_others_have_at_another_path_stay(fetches, server, base):
    second = fetches.of(bundle="second")
    second.run(source=fetches.at("other/copy.safetensors"))
    keep(fetches, remove=[base])
    assert fetches.visible() == [COPY]
    assert (fetches.root / COPY).read_bytes() == server.content


def test_a_bundle_whose_name_begins_like_this_one_is_another(fetches, base):
    longer = fetches.of(bundle="demo2")
    longer.run(source=fetches.at("other/copy.safetensors"))
    found = keep(fetches, expect=[base], remove=[base | {"path": COPY}])
    assert found == Kept(intact=1, removed=(COPY,))
    assert len(fetches.entries()) == 2


def test_what_the_bundle_no_longer_has_is_a_stray(fetches, base, server):
    fetches.run(name="old", source=fetches.at("other/copy.safetensors"))
    found = keep(fetches, expect=[base])
    assert found == Kept(intact=1, strays=(Stray(name="old", path=COPY, sha256=base["sha256"]),))
    assert fetches.target.exists() and (fetches.root / COPY).exists()


def test_a_file_that_moved_leaves_its_old_place_behind_as_a_stray(fetches, base):
    moved = fetches.run(fileName="moved.safetensors")
    expected = {"name": "base", "path": moved.path, "sha256": moved.sha256}
    assert keep(fetches, expect=[expected]).strays == (Stray(**base),)
    assert keep(fetches, expect=[expected], remove=[base]) == Kept(intact=1, removed=(base["path"],))
    assert fetches.visible() == [moved.path]


def left_of(fetches, bundle, name, *, days=0.0):
    """What is left of a download, untouched for so long."""
    key = partial.key_of(bundle, name)
    fetches.part.parent.mkdir(parents=True, exist_ok=True)
    with partial.Partial(fetches.root, key, f"{bundle}/{name}"):
        pass
    then = time.time() - days * 24 * 3600
    for path in partial.folder_of(fetches.root).iterdir():
        if path.name.startswith(f"{key}."):
            os.utime(path, (then, then))


@pytest.mark.parametrize("change", [{"path": COPY}, {"sha256": "0" * 64}, {"name": "other"}])
def test_nothing_is_removed_by_its_name_or_its_place_alone(fetches, base, change):
    asked = base | change
    assert keep(fetches, remove=[asked]).removed == (asked["path"],)
    assert fetches.target.exists() and len(fetches.entries()) == 1


def test_a_content_that_is_not_known_any_more_is_any(fetches, base):
    keep(fetches, remove=[base | {"sha256": ""}])
    assert fetches.visible() == []


def test_what_is_expected_at_its_place_is_not_removed(fetches, base):
    assert keep(fetches, expect=[base], remove=[base | {"name": "old"}]) == Kept(intact=1)
    assert keep(fetches, expect=[base], remove=[base]) == Kept(intact=1)
    assert fetches.target.exists()


def test_another_content_at_the_place_of_a_removed_one_is_a_stray(fetches, base):
    found = keep(fetches, remove=[base | {"sha256": "0" * 64}])
    assert found.strays == (Stray(**base),)


def test_files_are_removed_before_the_others_are_hashed(fetches, base):
    """A round that is cut short by its deadline has made room."""

    class Stopped(Stop):
        def check(self):
            raise FetchError("Interrupted", "", retryable=True)

    moved = fetches.run(fileName="moved.safetensors")
    expected = {"name": "base", "path": moved.path, "sha256": moved.sha256}
    words = json.dumps({"bundle": "demo", "verify": True, "expect": [expected], "remove": [base]})
    with pytest.raises(FetchError):
        keep_up(Settings(**fetches.variables(), SD_FETCH_UPKEEP=words), Stopped())
    assert fetches.visible() == [moved.path]


def test_downloads_that_were_given_up_are_removed(fetches, base):
    left_of(fetches, "demo", "old", days=2)
    left_of(fetches, "demo", "waiting")
    left_of(fetches, "demo", "removed")
    left_of(fetches, "demo", "base", days=2)
    left_of(fetches, "second", "old", days=2)
    keep(fetches, expect=[base], remove=[base | {"name": "removed", "path": COPY}])
    kept = {name.partition(".")[0] for name in fetches.left()}
    assert kept == {"demo--waiting", "demo--base", "second--old"}


@pytest.mark.parametrize("document", ["{", '{"newer": 1}', None])
def test_an_old_download_whose_notes_nobody_understands_is_removed(fetches, base, document):
    left_of(fetches, "second", "old", days=2)
    left_of(fetches, "second", "new")
    for name, days in (("old", 2), ("new", 0)):
        path = partial.folder_of(fetches.root) / f"second--{name}.json"
        path.unlink() if document is None else path.write_text(document)
        if document is not None:
            os.utime(path, (time.time() - days * 86400,) * 2)
    keep(fetches, expect=[base])
    assert {name.partition(".")[0] for name in fetches.left()} == {"second--new"}


def test_an_old_lock_is_removed_unless_somebody_has_it(fetches, base):
    folder = partial.folder_of(fetches.root)
    for name in ("demo--base", "demo--held"):
        (folder / f"{name}.lock").touch()
        os.utime(folder / f"{name}.lock", (0, 0))
    with partial.locked_if_free(fetches.root, "demo--held"):
        keep(fetches, expect=[base])
    assert [path.name for path in folder.iterdir()] == ["demo--held.lock"]


def test_who_waited_for_a_lock_that_was_removed_takes_the_new_one(fetches):
    taken = threading.Event()

    def wait():
        with partial.locked(fetches.root, "demo--base", Stop()):
            assert (partial.folder_of(fetches.root) / "demo--base.lock").exists()
            taken.set()

    with partial.locked_if_free(fetches.root, "demo--base"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not taken.wait(0.2)
        partial.forget_lock(fetches.root, "demo--base")
    waiting.join(5)
    assert taken.is_set()


def test_what_a_dead_fetch_left_goes_with_its_file(fetches, base):
    (entry,) = fetches.entries()
    manifest.save(fetches.root, manifest.Manifest())
    with fetches.left_partial() as left:
        left.seal(sha256=entry.sha256, source_sha256="", path=entry.path)
    keep(fetches, remove=[base])
    assert fetches.visible() == [] and fetches.left() == []


def test_a_file_that_is_being_fetched_is_not_removed(fetches, base, server):
    fetches.target.write_bytes(b"damaged")
    with partial.locked_if_free(fetches.root, "demo--base") as free:
        assert free
        assert keep(fetches, remove=[base]).removed == ()
    assert fetches.target.exists()


def test_an_empty_volume_has_nothing(fetches):
    lost = {"name": "base", "path": "models/x.safetensors", "sha256": "0" * 64}
    assert keep(fetches, verify=True, expect=[lost]) == Kept(intact=0, lost=("base",))
    assert list(fetches.root.iterdir()) == []


def test_the_process_tells_what_it_found(fetches, base):
    process = fetches.upkeep(verify=True, expect=[base, base | {"name": "gone", "path": "models/gone"}])
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert fetches.told() == {
        "state": "Done",
        "intact": 1,
        "bad": [{"name": "gone", "reason": "Lost"}],
        "removed": [],
        "strays": [],
    }


@pytest.mark.parametrize("words", ["", "{", '{"bundle": "demo", "expect": [{"path": "../x"}]}'])
def test_a_malformed_request_is_permanent(fetches, words):
    process = fetches.start_with(module="sd_operator.fetch.upkeep", env={"SD_FETCH_UPKEEP": words})
    process.communicate(timeout=20)
    assert process.returncode == 2
    assert fetches.told()["reason"] == "InvalidRequest"


def test_a_manifest_that_cannot_be_read_is_told(fetches, base):
    (fetches.root / ".sd-operator/manifest.json").write_text("{")
    process = fetches.upkeep(expect=[base])
    process.communicate(timeout=20)
    assert process.returncode == 2 and "manifest.json" in fetches.told()["message"]


def test_a_long_report_is_cut_to_what_the_kubelet_keeps():
    names = tuple(f"file-{number:03d}-{'x' * 40}" for number in range(200))
    strays = tuple(Stray(name=name, path=f"models/{name}", sha256="0" * 64) for name in names)
    encoded = encode(Kept(intact=3, lost=names[:20], removed=names, strays=strays))
    told = json.loads(encoded)
    assert len(encoded) <= MAX_BYTES
    assert told["more"] is True and len(told["bad"]) == 20 and told["intact"] == 3
