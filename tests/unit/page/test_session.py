"""What one browser session has, the files of its pictures, and their removal."""

from pathlib import Path
from typing import Any

import pytest

from sd_page import tidying
from sd_page.reading import Made
from sd_page.session import SHELF, Session
from sd_page.tidying import File

PNG = b"\x89PNG\r\n and so on"


def test_a_jobs_pictures_are_files_with_the_very_bytes(tmp_path: Path) -> None:
    session = Session()
    taken = session.take("txt2img", "a1", [Made(PNG, "x\nSeed: 5, Size: 8x8"), Made(PNG, "")], tmp_path)
    assert [each.path.name for each in taken] == ["00000-5.png", "00001.png"]
    assert all(each.path.read_bytes() == PNG for each in taken)


def test_a_pictures_folder_cannot_be_guessed_and_is_the_owners_alone(tmp_path: Path) -> None:
    folders = {Session().take("txt2img", "a1", [Made(PNG, "")], tmp_path)[0].path.parent for _ in range(3)}
    assert len(folders) == 3
    assert all(len(folder.name) >= 20 and folder.stat().st_mode & 0o077 == 0 for folder in folders)


def test_the_gallery_has_the_newest_first_and_each_job_once(tmp_path: Path) -> None:
    session = Session()
    for job in ("a", "b", "a"):
        session.take("txt2img", job, [Made(PNG, job)], tmp_path)
    assert [each.infotext for each in session.shown[SHELF]] == ["a", "b"]


def test_the_picture_that_is_chosen_is_the_one_to_send(tmp_path: Path) -> None:
    session = Session()
    assert session.selected("txt2img") is None
    session.take("txt2img", "a", [Made(PNG, "one"), Made(PNG, "two")], tmp_path)
    session.chosen["txt2img"] = 1
    assert session.selected("txt2img").infotext == "two"  # type: ignore[union-attr]
    session.take("txt2img", "b", [Made(PNG, "three")], tmp_path)
    assert session.selected("txt2img").infotext == "three"  # type: ignore[union-attr]


def test_what_the_browser_keeps_leads_back_to_the_jobs() -> None:
    first, second = Session(), Session()
    first.begin("txt2img", "0a2a0001.01a217efe2c3")
    first.begin("img2img", "b2")
    second.adopt(first.stored())
    assert second.jobs == {"0a2a0001.01a217efe2c3": "txt2img", "b2": "img2img"}
    assert second.running == {}


def test_the_browser_keeps_the_latest() -> None:
    session = Session()
    for number in range(50):
        session.begin("txt2img", f"job{number}")
    assert session.stored()[-1] == ["job49", "txt2img"]
    assert len(session.stored()) == 20


@pytest.mark.parametrize(
    "stored",
    [None, "text", {"a": 1}, [1, 2], [["a"]], [["../../x", "txt2img"]], [["a/b?c", "txt2img"]], [[1, 2]]],
)
def test_what_a_browser_should_not_have_kept_is_passed_over(stored: Any) -> None:
    session = Session()
    session.adopt(stored)
    assert session.jobs == {}


@pytest.mark.parametrize(
    ("ages", "sizes", "gone"),
    [
        ([1, 2, 3], [10, 10, 10], []),
        ([1, 2, 101], [10, 10, 10], [2]),
        ([1, 2, 3], [40, 40, 40], [2]),
        ([3, 2, 1], [40, 40, 40], [0]),
        ([1], [101], [0]),
    ],
)
def test_too_old_ones_and_the_oldest_of_too_much_go(
    ages: list[int], sizes: list[int], gone: list[int]
) -> None:
    files = [
        File(Path(str(place)), size, 1000.0 - age)
        for place, (age, size) in enumerate(zip(ages, sizes, strict=True))
    ]
    left = tidying.too_many(files, now=1000.0, seconds=100.0, bytes=100)
    assert sorted(int(each.path.name) for each in left) == gone


def test_a_folder_goes_with_its_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.png").write_bytes(PNG)
    tidying.tidy(tmp_path)
    assert (tmp_path / "old" / "1.png").exists()
    monkeypatch.setattr(tidying.time, "time", lambda: 1e12)
    tidying.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []
