"""hack/previous: the tree it takes of a release has all that the release's own Containerfile copies."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTAINERFILE = "images/operator/Containerfile"
#: As of 0.1.0, whose image is not pared.
COPY_OF_LATER = "COPY images/pare /tmp/pare\n"
#: What the script starts, and a test leaves out.
STARTED = {
    "bin/buildah": 'echo "$@" >>"$SDO_CACHE/built"',
    "bin/umount": ":",
    "tree/hack/cluster": "[ $1 != which ] || echo here",
}


def copied(containerfile: str) -> list[str]:
    """What it copies of the tree, not of another stage."""
    lines = re.findall(r"^COPY (?!.*--from=)(.*)$", containerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1] if not source.startswith("--")]


def run(command: list[str], tree: pathlib.Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=tree, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """This tree's script and what a release may be built of, in no repository yet; it starts nothing real."""
    root = tmp_path / "tree"
    for part in ("charts", "crds", "hack/previous", "images", "modelfiles", "operator", "requirements"):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, root / part)
    for name, does in STARTED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    return root


def taken(tree: pathlib.Path) -> pathlib.Path:
    """The folder that the script makes of the tree as a release."""
    run(["git", "init", "-q", "-b", "main"], tree)
    run(["git", "add", "-A"], tree)
    object_ = run(["git", "write-tree"], tree)
    (tree / "hack/releases").write_text(f"0.0.1 {object_}\n")
    path = f"{tree.parent / 'bin'}:{os.environ['PATH']}"
    told = run(["hack/previous"], tree, SDO_CACHE=str(tree.parent / "cache"), PATH=path)
    version, folder, _ = told.split()
    assert version == "0.0.1"
    assert f"-f {folder}/{CONTAINERFILE} {folder}" in (tree.parent / "cache/built").read_text()
    return pathlib.Path(folder)


@pytest.mark.parametrize("pared", [True, False], ids=["as of now", "as of 0.1.0"])
def test_a_release_can_be_built_of_what_is_taken(tree: pathlib.Path, pared: bool) -> None:
    if not pared:
        text = (tree / CONTAINERFILE).read_text()
        assert COPY_OF_LATER in text
        (tree / CONTAINERFILE).write_text(text.replace(COPY_OF_LATER, ""))
        (tree / "images/pare").unlink(missing_ok=True)
    folder = taken(tree)
    wanted = copied((folder / CONTAINERFILE).read_text())
    assert {"requirements/operator.txt", "modelfiles/sd_modelfiles", "operator/sd_operator"} <= set(wanted)
    assert ("images/pare" in wanted) is pared
    assert [source for source in wanted if not (folder / source).exists()] == []
    assert (folder / "charts/sd-operator/Chart.yaml").exists() and list((folder / "crds").glob("*.yaml"))
