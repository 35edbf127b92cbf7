"""Saved pictures: names, numbers, whole or not there."""

import errno
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.images.saving import FOLDERS, OutputFolder

DAY = date(2030, 1, 31)


def save(folder, data, *, kind="txt2img", extension="png", seed=1, day=DAY):
    return folder.save(data, kind=kind, extension=extension, seed=seed, day=day)


def names(root):
    return sorted(path.name for path in (root / "txt2img-images" / "2030-01-31").iterdir())


def test_pictures_are_numbered_in_a_folder_a_day(tmp_path):
    folder = OutputFolder(tmp_path)
    path = save(folder, b"one", seed=7, day=DAY)
    save(folder, b"two", seed=8, day=DAY)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["00000-7.png", "00001-8.png"]
    assert save(folder, b"x", seed=1, day=date(2030, 2, 1)).name == "00000-1.png"


def test_numbers_go_on_after_the_highest_of_an_earlier_process_whatever_else_lies_there(tmp_path):
    save(OutputFolder(tmp_path), b"one", seed=7, day=DAY)
    day = tmp_path / "txt2img-images" / "2030-01-31"
    (day / "00041-5.png").write_bytes(b"")
    (day / "grid-99.png").write_bytes(b"")
    assert save(OutputFolder(tmp_path), b"two", seed=8, day=DAY).name == "00042-8.png"


def test_two_processes_on_one_folder_never_overwrite_each_other(tmp_path):
    ours, theirs = OutputFolder(tmp_path), OutputFolder(tmp_path)
    save(ours, b"1", seed=1, day=DAY)
    save(theirs, b"2", seed=1, day=DAY)
    save(ours, b"3", seed=1, day=DAY)
    contents = {p.read_bytes() for p in (tmp_path / "txt2img-images" / "2030-01-31").iterdir()}
    assert contents == {b"1", b"2", b"3"}


def test_many_threads_save_every_picture(tmp_path):
    folder = OutputFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(partial(_save, folder), range(40)))
    assert len(paths) == 40
    assert len(names(tmp_path)) == 40


def _save(folder, number):
    return save(folder, str(number).encode(), seed=1, day=DAY)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("txt2img", "txt2img-images/2030-01-31/00000-7.png"),
        ("img2img", "img2img-images/2030-01-31/00000-7.png"),
        ("extras", "extras-images/2030-01-31/00000-7.png"),
        ("txt2img-grid", "txt2img-grids/2030-01-31/grid-0000-7.png"),
        ("img2img-grid", "img2img-grids/2030-01-31/grid-0000-7.png"),
    ],
)
def test_each_kind_has_its_folder(tmp_path, kind, path):
    assert save(OutputFolder(tmp_path), b"x", kind=kind, seed=7) == tmp_path / path


def test_a_file_without_a_seed_has_a_number_alone_and_grids_are_counted_too(tmp_path):
    folder = OutputFolder(tmp_path)
    assert save(folder, b"x", kind="extras", seed=None, extension="webp").name == "00000.webp"
    assert save(folder, b"x", kind="txt2img-grid", seed=None).name == "grid-0000.png"
    assert save(OutputFolder(tmp_path), b"x", kind="txt2img-grid", seed=None).name == "grid-0001.png"


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"kind: '\.\./x'"):
        save(OutputFolder(tmp_path), b"x", kind="../x")


def test_sweeping_removes_days_that_are_over_in_every_folder(tmp_path):
    folder = OutputFolder(tmp_path, retention_days=2)
    days = [DAY - timedelta(days=age) for age in range(5)]
    for kind in FOLDERS:
        for day in days:
            save(folder, b"x", kind=kind, day=day)
    gone = folder.sweep(DAY)
    assert {path.name for path in gone} == {"2030-01-28", "2030-01-27"}
    assert len(gone) == 2 * len(FOLDERS)
    assert names(tmp_path) == ["00000-1.png"]
    assert not any(path.exists() for path in gone)


def test_sweeping_removes_nothing_that_is_not_a_day_of_ours(tmp_path):
    ours = tmp_path / "txt2img-images"
    elsewhere = tmp_path / "2000-01-01"
    for place in (
        ours / "mine",
        ours / "2000-1-1",
        ours / "20000101",
        elsewhere,
        tmp_path / "other" / "2000-01-01",
    ):
        place.mkdir(parents=True)
        (place / "kept.png").touch()
    (ours / "2000-01-02").write_text("a file")
    (ours / "2000-01-03").symlink_to(elsewhere, target_is_directory=True)
    old = ours / "2000-01-04"
    old.mkdir()
    (old / "link").symlink_to(elsewhere, target_is_directory=True)
    before = sorted(path for path in tmp_path.rglob("*") if old not in (path, *path.parents))
    assert OutputFolder(tmp_path, retention_days=1).sweep(DAY) == [old]
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_number_of_days_pictures_stay(tmp_path):
    folder = OutputFolder(tmp_path)
    path = save(folder, b"x", day=date(1999, 1, 1))
    assert folder.sweep(DAY) == []
    assert path.exists()


def test_there_is_nothing_to_sweep_before_the_first_picture(tmp_path):
    assert OutputFolder(tmp_path / "none", retention_days=1).sweep(DAY) == []


def test_a_folder_that_cannot_be_made_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "txt2img-images").write_text("in the way")
    with pytest.raises(OSError, match="txt2img-images"):
        save(OutputFolder(tmp_path), b"x", seed=1, day=DAY)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_volume_without_hard_links_keeps_pictures_apart_too(tmp_path, monkeypatch, code):
    def refuse(path, target):
        raise OSError(code, "no hard links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    ours, theirs = OutputFolder(tmp_path), OutputFolder(tmp_path)
    save(ours, b"1")
    save(theirs, b"2")
    save(ours, b"3")
    day = tmp_path / "txt2img-images" / "2030-01-31"
    assert [(day / name).read_bytes() for name in names(tmp_path)] == [b"1", b"2", b"3"]


def test_a_volume_that_fails_is_not_taken_for_one_without_hard_links(tmp_path, monkeypatch):
    def fail(path, target):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    with pytest.raises(OSError, match="broken"):
        save(OutputFolder(tmp_path), b"1")
    assert names(tmp_path) == []
