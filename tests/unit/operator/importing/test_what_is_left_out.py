"""What is not in a bundle is told, line by line; and what makes it none."""

import hashlib
import itertools
import os
from pathlib import Path

import pytest
from import_folders import LORA, VAE, Folder, Run

from sd_operator.bundle.__main__ import main
from sd_operator.bundle.importing import hashing
from tests.unit.operator.unprivileged import unprivileged

# --- what is left out


def test_equal_files_are_taken_once(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/VAE/a.safetensors", VAE)
    folder.bytes("models/Stable-diffusion/a.vae.safetensors", path.read_bytes())
    folder.bytes("models/Stable-diffusion/0.safetensors", path.read_bytes())
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.vae.safetensors"]
    for double in ("models/VAE/a.safetensors", "models/Stable-diffusion/0.safetensors"):
        assert outcome.line(double).endswith("the same file as models/Stable-diffusion/a.vae.safetensors")


def test_files_that_are_no_models_are_told(folder: Folder, run: Run) -> None:
    good = folder.safetensors("models/Lora/good.safetensors", LORA)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"
    contents = {
        "empty.safetensors": b"",
        "pointer.safetensors": pointer,
        "page.safetensors": b"<!DOCTYPE html><html>",
        "cut.safetensors": good.read_bytes()[:-7],
        "head.safetensors": good.read_bytes()[:40],
        "archive.zip": b"PK",
        "noise.bin": bytes(range(1, 200)),
        "unfinished.safetensors.part": good.read_bytes(),
        "going.safetensors.aria2": b"x",
    }
    for name, content in contents.items():
        folder.bytes(f"models/Lora/{name}", content)
    outcome = run()
    assert list(outcome.types) == ["models/Lora/good.safetensors"]
    for name in contents:
        assert outcome.line(f"models/Lora/{name}").startswith("left out: ")
    assert outcome.line("models/Lora/empty.safetensors").endswith("is empty")
    assert "Git LFS" in outcome.line("models/Lora/pointer.safetensors")
    assert "unfinished download" in outcome.line("models/Lora/unfinished.safetensors.part")
    assert outcome.err.endswith(f"1 file in 1 bundle, {len(contents)} left out\n")


def test_what_lies_beside_models_needs_no_word(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    for name in (
        "a.civitai.info",
        "a.preview.png",
        "a.json",
        "a.txt",
        "Put Lora files here.txt",
        ".DS_Store",
    ):
        folder.bytes(f"models/Lora/{name}", b"x")
    folder.safetensors("models/Lora/.trash/b.safetensors", LORA)
    folder.safetensors("models/Lora/.hidden.safetensors", LORA)
    outcome = run()
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert outcome.err == "1 file in 1 bundle, 0 left out\n"


def test_links_are_followed_inside_the_folder_only(folder: Folder, run: Run) -> None:
    outside = folder.root.parent / "outside"
    outside.mkdir()
    (outside / "x.safetensors").write_bytes(b"x")
    folder.safetensors("models/Lora/real.safetensors", LORA)
    folder.safetensors("store/blobs/abc123", LORA)
    folder.safetensors("store/more/inner.safetensors", LORA)
    folder.link("models/Lora/by link.safetensors", folder.root / "store/blobs/abc123")
    folder.link("models/Lora/again.safetensors", "real.safetensors")
    folder.link("models/Lora/more", "../../store/more")
    folder.link("models/Lora/loop", "..")
    folder.link("models/Lora/self.safetensors", "self.safetensors")
    folder.link("models/Lora/broken.safetensors", "nowhere")
    folder.link("models/Lora/out.safetensors", outside / "x.safetensors")
    folder.link("models/VAE", outside)
    outcome = run()
    assert outcome.file_names == {
        "models/Lora/real.safetensors": None,
        "store/blobs/abc123": "by link.safetensors",
        "store/more/inner.safetensors": None,
    }
    assert "taken as such" in outcome.line("models/Lora/again.safetensors")
    assert "leads to itself" in outcome.line("models/Lora/self.safetensors")
    assert "a folder that it lies in" in outcome.line("models/Lora/loop")
    assert "broken link" in outcome.line("models/Lora/broken.safetensors")
    assert "outside" in outcome.line("models/Lora/out.safetensors")
    assert "outside" in outcome.line("models/VAE")


def test_what_cannot_be_opened_is_told_and_waits_for_nobody(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    os.mkfifo(folder.root / "models/Lora/pipe.safetensors")
    (folder.root / "models/Lora/folder.safetensors").mkdir()
    outcome = run()
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "no regular file" in outcome.line("models/Lora/pipe.safetensors")


def test_what_may_not_be_read_is_told(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    file = folder.safetensors("models/Lora/b.safetensors", LORA)
    inside = folder.safetensors("models/VAE/c.safetensors", VAE).parent
    with unprivileged(folder.root):
        file.chmod(0)
        inside.chmod(0)
        outcome = run()
        inside.chmod(0o700)
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "cannot be read" in outcome.line("models/Lora/b.safetensors")
    assert "cannot be read" in outcome.line("models/VAE")


def test_a_path_that_the_api_refuses_is_left_out(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    folder.safetensors("models/Lora/new\nline.safetensors", LORA)
    undecodable = os.fsdecode(b"models/Lora/latin\xe9.safetensors")
    folder._write(
        undecodable, lambda path: path.write_bytes((folder.root / "models/Lora/a.safetensors").read_bytes())
    )
    outcome = run("--no-hash")
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "path" in outcome.line("models/Lora/new\\nline.safetensors")
    assert outcome.line("models/Lora/latin\\udce9.safetensors").startswith("left out: ")


# --- hashing


def test_hashing_tells_how_far_it_is_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10 * 1024**2))
    lines: list[str] = []
    ticks = itertools.count(0, 6)
    progress = hashing.Progress(2 * 1024**3, lines.append, clock=lambda: next(ticks))
    digest = hashing.sha256(path, progress, expected_size=10 * 1024**2)
    assert digest == hashlib.sha256(bytes(10 * 1024**2)).hexdigest()
    assert lines == ["hashing: 0.0 of 2.0 GiB"]


def test_a_file_that_grows_while_it_is_hashed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    def grow() -> float:
        with path.open("ab") as file:
            file.write(b"6")
        return 0

    progress = hashing.Progress(5, print, clock=grow)
    with pytest.raises(hashing.Changed):
        hashing.sha256(path, progress, expected_size=5)


# --- when there is nothing to print


def test_a_folder_that_is_not_there_is_an_error(folder: Folder, run: Run) -> None:
    outcome = run(of=folder.root / "missing")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {folder.root}/missing: No such file or directory\n"


def test_a_file_instead_of_a_folder_is_an_error(folder: Folder, run: Run) -> None:
    outcome = run(of=folder.bytes("file", b""))
    assert outcome.code == 2
    assert outcome.err.endswith("/file: is not a folder\n")


def test_a_folder_without_models_is_an_error(folder: Folder, run: Run) -> None:
    folder.bytes("models/Lora/a.safetensors", b"")
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert "error: " in outcome.err
    assert "holds no file that a ModelBundle can have" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--claim", "Old_Models"], "'Old_Models' is no name of a PersistentVolumeClaim"),
        (["--claim", "c", "--name=-x"], "'-x' must be at most 59 lower-case letters"),
        (["--claim", "c", "--name", "x" * 60], "must be at most 59 lower-case letters"),
        (["--claim", "c", "--prefix", "a/../b"], "'a/../b' must stay on the volume"),
        ([], "required: --claim"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
