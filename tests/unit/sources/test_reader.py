"""The reader of the fault table sees what a careless writer shows."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.fetching.reader import Reader

WHOLE = bytes(4096)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / ".sd-operator").mkdir()
    (tmp_path / "models").mkdir()
    reader = Reader(tmp_path)
    reader.whole.add(hashlib.sha256(WHOLE).hexdigest())
    reader.start()
    yield reader
    reader.stop()


def looked(reader: Reader) -> None:
    before = reader.looks
    while reader.looks < before + 2:
        time.sleep(0.001)


def test_a_file_that_comes_whole_is_no_stranger(reader: Reader, tmp_path: Path) -> None:
    hidden = tmp_path / ".sd-operator/part"
    hidden.write_bytes(WHOLE)
    hidden.rename(tmp_path / "models/file")
    looked(reader)
    assert list(reader.seen) == ["models/file"]
    assert not reader.strangers()
    assert not reader.wrong


def test_a_file_that_grows_in_place_is_seen(reader: Reader, tmp_path: Path) -> None:
    with (tmp_path / "models/file").open("wb") as file:
        file.write(WHOLE[:1000])
        file.flush()
        looked(reader)
        file.write(WHOLE[1000:])
    looked(reader)
    assert reader.strangers()


@pytest.mark.parametrize("text", ["{", '{"files": [{"path": "models/file", "size": 1}]}'])
def test_a_manifest_that_is_cut_or_ahead_of_its_files_is_seen(
    reader: Reader, tmp_path: Path, text: str
) -> None:
    (tmp_path / ".sd-operator/manifest.json").write_text(text)
    looked(reader)
    assert reader.wrong
