"""Which files the plugin `upscale` offers, what it calls them, and when it looks into them."""

import itertools
import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sd_plugin import shelves, weights
from sd_plugin.contract import ModuleDescription
from sd_plugin.plugins.upscale import gallery
from sd_plugin.plugins.upscale.gallery import FOLDERS, Gallery
from sd_plugin.shelves import Shelf


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are looked at anew each time; every file is an upscaler."""
    monkeypatch.setattr(shelves, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(gallery.networks, "load", lambda _: SimpleNamespace(factor=4))


def made(*roots: Path, files: tuple[str, ...] = ()) -> Gallery:
    for file in files:
        path = roots[0] / "models" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Gallery(Shelf(roots, FOLDERS, weights.ENDINGS))


def described(files: Gallery) -> list[ModuleDescription]:
    return [each.description for each in files]


def until_idle(files: Gallery) -> None:
    end = time.monotonic() + 10
    while files._looking is not None and files._looking.is_alive():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("files", "names", "labels"),
    [
        (
            ("ESRGAN/4x UltraSharp.pth", "ESRGAN/4x-UltraSharp.pth"),
            ["4x-ultrasharp", "4x-ultrasharp-2"],
            ["4x UltraSharp", "4x-UltraSharp"],
        ),
        (("ESRGAN/动漫.pth", "ESRGAN/照片.pth"), ["upscaler", "upscaler-2"], ["动漫", "照片"]),
        (("ESRGAN/x4.pth", "DAT/x4.pth"), ["x4", "x4-2"], ["x4", "x4 (2)"]),
        (("ESRGAN/x4.pth", "ESRGAN/x4.safetensors"), ["x4", "x4-2"], ["x4", "x4 (2)"]),
        (
            ("ESRGAN/!.pth", "ESRGAN/upscaler-2.pth", "ESRGAN/~.pth"),
            ["upscaler", "upscaler-2", "upscaler-3"],
            ["!", "upscaler-2", "~"],
        ),
        (
            (f"ESRGAN/{'a' * 70}.pth", f"ESRGAN/{'a' * 71}.pth"),
            ["a" * 63, f"{'a' * 61}-2"],
            ["a" * 70, "a" * 71],
        ),
    ],
)
def test_files_with_like_names_are_numbered(
    files: tuple[str, ...], names: list[str], labels: list[str], tmp_path: Path
) -> None:
    found = described(made(tmp_path, files=files))
    assert [each.name for each in found] == names
    assert [each.label for each in found] == labels


def test_of_one_file_on_two_volumes_the_first_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    made(second, files=("ESRGAN/x4.pth",))
    (only,) = made(first, second, files=("ESRGAN/x4.pth",))
    assert only._content[0].is_relative_to(first)  # type: ignore[attr-defined]


def test_what_is_numbered_or_left_out_is_in_the_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = made(tmp_path, files=("ESRGAN/X1.pth", *(f"ESRGAN/x{number}.pth" for number in range(130))))
    with caplog.at_level(logging.WARNING):
        assert len(described(files)) == 128
        described(files)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"{tmp_path}/models/ESRGAN/x1.pth: its module is called x1-2, as another file has its name",
        "there are 3 upscalers beyond the 128 that may be: they are left out",
    ]


def test_it_describes_itself_before_it_has_looked_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def load(_: Path) -> SimpleNamespace:
        may_end.wait(10)
        return SimpleNamespace(factor=4)

    monkeypatch.setattr(gallery.networks, "load", load)
    files = made(tmp_path, files=("ESRGAN/x4.pth",))
    (found,) = described(files)
    assert (found.available, found.reason) == (False, "x4.pth: it is being looked into; ask again shortly")
    may_end.set()
    until_idle(files)
    assert described(files)[0].available


def test_a_file_that_cannot_be_read_is_listed_and_tried_again_later_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def refuse(path: Path) -> SimpleNamespace:
        tries.append(time.monotonic())
        raise weights.ModuleUnavailable(f"{path.name}: cannot be read: Input/output error")

    monkeypatch.setattr(gallery.networks, "load", refuse)
    monkeypatch.setattr(gallery, "_SOON", 0.1)
    files = made(tmp_path, files=("ESRGAN/x4.pth",))
    end = time.monotonic() + 10
    while len(tries) < 4:
        described(files)
        assert time.monotonic() < end
        time.sleep(0.005)
    until_idle(files)
    (found,) = described(files)
    assert (found.available, found.reason) == (False, "x4.pth: cannot be read: Input/output error")
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True))
    assert len(caplog.records) == 1
