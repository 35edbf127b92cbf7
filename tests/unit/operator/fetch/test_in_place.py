"""What a fetch does about a file that already lies where its own should go."""

import pytest

from sd_modelfiles import manifest
from sd_operator.fetch.errors import FetchError


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


def test_a_manifest_that_cannot_be_read_is_told(fetches):
    fetches.run()
    manifest.path_in(fetches.root).write_text("{")
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "VolumeError" and "manifest.json" in caught.value.message


def test_a_fetch_that_died_before_its_manifest_entry_is_completed(fetches, server, made):
    first = fetches.run()
    manifest.path_in(fetches.root).unlink()
    with fetches.left_partial() as left:
        left.seal(sha256=made.sha256(server.content), source_sha256="")
    server.requests.clear()
    assert fetches.run() == first
    assert server.requests == [] and fetches.left() == []


def test_a_path_taken_while_the_file_was_fetched_is_a_conflict(fetches, server, answer):
    def serve_and_take(handler):
        answer.serve()(handler)
        fetches.target.parent.mkdir(parents=True)
        fetches.target.write_bytes(b"another")

    server.script.append(serve_and_take)
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "PathConflict"
    assert fetches.target.read_bytes() == b"another"


def test_another_place_of_the_type_is_another_file(fetches, server):
    """The bundle's file was of another type before: what lies there is none of this fetch's."""
    fetches.run()
    server.requests.clear()
    with pytest.raises(FetchError) as caught:
        fetches.run(type="LoRA")
    assert caught.value.reason == "TypeMismatch" and len(server.requests) == 1
    assert fetches.target.exists()
