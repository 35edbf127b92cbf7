"""Saved pictures: names, numbers, whole or not there."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial

import pytest

from sd_runtime.images.saving import OutputFolder

DAY = date(2030, 1, 31)


def names(root):
    return sorted(path.name for path in (root / "txt2img-images" / "2030-01-31").iterdir())


def test_pictures_are_numbered_in_a_folder_a_day(tmp_path):
    folder = OutputFolder(tmp_path)
    path = folder.save(b"one", seed=7, day=DAY)
    folder.save(b"two", seed=8, day=DAY)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["00000-7.png", "00001-8.png"]
    assert folder.save(b"x", seed=1, day=date(2030, 2, 1)).name == "00000-1.png"


def test_numbers_go_on_after_the_highest_of_an_earlier_process_whatever_else_lies_there(tmp_path):
    OutputFolder(tmp_path).save(b"one", seed=7, day=DAY)
    day = tmp_path / "txt2img-images" / "2030-01-31"
    (day / "00041-5.png").write_bytes(b"")
    (day / "grid-99.png").write_bytes(b"")
    assert OutputFolder(tmp_path).save(b"two", seed=8, day=DAY).name == "00042-8.png"


def test_two_processes_on_one_folder_never_overwrite_each_other(tmp_path):
    ours, theirs = OutputFolder(tmp_path), OutputFolder(tmp_path)
    ours.save(b"1", seed=1, day=DAY)
    theirs.save(b"2", seed=1, day=DAY)
    ours.save(b"3", seed=1, day=DAY)
    contents = {p.read_bytes() for p in (tmp_path / "txt2img-images" / "2030-01-31").iterdir()}
    assert contents == {b"1", b"2", b"3"}


def test_many_threads_save_every_picture(tmp_path):
    folder = OutputFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(partial(_save, folder), range(40)))
    assert len(paths) == 40
    assert len(names(tmp_path)) == 40


def _save(folder, number):
    return folder.save(str(number).encode(), seed=1, day=DAY)


def test_a_folder_that_cannot_be_made_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "txt2img-images").write_text("in the way")
    with pytest.raises(OSError, match="txt2img-images"):
        OutputFolder(tmp_path).save(b"x", seed=1, day=DAY)
