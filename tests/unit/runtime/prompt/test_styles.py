from pathlib import Path

import pytest

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt.styles import Style, Styles

SHEET = """\
name,prompt,negative_prompt
film,"photo of {prompt}, 35mm","cartoon, {prompt}"
night,"at night, stars",
empty,,
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "styles.csv"
    path.write_text(SHEET)
    return path


def test_all_styles_are_told_in_the_order_of_the_file(path: Path) -> None:
    assert Styles([path]).all() == (
        Style("film", "photo of {prompt}, 35mm", "cartoon, {prompt}"),
        Style("night", "at night, stars", ""),
        Style("empty", "", ""),
    )


@pytest.mark.parametrize(
    ("prompts", "names", "expected"),
    [
        (("a cat", "dog"), [], ("a cat", "dog")),
        (("a cat", "dog"), ["None"], ("a cat", "dog")),
        (("a cat", "dog"), ["film"], ("photo of a cat, 35mm", "cartoon, dog")),
        (("a cat ", "dog"), ["night"], ("a cat, at night, stars", "dog")),
        (("", ""), ["night"], ("at night, stars", "")),
        (("a cat", ""), ["empty"], ("a cat", "")),
        (("a cat", ""), ["night", "film"], ("photo of a cat, at night, stars, 35mm", "cartoon, ")),
        (("a cat", ""), ["film", "night"], ("photo of a cat, 35mm, at night, stars", "cartoon,")),
    ],
)
def test_applying(path: Path, prompts: tuple[str, str], names: list[str], expected: tuple[str, str]) -> None:
    assert Styles([path]).apply(*prompts, names) == expected


def test_an_unknown_style_is_refused_with_those_there_are(path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"styles: 'nigth' .* allowed: empty, film, night"):
        Styles([path]).apply("", "", ["nigth"])
    with pytest.raises(UnsupportedError, match="there are none"):
        Styles([]).apply("", "", ["night"])


def test_a_file_is_read_again_when_it_changed_and_forgotten_when_it_went(path: Path) -> None:
    styles = Styles([path])
    assert len(styles.all()) == 3
    path.write_text(SHEET + "late,x,y\n")
    assert len(styles.all()) == 4
    path.unlink()
    assert styles.all() == ()


def test_of_two_files_with_one_name_the_last_counts(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    # With the mark that spreadsheets write, and the column of A1111's first releases.
    other.write_text("\ufeffname,text\nnight,dark\n", encoding="utf-8")
    assert Styles([path, other]).apply("a", "", ["night"]) == ("a, dark", "")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00name", b"", b"x,y\n1,2\n", b'name,prompt\n"' + b"x" * 200_000], ids=repr
)
def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_bytes(content)
    assert Styles([broken]).all() == ()


def test_what_is_no_file_is_left_out(path: Path, tmp_path: Path) -> None:
    assert len(Styles([tmp_path, tmp_path / "none.csv", path]).all()) == 3


def test_rows_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text("name,prompt,negative_prompt\n,a,b\nx,y,z,too,many\n")
    assert Styles([path]).all() == (Style("x", "y", "z"),)
