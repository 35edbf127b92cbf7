"""Files of another claim: only of that claim, and only files."""

import os

import pytest

from sd_operator.fetch import errors, sources
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Source
from tests.unit.operator.fetch.loopback import settings
from tests.unit.operator.unprivileged import unprivileged


@pytest.fixture
def mounts(tmp_path):
    (tmp_path / "sources/models/sub").mkdir(parents=True)
    (tmp_path / "sources/models/sub/a b.safetensors").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path / "sources"


def resolved(mounts, path, claim="models"):
    words = Source.model_validate({"volume": {"claimName": claim, "path": path}})
    return sources.resolve(words, wanted=None, client=None, settings=settings(sources=mounts))


def test_a_file_of_a_claim_is_found(mounts):
    found = resolved(mounts, "sub/a b.safetensors")
    assert found.local == mounts / "models/sub/a b.safetensors"
    assert (found.url, found.file_name) == ("", "a b.safetensors")
    assert found.identity == "volume:models/sub/a b.safetensors"


def test_links_within_the_claim_are_followed_to_the_file_itself(mounts):
    (mounts / "models/link").symlink_to("sub")
    assert resolved(mounts, "link/a b.safetensors").local == mounts / "models/sub/a b.safetensors"


def test_the_mount_itself_may_be_a_link(mounts):
    (mounts / "other").symlink_to(mounts / "models")
    found = resolved(mounts, "sub/a b.safetensors", claim="other")
    assert found.local == mounts / "models/sub/a b.safetensors"


def refused(mounts, path, claim="models"):
    with pytest.raises(FetchError) as caught:
        resolved(mounts, path, claim)
    return caught.value


@pytest.mark.parametrize("target", ["../../secret", "{root}/secret", "../other/x", "/etc/passwd"])
def test_a_link_out_of_the_claim_is_not_followed(mounts, target):
    (mounts / "other").mkdir()
    (mounts / "other/x").write_bytes(b"another claim's")
    (mounts / "models/file").symlink_to(target.format(root=mounts.parent))
    error = refused(mounts, "file")
    assert (error.reason, error.retryable) == (errors.SOURCE_REFUSED, False)
    assert "leads out of the claim" in error.message


def test_a_link_that_leads_in_a_circle(mounts):
    (mounts / "models/file").symlink_to("file")
    assert refused(mounts, "file").reason == errors.SOURCE_REFUSED


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_read(mounts, make):
    make(mounts / "models/thing")
    error = refused(mounts, "thing")
    assert error.reason == errors.SOURCE_REFUSED and "source.volume.path" in error.message


@pytest.mark.parametrize("path", ["nothing.safetensors", "sub/a b.safetensors/x"])
def test_a_file_that_is_not_there(mounts, path):
    error = refused(mounts, path)
    assert (error.reason, error.retryable) == (errors.NOT_FOUND, False)


def test_a_claim_that_is_not_mounted_may_be_later(mounts):
    error = refused(mounts, "x", claim="nothing")
    assert (error.reason, error.retryable) == (errors.VOLUME_UNREACHABLE, True)
    assert "claim nothing" in error.message


def test_a_file_that_may_not_be_read(mounts):
    with unprivileged(mounts.parent):
        assert resolved(mounts, "sub/a b.safetensors")
        (mounts / "models/sub/a b.safetensors").chmod(0)
        assert refused(mounts, "sub/a b.safetensors").reason == errors.FORBIDDEN
