"""Which files are found below the roots."""

from pathlib import Path

import pytest

from sd_plugin import shelves
from sd_plugin.shelves import Shelf


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "_FRESH_SECONDS", 0.0)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_files_of_all_folders_are_listed_the_earlier_root_s_first(tmp_path: Path) -> None:
    put(tmp_path / "b", "models/ESRGAN/x.pth", "models/DAT/y.PT")
    put(tmp_path / "a", "models/ESRGAN/deep/z.pth", "models/ESRGAN/note.txt", "models/ESRGAN/.hidden.pth")
    roots = (tmp_path / "b", tmp_path / "a", tmp_path / "not-there")
    found = Shelf(roots, ("models/ESRGAN", "models/DAT"), (".pth", ".pt")).files()
    assert [each.name for each in found] == ["x.pth", "y.PT", "deep/z.pth"]


def test_the_folder_models_may_itself_be_the_root(tmp_path: Path) -> None:
    put(tmp_path, "ESRGAN/x.pth")
    assert Shelf((tmp_path,), ("models/ESRGAN",), (".pth",)).find("x.pth") is not None


def test_names_are_found_in_the_order_of_preference_whatever_their_case(tmp_path: Path) -> None:
    put(tmp_path, "models/A/Net.pth", "models/A/net.safetensors")
    shelf = Shelf((tmp_path,), ("models/A",), (".pth", ".safetensors"))
    found = shelf.find("net.safetensors", "net.pth")
    assert found is not None
    assert found.name == "net.safetensors"
    (tmp_path / "models/A/net.safetensors").unlink()
    found = shelf.find("net.safetensors", "net.pth")
    assert found is not None
    assert found.name == "Net.pth"


def test_another_content_is_another_key(tmp_path: Path) -> None:
    put(tmp_path, "models/A/x.pth")
    shelf = Shelf((tmp_path,), ("models/A",), (".pth",))
    (before,) = shelf.files()
    (tmp_path / "new").write_text("something else")
    (tmp_path / "new").replace(tmp_path / "models/A/x.pth")
    (after,) = shelf.files()
    assert before.key != after.key


def test_links_that_lead_nowhere_or_in_circles_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path, "models/A/x.pth")
    (tmp_path / "models/A/gone.pth").symlink_to(tmp_path / "nowhere")
    (tmp_path / "models/A/round").symlink_to(tmp_path / "models/A")
    found = Shelf((tmp_path,), ("models/A",), (".pth",)).files()
    assert "gone.pth" not in {each.name for each in found}
    assert len(found) <= 5
