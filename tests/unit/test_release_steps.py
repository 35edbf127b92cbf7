"""The steps of a release: what `make release` does in which order, and what CONTRIBUTING.md tells to do."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: What `make unit` tells its recipes is not for another Makefile's.
OUTSIDE_OF_MAKE = {
    key: value
    for key, value in os.environ.items()
    if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "REVISION")
}


def git(root: pathlib.Path, *arguments: str) -> str:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def recipes(tmp_path: pathlib.Path) -> pathlib.Path:
    """The Makefile in a repository of its own, where what it starts only says so in a file."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, does in {
        "images/build": 'echo "$REVISION" >>revisions',
        "images/sbom": ":",
        ".venv/bin/python": "[ ! -e refused ]",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/dev.txt").touch()
    os.utime(tmp_path / "requirements/dev.txt", (0, 0))
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "as it is")
    return tmp_path


def make(target: str, root: pathlib.Path) -> int:
    command = ["make", "-s", target]
    return subprocess.run(command, cwd=root, env=OUTSIDE_OF_MAKE, capture_output=True, check=False).returncode


def test_its_images_say_the_commit(recipes: pathlib.Path) -> None:
    """`make release` builds them; whatever else builds images leaves the revision empty."""
    for target in ("release", "images"):
        assert make(target, recipes) == 0
    told = (recipes / "revisions").read_text().splitlines()
    assert told == [git(recipes, "rev-parse", "HEAD"), ""]


def test_what_is_refused_builds_no_images(recipes: pathlib.Path) -> None:
    (recipes / "refused").touch()
    assert make("release", recipes) != 0
    assert not (recipes / "revisions").exists()


def test_whoever_sets_the_version_is_told_to_generate_from_it() -> None:
    steps = re.split(
        r"^\d+\. ", (ROOT / "CONTRIBUTING.md").read_text().partition("## A release")[2], flags=re.M
    )
    # `$(hack/version)` only reads it.
    setting = [step for step in steps if re.search(r"(?<!\$\()hack/version", step)]
    assert len(setting) == 2
    assert all("make charts manifests docs" in step for step in setting)
