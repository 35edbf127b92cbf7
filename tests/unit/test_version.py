"""hack/version: sets the version wherever a person wrote it, a release candidate's too, and takes it back."""

import pathlib
import re
import shutil
import subprocess

import pytest

from hack import release

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = release.version_of(ROOT)
NEW = "9.8.7-rc.1"
#: Where people, and the programs that they give it to, read which version this is.
READ = (
    "pyproject.toml",
    "README*.md",
    "docs/*.md",
    "docs/zh/*.md",
    "examples",
    "charts/*/Chart.yaml",
    "charts/*/README.md*",
    "hack/version",
    "hack/*/README.md",
    *release.PACKAGES,
)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository of its own with these files."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *READ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def texts(tree: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text()
        for path in tree.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(tree).parts
    }


def set_to(tree: pathlib.Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tree / "hack/version", version], capture_output=True, text=True, check=False)


def test_no_place_keeps_the_version_before_and_all_of_them_take_it_back(tree: pathlib.Path) -> None:
    before = texts(tree)
    assert set_to(tree, NEW).returncode == 0
    after = texts(tree)
    old = re.compile(rf"(?<!\d)(?<!\d\.){re.escape(VERSION)}(?!\.?\d)")
    assert sum(len(old.findall(text)) for text in before.values()) > 40
    kept = [
        f"{name}: {line}" for name, text in after.items() for line in text.splitlines() if old.search(line)
    ]
    assert kept == []
    assert {said for _, said in release.versions(tree)} == {release.version_of(tree)} == {NEW}
    assert "`semver: 9.8.x`" in after["examples/gitops/flux/operator/chart.yaml"]
    assert set_to(tree, VERSION).returncode == 0
    assert texts(tree) == before


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3+abc", "1.2.3-", ""])
def test_what_is_no_version_is_refused_and_changes_nothing(tree: pathlib.Path, version: str) -> None:
    before = texts(tree)
    done = set_to(tree, version)
    assert done.returncode == 2
    assert f"hack/version: {version} is no version such as 1.2.3 or 1.2.3-rc.1" in done.stderr
    assert texts(tree) == before
