"""A file of another claim, and the small files that come along with one."""

import os

import pytest

from sd_operator.fetch import copying
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import SEGMENT_BYTES
from sd_operator.fetch.sources import Location

PATH = "models/Stable-diffusion/model.safetensors"
SOURCE = {"volume": {"claimName": "models", "path": "sub/model.safetensors"}}


@pytest.fixture
def claim(fetches, made):
    """A file on another claim."""
    path = fetches.root.parent / "sources/models/sub/model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(made.checkpoint(size=2 * SEGMENT_BYTES + 5))
    return path


def test_a_file_of_another_claim_is_copied(fetches, claim, made):
    found = fetches.run(source=SOURCE)
    assert (fetches.root / PATH).read_bytes() == claim.read_bytes()
    assert (found.path, found.sha256) == (PATH, made.sha256(claim.read_bytes()))
    assert found.source == "volume:models/sub/model.safetensors"
    # A copy: what becomes of the claim is no concern of the volume.
    assert (fetches.root / PATH).stat().st_nlink == 1 and fetches.left() == []


def test_a_copy_is_gone_on_with(fetches, claim):
    content, state = claim.read_bytes(), claim.stat()
    etag = f'"{state.st_ino}-{state.st_size}-{state.st_mtime_ns}"'
    identity = "volume:models/sub/model.safetensors"
    with fetches.left_partial(identity=identity, etag=etag, total=len(content)) as left:
        left.writer().write(0, content[:1_000_000])
    fetches.run(source=SOURCE)
    assert (fetches.root / PATH).read_bytes() == content
    assert fetches.counted("sdo_fetch_bytes_total") == len(content) - 1_000_000


def test_a_file_that_was_changed_is_copied_anew(fetches, claim, made):
    with fetches.left_partial(
        identity="volume:models/sub/model.safetensors", etag='"1-2-3"', total=claim.stat().st_size
    ) as left:
        left.writer().write(0, bytes(1_000_000))
    fetches.run(source=SOURCE)
    assert (fetches.root / PATH).read_bytes() == claim.read_bytes()


def test_a_wrong_file_is_refused_before_it_is_copied(fetches, claim):
    with pytest.raises(FetchError) as caught:
        fetches.run(source=SOURCE, family="SDXL")
    assert caught.value.reason == "FamilyMismatch"
    assert fetches.counted("sdo_fetch_bytes_total") == 0


def test_a_file_that_is_cut_is_told(fetches, claim):
    os.truncate(claim, 1_000_000)
    with pytest.raises(FetchError) as caught:
        fetches.run(source=SOURCE)
    assert (caught.value.reason, caught.value.retryable) == ("Truncated", True)


def test_a_file_that_is_not_there_is_told(fetches, claim):
    claim.unlink()
    with pytest.raises(FetchError) as caught:
        fetches.run(source=SOURCE)
    assert (caught.value.reason, caught.value.retryable) == ("NotFound", False)


def test_a_claim_is_a_mirror_as_good_as_any(fetches, server, answer, claim, made):
    server.otherwise = answer.reply(404)
    digest = made.sha256(claim.read_bytes())
    assert fetches.run(sources=[{"http": {"url": server.url}}, SOURCE], sha256=digest).sha256 == digest


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_took_the_place_of_a_file_is_not_read(claim, kind):
    location = Location(url="", identity="volume:models/x", file_name="x", local=claim)
    claim.rename(claim.with_name("moved"))
    if kind == "pipe":
        os.mkfifo(claim)
    elif kind == "folder":
        claim.mkdir()
    else:
        claim.symlink_to(claim.with_name("moved"))
    with pytest.raises(FetchError) as caught:
        copying.open_local(location, claim, None, etag=None)
    assert caught.value.reason in ("SourceRefused", "VolumeUnreachable")
