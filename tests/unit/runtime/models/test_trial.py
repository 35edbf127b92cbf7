"""A file is judged by its bytes before anything is given up for it; without the device, and without torch."""

import hashlib
import os

import pytest

from sd_runtime.errors import Cancelled, CheckpointUnavailable
from sd_runtime.models.trial import Trial

BYTES = b"weights" * 500_000
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BYTES)
    return path


@pytest.mark.parametrize("wanted", [SHA256, None])
def test_the_wished_bytes_are_worth_a_load(file, wanted):
    Trial(file, wanted).demand()


def test_a_missing_file_is_not_and_the_sentence_is_that_of_the_loader(file):
    file.unlink()
    with pytest.raises(CheckpointUnavailable, match=r"^a\.safetensors: cannot be read: No such file"):
        Trial(file, SHA256).demand()


def test_other_bytes_are_not(file):
    with pytest.raises(CheckpointUnavailable, match=f"its bytes is {SHA256}, and {'0' * 64} is wanted"):
        Trial(file, "0" * 64).demand()


def test_a_file_with_other_bytes_is_read_once_until_it_changes(file):
    looks = []

    def look():
        looks.append(1)
        return False

    trial = Trial(file, SHA256)
    file.write_bytes(b"z" * len(BYTES))
    for _ in range(3):
        with pytest.raises(CheckpointUnavailable):
            trial.demand(look)
    assert len(looks) == -(-len(BYTES) // (1 << 20))
    again = file.with_name("again")
    again.write_bytes(BYTES)
    again.replace(file)
    trial.demand(look)


def test_the_wished_bytes_are_read_each_time_as_that_may_fail_the_next_time(file):
    trial = Trial(file, SHA256)
    trial.demand()
    with pytest.raises(Cancelled):
        trial.demand(lambda: True)


def test_it_ends_soon_when_nobody_waits_for_it_any_more(tmp_path):
    endless = tmp_path / "endless"
    endless.touch()
    os.truncate(endless, 1 << 40)
    with pytest.raises(Cancelled):
        Trial(endless, SHA256).demand(lambda: True)
