"""`make release`: the same bytes twice, everything in it, and no release that is not what it says."""

import datetime
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hack import release

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: What a release is made from.
PARTS = (
    "charts",
    "kustomize",
    "pyproject.toml",
    "CHANGELOG.md",
    "hack/releases",
    "hack/go-tool",
    "hack/go-module",
    "examples/gitops/argocd",
    *release.PACKAGES,
)
VERSION = release.version_of(ROOT)
SECTION = f"## {VERSION} (2026-01-02)\n\n- Something new.\n\n"


def git(root: pathlib.Path, *arguments: str) -> str:
    who = {
        f"GIT_{role}_{what}": "nobody@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    when = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
    done = subprocess.run(
        ["git", "-c", "commit.gpgsign=false", *arguments],
        cwd=root,
        env=os.environ | who | when,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository of its own with what a release is made from, whose changelog has this version."""
    root = tmp_path / "tree"
    for part in PARTS:
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part)
        else:
            shutil.copy(ROOT / part, root / part)
    changelog = (root / "CHANGELOG.md").read_text()
    if release.notes(root, VERSION) is None:
        (root / "CHANGELOG.md").write_text(changelog.replace("## 0.1.0", f"{SECTION}## 0.1.0", 1))
    git(root, "init", "-q", "-b", "main")
    commit(root)
    return root


def commit(root: pathlib.Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "as it is")


def made(root: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    """The release's files by name, with their digests."""
    release.make(root, folder)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_release_is_whole_and_the_same_bytes_twice(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = made(tree, tmp_path / "first")
    later = tmp_path / "later"
    # Another day, another clone: nothing of either is in the files.
    os.utime(tree / "charts/sd-operator/values.yaml", (0, 0))
    assert made(tree, later) == first
    names = {f"charts/{chart.name}-{VERSION}.tgz" for chart in release.charts(tree)}
    others = {
        "index.yaml",
        "crds.yaml",
        "install.yaml",
        "argocd-cm.yaml",
        "images.txt",
        "NOTES.md",
        "SHA256SUMS",
    }
    assert set(first) == names | others
    lines = [line.split("  ") for line in (later / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in lines} == {k: v for k, v in first.items() if k != "SHA256SUMS"}
    _check_index(later, first)
    _check_manifests(later)
    assert (later / "NOTES.md").read_text().startswith(f"# {VERSION}\n\n- ")


def _check_index(folder: pathlib.Path, digests: dict[str, str]) -> None:
    entries = yaml.safe_load((folder / "index.yaml").read_text())["entries"]
    assert set(entries) == {chart.name for chart in release.charts(ROOT)}
    for name, versions in entries.items():
        (entry,) = versions
        assert entry["urls"] == [f"charts/{name}-{VERSION}.tgz"]
        assert entry["digest"] == digests[entry["urls"][0]]
        assert entry["version"] == entry["appVersion"] == VERSION
        with tarfile.open(folder / entry["urls"][0]) as archive:
            times = {member.mtime for member in archive.getmembers()}
        assert times == {datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()}


def _check_manifests(folder: pathlib.Path) -> None:
    def kinds(name: str) -> list[str]:
        return [each["kind"] for each in yaml.safe_load_all((folder / name).read_text()) if each]

    assert kinds("crds.yaml") == ["CustomResourceDefinition"] * 3
    install = kinds("install.yaml")
    assert install[:4] == ["Namespace", *["CustomResourceDefinition"] * 3]
    assert "Deployment" in install
    images = (folder / "images.txt").read_text().splitlines()
    wanted = {"operator", "runtime", "plugin-basic", "plugin-openpose", "plugin-aux", "plugin-upscale"}
    assert {f"ghcr.io/sd-operator/{name}:{VERSION}" for name in wanted} <= set(images)


#: As images/sbom writes them: of the demo's hub, which no release lists, too.
IMAGES = ("operator", "runtime", "plugin-basic", "plugin-openpose", "plugin-aux", "plugin-upscale")


@pytest.fixture
def sbom(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "sbom").mkdir()
    for name in (*IMAGES, "demo-hub"):
        (tmp_path / f"sbom/{name}.cdx.json").write_text("{}")
    return tmp_path / "sbom"


def test_bills_of_materials_of_what_is_listed_go_in_and_are_summed(
    tree: pathlib.Path, tmp_path: pathlib.Path, sbom: pathlib.Path
) -> None:
    release.make(tree, tmp_path / "out", sbom=sbom)
    sums = (tmp_path / "out/SHA256SUMS").read_text()
    assert "  sbom/operator.cdx.json\n" in sums
    listed = (tmp_path / "out/images.txt").read_text().split()
    there = sorted(path.name for path in (tmp_path / "out/sbom").iterdir())
    assert there == sorted(f"{image.rpartition('/')[2].rpartition(':')[0]}.cdx.json" for image in listed)


def test_no_release_lacks_a_bill_of_materials(
    tree: pathlib.Path, tmp_path: pathlib.Path, sbom: pathlib.Path
) -> None:
    (sbom / "runtime.cdx.json").unlink()
    (sbom / "plugin-aux.cdx.json").unlink()
    done = released(tree, tmp_path / "out", "--sbom", str(sbom))
    assert done.returncode == 1
    said = f"--sbom {sbom}: no plugin-aux.cdx.json, runtime.cdx.json in it; images/sbom writes them"
    assert done.stderr == f"hack/release: {said}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("- A page ([docs/page.md](docs/page.md)).", "- A page (`docs/page.md`)."),
        ("- [`docs/page.md`](docs/page.md) tells.", "- `docs/page.md` tells."),
        ("- [how to\n  upgrade](docs/a.md#b)", "- how to\n  upgrade (`docs/a.md#b`)"),
        ("- [theirs](https://example.org/a)", "- [theirs](https://example.org/a)"),
        ("- `(a|b)`, [0, 1] and (2)", "- `(a|b)`, [0, 1] and (2)"),
    ],
)
def test_notes_have_no_link_that_leads_nowhere(tmp_path: pathlib.Path, written: str, told: str) -> None:
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## 1.2.3 (2026-01-02)\n\n{written}\n")
    assert release.notes(tmp_path, "1.2.3") == f"{told}\n"


def test_a_packed_chart_is_the_chart(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    helm = release.output(ROOT, "hack/go-tool", "helm")
    made(tree, tmp_path / "release")
    packed = tmp_path / f"release/charts/sd-operator-{VERSION}.tgz"
    rendered = [
        release.output(ROOT, helm, "template", "sd", chart) for chart in (packed, tree / "charts/sd-operator")
    ]
    assert rendered[0] == rendered[1]


@pytest.fixture
def registry() -> Iterator[str]:
    """An OCI registry that keeps what it is given in memory."""
    program = release.output(ROOT, "hack/kubebb-render/build", "registry")
    with subprocess.Popen(
        [program.strip()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        # It ends with its standard input, which leaving the block closes.


def test_the_charts_go_through_an_oci_registry(
    tree: pathlib.Path, tmp_path: pathlib.Path, registry: str
) -> None:
    made(tree, tmp_path / "release")
    helm = release.output(ROOT, "hack/go-tool", "helm")
    for packed in (tmp_path / "release/charts").iterdir():
        release.output(tmp_path, helm, "push", "--plain-http", packed, f"oci://{registry}/sd-operator/charts")
        chart = f"oci://{registry}/sd-operator/charts/{packed.name.removesuffix(f'-{VERSION}.tgz')}"
        release.output(tmp_path, helm, "pull", "--plain-http", chart, "--version", VERSION)
        assert (tmp_path / packed.name).read_bytes() == packed.read_bytes()


def released(root: pathlib.Path, folder: pathlib.Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hack.release", "--root", str(root), "--output", str(folder), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def edit(root: pathlib.Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


def dirty(root: pathlib.Path) -> None:
    (root / "charts/sd-operator/new.txt").write_text("x")


def ignored(root: pathlib.Path) -> None:
    """As a maintainer's own list of files that Git does not see has it."""
    (root / ".git/info/exclude").write_text("*.swp\n")
    (root / "charts/sd-operator/templates/.rbac.yaml.swp").write_text("x")


def unseen(root: pathlib.Path) -> None:
    git(root, "config", "status.showUntrackedFiles", "no")
    dirty(root)


def chart_of_another_version(root: pathlib.Path) -> None:
    edit(root, "charts/sd-operator/Chart.yaml", f"appVersion: {VERSION}", "appVersion: 9.9.9")
    commit(root)


def package_of_another_version(root: pathlib.Path) -> None:
    edit(root, release.PACKAGES[0], VERSION, "9.9.9")
    commit(root)


def manifests_of_the_version_before(root: pathlib.Path) -> None:
    """As after hack/version, without what is generated from it."""
    for name in ("kustomize/base/operator.yaml", "kustomize/overlays/namespaced/operator.yaml"):
        edit(root, name, f"app.kubernetes.io/version: {VERSION}", "app.kubernetes.io/version: 0.0.9")
    commit(root)


def image_of_another_version(root: pathlib.Path) -> None:
    edit(root, "kustomize/base/operator.yaml", f"operator:{VERSION}", "operator:9.9.9")
    commit(root)


def no_section(root: pathlib.Path) -> None:
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- x\n")
    commit(root)


def empty_section(root: pathlib.Path) -> None:
    (root / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## {VERSION} (2026-01-02)\n\n## 0.1.0 (2025-01-01)\n\n- x\n"
    )
    commit(root)


def tagged_elsewhere(root: pathlib.Path) -> None:
    git(root, "tag", "-a", "-m", "x", f"v{VERSION}")
    (root / "more").write_text("x")
    commit(root)


def released_before(root: pathlib.Path) -> None:
    with (root / "hack/releases").open("a") as file:
        file.write(f"{VERSION} {'a' * 40}\n")
    commit(root)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (dirty, "the tree is not what is committed: charts/sd-operator/new.txt"),
        (unseen, "the tree is not what is committed: charts/sd-operator/new.txt"),
        (
            ignored,
            "ignored by Git, not committed, and would be packed: charts/sd-operator/templates/.rbac.yaml.swp",
        ),
        (
            chart_of_another_version,
            f"charts/sd-operator/Chart.yaml: appVersion: version 9.9.9, but pyproject.toml says {VERSION}",
        ),
        (
            package_of_another_version,
            f"{release.PACKAGES[0]}: version 9.9.9, but pyproject.toml says {VERSION}",
        ),
        (
            manifests_of_the_version_before,
            "not what the chart renders to: kustomize/base/operator.yaml, "
            "kustomize/overlays/namespaced/operator.yaml (make manifests writes them)",
        ),
        (image_of_another_version, "not what the chart renders to: kustomize/base/operator.yaml (make"),
        (no_section, f"CHANGELOG.md: no section '## {VERSION} (YYYY-MM-DD)'"),
        (empty_section, f"CHANGELOG.md: no section '## {VERSION} (YYYY-MM-DD)'"),
        (tagged_elsewhere, f"tag v{VERSION} is there already, on another commit"),
        (released_before, f"hack/releases: {VERSION} was released from tree aaaaaaaaaaaa"),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)
def test_a_release_is_refused(tree: pathlib.Path, tmp_path: pathlib.Path, spoil: Any, words: str) -> None:
    spoil(tree)
    for more in ((), ("--check",)):
        done = released(tree, tmp_path / "out", *more)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_of_a_chart_that_does_not_render_nothing_is_made(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tree / "charts/sd-operator/templates/more.yaml").write_text('{{ fail "nobody knows" }}')
    commit(tree)
    done = released(tree, tmp_path / "out", "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("hack/release: charts/sd-operator does not render")
    assert "nobody knows" in done.stderr and "Traceback" not in done.stderr


def test_a_look_makes_nothing(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = released(tree, tmp_path / "out", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "out").exists()


def test_all_that_is_wrong_is_told_at_once(tree: pathlib.Path) -> None:
    chart_of_another_version(tree)
    tagged_elsewhere(tree)
    dirty(tree)
    assert len(release.problems(tree, allow_dirty=False)) == 3
    assert len(release.problems(tree, allow_dirty=True)) == 2


def test_a_release_that_is_tagged_can_be_made_again_from_its_commit(tree: pathlib.Path) -> None:
    git(tree, "tag", "-a", "-m", "x", f"v{VERSION}")
    assert release.problems(tree, allow_dirty=False) == []


def test_what_is_ignored_elsewhere_does_not_hinder_a_release(tree: pathlib.Path) -> None:
    (tree / ".git/info/exclude").write_text("/build/\n")
    (tree / "build").mkdir()
    (tree / "build/old").write_text("x")
    assert release.problems(tree, allow_dirty=False) == []


def test_the_repository_says_one_version_everywhere() -> None:
    assert {said for _, said in release.versions(ROOT)} == {VERSION}


def test_past_releases_are_trees_of_other_versions() -> None:
    for version, tree_ in release.released(ROOT):
        assert len(tree_) == 40 and version != VERSION
