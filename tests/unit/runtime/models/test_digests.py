import hashlib
import json
import os

import pytest

from sd_runtime.errors import CheckpointUnavailable
from sd_runtime.models import digests
from sd_runtime.models.digests import DigestCache, key_of

BYTES = b"header" + b"weights" * 300_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BYTES)
    return path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_that_of_the_bytes(file):
    assert DigestCache().compute(file) == sha256(BYTES)


def test_a_digest_may_leave_out_the_beginning(file):
    cache = DigestCache()
    assert cache.compute(file, start=6) == sha256(BYTES[6:])
    assert cache.compute(file) == sha256(BYTES)


def test_a_known_file_is_not_read_again(file):
    cache = DigestCache()
    cache.put(key_of(file.stat()), "remembered")
    assert cache.compute(file) == "remembered"


def test_a_changed_file_is(file):
    cache = DigestCache()
    cache.compute(file)
    file.write_bytes(BYTES + b"more")
    assert cache.compute(file) == sha256(BYTES + b"more")


def test_digests_outlive_the_process(file, tmp_path):
    DigestCache(tmp_path / "cache" / "digests.json").compute(file)
    assert DigestCache(tmp_path / "cache" / "digests.json").get(key_of(file.stat())) == sha256(BYTES)


def test_two_processes_keep_each_others_digests(tmp_path):
    path = tmp_path / "digests.json"
    first, second = DigestCache(path), DigestCache(path)
    first.put((1, 1, 1, 1), "one")
    second.put((2, 2, 2, 2), "two")
    third = DigestCache(path)
    assert (third.get((1, 1, 1, 1)), third.get((2, 2, 2, 2))) == ("one", "two")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\0"])
def test_a_broken_cache_costs_only_time(file, tmp_path, content):
    path = tmp_path / "digests.json"
    path.write_text(content)
    assert DigestCache(path).compute(file) == sha256(BYTES)
    assert json.loads(path.read_text())


def test_a_cache_that_cannot_be_written_costs_only_time(file, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    assert DigestCache(tmp_path / "taken" / "digests.json").compute(file) == sha256(BYTES)


def test_the_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "MAX_KNOWN", 3)
    cache = DigestCache(tmp_path / "digests.json")
    for number in range(10):
        cache.put((number, 0, 0, 0), str(number))
    assert list(json.loads((tmp_path / "digests.json").read_text()).values()) == ["7", "8", "9"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointUnavailable, match=r"^absent: cannot be read: No such file"):
        DigestCache().compute(tmp_path / "absent")


def test_the_digest_of_parts_is_what_sha256sum_writes():
    listed = b"%s  unet/b.safetensors\n%s  vae/a.safetensors\n" % (b"1" * 64, b"2" * 64)
    found = digests.digest_of_parts({"vae/a.safetensors": "2" * 64, "unet/b.safetensors": "1" * 64})
    assert found == sha256(listed)


def test_a_folder_counts_its_weights_alone(tmp_path):
    for path in ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(os.urandom(10))
    before = DigestCache().compute_folder(tmp_path)
    (tmp_path / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"other")
    assert DigestCache().compute_folder(tmp_path) == before
