"""What a fetch does about a file that already lies where its own should go."""

import json
from dataclasses import asdict

import pytest

from sd_modelfiles import manifest
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.partial import Partial


@pytest.fixture(autouse=True)
def folder(fetches):
    """Where a test puts what an earlier fetch left."""
    fetches.part.parent.mkdir(parents=True)


def test_a_whole_file_is_hashed_and_not_fetched_again(fetches, server):
    first = fetches.run()
    server.requests.clear()
    written = manifest.path_in(fetches.root).stat().st_mtime_ns
    assert fetches.run() == first
    assert server.requests == []
    assert manifest.path_in(fetches.root).stat().st_mtime_ns == written


def test_a_damaged_file_is_fetched_again(fetches, server):
    fetches.run()
    damaged = bytearray(server.content)
    damaged[-1] ^= 1
    fetches.target.write_bytes(damaged)
    fetches.run()
    assert fetches.target.read_bytes() == server.content


def test_a_removed_file_is_fetched_again(fetches, server):
    fetches.run()
    fetches.target.unlink()
    fetches.run()
    assert fetches.target.read_bytes() == server.content


def test_a_new_source_replaces_the_file_of_the_same_name(fetches, server, made):
    fetches.run()
    server.content = made.checkpoint(size=9000)
    found = fetches.run(source={"http": {"url": f"{server.url}?version=2"}})
    assert found.sha256 == made.sha256(server.content)
    (entry,) = fetches.entries()
    assert entry.sha256 == found.sha256
    assert "version=2" not in entry.source and entry.source.startswith(server.url + "#query-")


def test_the_wanted_hash_makes_any_source_the_same_file(fetches, server, made):
    fetches.run()
    server.requests.clear()
    fetches.run(
        source={"http": {"url": f"{server.address}/mirror/model.safetensors"}},
        sha256=made.sha256(server.content),
    )
    assert server.requests == []
    assert fetches.entries()[0].source == server.url  # where the bytes did come from


def test_the_family_of_a_file_in_place_is_checked_too(fetches):
    fetches.run()
    with pytest.raises(FetchError) as caught:
        fetches.run(family="SDXL")
    assert caught.value.reason == "FamilyMismatch"
    assert fetches.target.exists()


def test_another_file_at_the_path_is_a_conflict_that_names_both(fetches, server, made):
    fetches.run()
    kept = fetches.target.read_bytes()
    server.content = made.checkpoint(size=9000)
    with pytest.raises(FetchError) as caught:
        fetches.run(name="other", source={"http": {"url": f"{server.address}/other/model.safetensors"}})
    assert (caught.value.reason, caught.value.retryable) == ("PathConflict", False)
    assert "fetched as base" in caught.value.message and "file other" in caught.value.message
    assert fetches.target.read_bytes() == kept


def test_the_same_file_under_a_new_name_is_taken_over(fetches, server):
    fetches.run()
    server.requests.clear()
    fetches.run(name="renamed")
    assert server.requests == []
    assert [entry.name for entry in fetches.entries()] == ["renamed"]


def test_a_path_taken_while_the_file_was_fetched_is_a_conflict(fetches, server):
    # Its length is not told, so the fetch is over only when the connection is.
    def serve_and_close(handler):
        handler.head(200, {"Connection": "close"})
        handler.body(server.content)
        fetches.target.parent.mkdir(parents=True)
        fetches.target.write_bytes(b"another")
        handler.close_connection = True

    server.script.append(serve_and_close)
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "PathConflict"
    assert fetches.target.read_bytes() == b"another"


def test_a_file_of_the_users_own_is_never_overwritten(fetches):
    fetches.target.parent.mkdir(parents=True)
    fetches.target.write_bytes(b"mine")
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "PathConflict" and "not fetched by a bundle" in caught.value.message
    assert fetches.target.read_bytes() == b"mine"


def test_a_file_of_the_users_own_is_taken_when_it_is_the_wanted_one(fetches, server, made):
    fetches.target.parent.mkdir(parents=True)
    fetches.target.write_bytes(server.content)
    fetches.run(sha256=made.sha256(server.content))
    assert server.requests == []
    assert len(fetches.entries()) == 1


def test_a_fetch_that_died_before_its_manifest_entry_is_completed(fetches, server):
    first = fetches.run()
    manifest.path_in(fetches.root).unlink()
    with Partial(fetches.root, "base", server.url) as left:
        left.begin(etag='"one"', version=None)
        left.write(server.content)
        left.move_to(fetches.target)
    server.requests.clear()
    assert fetches.run() == first
    assert server.requests == [] and fetches.left() == []


def test_a_whole_partial_file_needs_no_request(fetches, server):
    with Partial(fetches.root, "base", server.url) as left:
        left.begin(etag='"one"', version=None)
        left.write(server.content)
    fetches.run()
    assert server.requests == []
    assert fetches.target.read_bytes() == server.content


def test_a_partial_file_of_another_source_is_not_gone_on_with(fetches, server):
    with Partial(fetches.root, "base", "https://elsewhere/model.safetensors") as left:
        left.begin(etag='"one"', version=None)
        left.write(b"x" * 1000)
    fetches.run()
    assert "Range" not in server.requests[0][1]
    assert fetches.target.read_bytes() == server.content


def test_after_a_crash_of_the_node_only_synced_bytes_are_believed(fetches, server):
    with Partial(fetches.root, "base", server.url) as left:
        left.begin(etag='"one"', version=None)
        left.write(server.content[:1000])
        left.sync()
        left.write(b"\0" * 500)  # what a crash makes of bytes that were not synced
        notes = left.notes
    path = fetches.part.with_suffix(".json")
    path.write_text(json.dumps(asdict(notes) | {"boot_id": "another boot"}))
    fetches.run()
    assert server.requests[0][1]["Range"] == "bytes=1000-"
    assert fetches.target.read_bytes() == server.content


@pytest.mark.parametrize("text", ["", "{", "[]", '{"identity": 1, "more": 2}'])
def test_notes_that_cannot_be_read_cost_the_download_and_no_more(fetches, server, text):
    fetches.part.write_bytes(b"x" * 100)
    fetches.part.with_suffix(".json").write_text(text)
    fetches.run()
    assert fetches.target.read_bytes() == server.content


def test_a_manifest_that_cannot_be_read_is_told(fetches):
    fetches.run()
    manifest.path_in(fetches.root).write_text("{")
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "VolumeError" and "manifest.json" in caught.value.message
