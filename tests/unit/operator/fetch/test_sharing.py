"""Two files that want one path, and one file that is wanted at two."""

import errno
import os

import pytest

from sd_operator.fetch import sharing
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.stopping import Stop

PATH = "models/Stable-diffusion/model.safetensors"
COPY = "models/Stable-diffusion/copy.safetensors"


@pytest.fixture
def other(fetches):
    """Another bundle on the same volume."""
    return fetches.of(bundle="second")


def owners(fetches):
    return {entry.path: entry.owners for entry in fetches.entries()}


def test_other_bytes_at_a_taken_path_are_a_conflict_that_names_the_owner(fetches, other, server, made):
    fetches.run()
    kept = fetches.target.read_bytes()
    server.content = made.checkpoint()[:-1] + b"\xff"  # as long as the other
    with pytest.raises(FetchError) as caught:
        other.run(source=fetches.at("other/model.safetensors"))
    assert (caught.value.reason, caught.value.retryable) == ("PathConflict", False)
    assert "demo/base" in caught.value.message and "fileName" in caught.value.message
    assert fetches.target.read_bytes() == kept
    assert owners(fetches) == {PATH: ("demo/base",)} and fetches.left() == []


def test_a_conflict_is_seen_by_the_size_before_the_bytes(fetches, other, server, made):
    fetches.run()
    server.content = made.checkpoint(size=9_000_000)
    server.served.clear()
    server.requests.clear()
    with pytest.raises(FetchError) as caught:
        other.run(source=fetches.at("other/model.safetensors"))
    assert caught.value.reason == "PathConflict"
    assert sum(server.served) == 65536


def test_a_conflict_is_seen_by_the_sha256_before_any_request(fetches, other, server):
    fetches.run()
    server.requests.clear()
    with pytest.raises(FetchError) as caught:
        other.run(source=fetches.at("other/model.safetensors"), sha256="0" * 64)
    assert caught.value.reason == "PathConflict" and server.requests == []


def test_two_files_of_one_bundle_conflict_like_those_of_two(fetches, server, made):
    fetches.run()
    server.content = made.checkpoint(size=9000)
    with pytest.raises(FetchError) as caught:
        fetches.run(name="other", source=fetches.at("other/model.safetensors"))
    assert caught.value.reason == "PathConflict"


@pytest.mark.parametrize("known", [True, False])
def test_the_same_bytes_at_one_path_are_owned_by_both(fetches, other, server, made, known):
    fetches.run()
    server.requests.clear()
    changes = {"sha256": made.sha256(server.content)} if known else {}
    found = other.run(source=fetches.at("other/model.safetensors"), **changes)
    assert found.shared and (len(server.requests) == 0) == known
    assert owners(fetches) == {PATH: ("demo/base", "second/base")}
    assert fetches.left() == []


def test_the_same_source_is_not_downloaded_for_a_second_owner(fetches, other, server):
    fetches.run()
    server.requests.clear()
    assert other.run().shared
    assert server.requests == []
    assert owners(fetches) == {PATH: ("demo/base", "second/base")}


def test_an_owner_cannot_change_what_others_own_too(fetches, other, server, made):
    fetches.run()
    other.run()
    server.content = made.checkpoint(size=9000)
    with pytest.raises(FetchError) as caught:
        fetches.run(source=fetches.at("files/model.safetensors?version=2"))
    assert caught.value.reason == "PathConflict" and "second/base" in caught.value.message


@pytest.mark.parametrize("known", [True, False])
def test_the_same_bytes_at_another_path_are_stored_once(fetches, other, server, made, known):
    fetches.run()
    server.requests.clear()
    changes = {"sha256": made.sha256(server.content)} if known else {}
    found = other.run(source=fetches.at("other/copy.safetensors"), **changes)
    assert found.path == COPY and found.shared
    assert (fetches.root / COPY).samefile(fetches.target)
    assert (len(server.requests) == 0) == known
    assert owners(fetches) == {PATH: ("demo/base",), COPY: ("second/base",)}
    assert fetches.left() == []


def test_a_linked_file_is_known_again(fetches, other, server, made):
    fetches.run()
    copy = {"source": fetches.at("other/copy.safetensors"), "sha256": made.sha256(server.content)}
    assert other.run(**copy) == other.run(**copy)
    del copy["sha256"]
    server.requests.clear()
    assert other.run(**copy).shared and server.requests == []


def test_a_damaged_file_is_not_shared(fetches, other, server, made):
    fetches.run()
    fetches.target.write_bytes(bytes(len(server.content)))
    server.requests.clear()
    other.run(source=fetches.at("other/copy.safetensors"), sha256=made.sha256(server.content))
    assert (fetches.root / COPY).read_bytes() == server.content
    assert not (fetches.root / COPY).samefile(fetches.target)
    assert len(server.requests) == 1


def test_what_is_shared_must_be_of_the_wanted_type(fetches, other, server, made):
    fetches.run()
    lora = fetches.at("other/x.safetensors")
    with pytest.raises(FetchError) as caught:
        other.run(type="LoRA", source=lora, sha256=made.sha256(server.content))
    assert caught.value.reason == "TypeMismatch"


def test_a_file_replaced_at_one_path_stays_at_the_other(fetches, other, server, made):
    fetches.run()
    old = server.content
    other.run(source=fetches.at("other/copy.safetensors"))
    server.content = made.checkpoint(size=9000)
    fetches.run(source=fetches.at("files/model.safetensors?version=2"))
    assert (fetches.root / COPY).read_bytes() == old
    assert fetches.target.read_bytes() == server.content


def test_a_converted_file_is_shared_by_the_sha256_of_its_pickle(fetches, other, server, made):
    server.content = made.pickle()
    digest = made.sha256(server.content)
    scanning = fetches.of(policy="ScanPickle")
    first = scanning.run(source=fetches.at("files/model.ckpt"), sha256=digest)
    server.requests.clear()
    found = other.of(policy="ScanPickle").run(source=fetches.at("other/copy.ckpt"), sha256=digest)
    assert server.requests == [] and found.shared
    assert (found.sha256, found.source_sha256) == (first.sha256, digest)


def test_a_pickle_taken_unsafely_is_not_shared_with_whom_it_would_be_refused(fetches, other, server, made):
    server.content = made.pickle()
    digest = made.sha256(server.content)
    fetches.of(policy="Unsafe").run(source=fetches.at("files/model.ckpt"), sha256=digest)
    with pytest.raises(FetchError) as caught:
        other.run(source=fetches.at("other/x"), fileName="x.safetensors", sha256=digest)
    assert caught.value.reason == "FormatRefused"


def refusing(number):
    def link(_source, _target):
        raise OSError(number, os.strerror(number))

    return link


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_volume_without_hard_links_keeps_copies(fetches, number):
    twin = fetches.root / "twin"
    twin.write_bytes(b"x")
    assert sharing.linked(fetches.root, "demo--base", twin, link=refusing(number)) is None


def test_a_volume_that_fails_is_not_one_without_links(fetches):
    with pytest.raises(OSError):
        sharing.linked(fetches.root, "demo--base", fetches.root, link=refusing(errno.EIO))


def test_a_name_of_a_file_takes_the_place_of_another_name_of_it(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x")
    other.hardlink_to(one)
    sharing.replace(one, other)
    assert not one.exists() and other.read_bytes() == b"x"


def test_a_stop_ends_the_search_for_a_twin(fetches, other, server, made):
    class Stopped(Stop):
        @property
        def requested(self):
            return True

        def check(self):
            raise FetchError("Interrupted", "", retryable=True)

    fetches.run()
    with pytest.raises(FetchError) as caught:
        other.run(
            stop=Stopped(),
            source=fetches.at("other/copy.safetensors"),
            sha256=made.sha256(server.content),
        )
    assert caught.value.reason == "Interrupted"
