"""Makes build/release/: everything that a release publishes, from the commit that is checked out.

It publishes nothing and sets no tag. What would make a release that is not what it says is refused, all of it
at once. Two runs of one commit give the same bytes: times are the commit's.
"""

import argparse
import gzip
import hashlib
import io
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import Any

import yaml

from hack import manifests

VERSION = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"
PACKAGES = (
    "operator/sd_operator/__init__.py",
    "runtime/sd_runtime/__init__.py",
    "runtime/sd_plugin/__init__.py",
)
#: Folders whose files go into a release without being named.
PACKED = ("charts", "kustomize")


def output(root: pathlib.Path, *command: str | pathlib.Path) -> str:
    """What a program prints; it is shown what it complained of where it fails."""
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def problems(root: pathlib.Path, *, allow_dirty: bool) -> list[str]:
    """Why no release can be made of the tree, in sentences."""
    version = version_of(root)
    found = [
        f"{where}: version {said}, but pyproject.toml says {version} (hack/version {version} sets them all)"
        for where, said in versions(root)
        if said != version
    ]
    # What is generated says the chart's version, so only of one that is right.
    found = found or ungenerated(root)
    if notes(root, version) is None:
        found.append(f"CHANGELOG.md: no section '## {version} (YYYY-MM-DD)' with something in it")
    if not allow_dirty:
        found += uncommitted(root)
    tag, head = f"v{version}", output(root, "git", "rev-parse", "HEAD")
    tagged = output(root, "git", "for-each-ref", "--format=%(*objectname) %(objectname)", f"refs/tags/{tag}")
    if tagged and head not in tagged.split():
        found.append(
            f"tag {tag} is there already, on another commit ({tagged.split()[0][:12]}): raise the version"
        )
    for name, tree in released(root):
        if name == version and tree != output(root, "git", "rev-parse", "HEAD^{tree}"):
            found.append(f"hack/releases: {version} was released from tree {tree[:12]}: raise the version")
    return found


def ungenerated(root: pathlib.Path) -> list[str]:
    """What of the manifests is not the chart's, in sentences."""
    try:
        stale = list(manifests.stale(root))
    except manifests.ManifestError as error:
        return [str(error)]
    return (
        [f"not what the chart renders to: {', '.join(stale)} (make manifests writes them)"] if stale else []
    )


def uncommitted(root: pathlib.Path) -> list[str]:
    """What of the tree is not the commit's, in sentences: changes, and what Git was told not to see."""
    status = ("git", "status", "--porcelain", "--untracked-files=normal")
    changed = output(root, *status).splitlines()
    # Helm packs a folder as it lies there, and an index of charts tells its digest.
    hidden = output(root, *status, "--ignored", "--", *PACKED).splitlines()
    return [
        f"{problem}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for problem, names in (
            ("the tree is not what is committed", [line.split(maxsplit=1)[1] for line in changed]),
            (
                "ignored by Git, not committed, and would be packed",
                [line.removeprefix("!! ") for line in hidden if line.startswith("!! ")],
            ),
        )
        if names
    ]


def unbilled(root: pathlib.Path, sbom: pathlib.Path) -> list[str]:
    """Which images' bills of materials are not in the folder, in a sentence."""
    wanted = map(bill_of, images(root, output(root, "hack/go-tool", "helm")))
    missing = [name for name in wanted if not (sbom / name).is_file()]
    return [f"--sbom {sbom}: no {', '.join(missing)} in it; images/sbom writes them"] if missing else []


def version_of(root: pathlib.Path) -> str:
    """The version of everything here, in pyproject.toml's words."""
    found = re.search(rf'^version = "({VERSION})"$', (root / "pyproject.toml").read_text(), re.M)
    if found is None:
        raise SystemExit('hack/release: pyproject.toml has no line version = "X.Y.Z"')
    return found[1]


def versions(root: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Every other place that says a version, with what it says."""
    for package in PACKAGES:
        said = re.search(r'^__version__ = "(.*)"$', (root / package).read_text(), re.M)
        yield package, said[1] if said else "none"
    for folder in charts(root):
        chart = yaml.safe_load((folder / "Chart.yaml").read_text())
        for field in ("version", "appVersion"):
            yield f"charts/{folder.name}/Chart.yaml: {field}", str(chart.get(field, "none"))


def charts(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the charts."""
    return sorted(path.parent for path in (root / "charts").glob("*/Chart.yaml"))


def released(root: pathlib.Path) -> list[tuple[str, str]]:
    """Past releases: version and Git tree, which stays the same where commits are rewritten."""
    lines = (root / "hack/releases").read_text().splitlines()
    return [(name, tree) for name, tree in (line.split() for line in lines if line.strip())]


def notes(root: pathlib.Path, version: str) -> str | None:
    """The version's section of the changelog, None where there is none or an empty one.

    Beside it lie none of the files that its links lead to: of those the names are left.
    """
    pattern = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n(.*?)(?=^## |\Z)"
    found = re.search(pattern, (root / "CHANGELOG.md").read_text(), re.M | re.S)
    if not found or not found[1].strip():
        return None
    return re.sub(r"\[([^]]*)\]\((?!https?:)([^)]*)\)", _unlinked, found[1].strip()) + "\n"


def _unlinked(link: re.Match[str]) -> str:
    text, target = link[1], link[2]
    return f"`{target}`" if text.strip("`") == target else f"{text} (`{target}`)"


def make(root: pathlib.Path, folder: pathlib.Path, *, sbom: pathlib.Path | None = None) -> None:
    """Everything of the release, in a folder that is made anew; `sbom` holds what images/sbom wrote.

    Of that only the bills of the release's images go in: images/sbom writes of the demo's, too.
    """
    version = version_of(root)
    moment = int(output(root, "git", "log", "-1", "--format=%ct"))
    helm = output(root, "hack/go-tool", "helm")
    kustomize = output(root, "hack/go-tool", "kustomize")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "charts").mkdir(parents=True)
    for chart in charts(root):
        output(root, helm, "package", chart, "--destination", folder / "charts")
        normalise(folder / "charts" / f"{chart.name}-{version}.tgz", moment)
    output(root, helm, "repo", "index", folder)
    index(folder / "index.yaml", output(root, "git", "log", "-1", "--format=%cI"))
    shutil.copy(root / "kustomize/crds/crds.yaml", folder / "crds.yaml")
    shutil.copy(root / "examples/gitops/argocd/argocd-cm.yaml", folder / "argocd-cm.yaml")
    (folder / "install.yaml").write_text(output(root, kustomize, "build", "kustomize/base") + "\n")
    listed = images(root, helm)
    (folder / "images.txt").write_text("\n".join(listed) + "\n")
    (folder / "NOTES.md").write_text(f"# {version}\n\n{notes(root, version)}")
    if sbom is not None:
        (folder / "sbom").mkdir()
        for bill in map(bill_of, listed):
            shutil.copy(sbom / bill, folder / "sbom" / bill)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


def normalise(path: pathlib.Path, moment: int) -> None:
    """Pack a chart anew: in order, with the commit's time, nobody's name and the rights of plain files."""
    with tarfile.open(path) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = [(member.name, archive.extractfile(member)) for member in members if member.isfile()]
        files = [(name, content.read()) for name, content in contents if content is not None]
    # Helm reads Chart.yaml first where it only lists a chart.
    files.sort(key=lambda file: (not file[0].endswith("/Chart.yaml"), file[0]))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), moment, 0o644
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def index(path: pathlib.Path, moment: str) -> None:
    """Give the index of charts the commit's time in place of the clock's."""
    content = yaml.safe_load(path.read_text())
    content["generated"] = moment
    for entries in content["entries"].values():
        for entry in entries:
            entry["created"] = moment
    path.write_text(yaml.safe_dump(content, allow_unicode=True, width=120))


def images(root: pathlib.Path, helm: str) -> list[str]:
    """Every image of every chart as it comes: of pods, of what the operator is told to start, of plugins."""
    found: set[str] = set()
    for chart in charts(root):
        rendered = output(root, helm, "template", chart.name, chart)
        for document in yaml.safe_load_all(rendered):
            found.update(images_in(document))
    return sorted(found)


def bill_of(image: str) -> str:
    """The name of the file that images/sbom writes of an image."""
    return re.split("[:@]", image.rpartition("/")[2])[0] + ".cdx.json"


def images_in(value: Any) -> Iterator[str]:
    """The images in a rendered object."""
    if isinstance(value, dict):
        if isinstance(value.get("image"), str):
            yield value["image"]
        if str(value.get("name", "")).endswith("_IMAGE") and isinstance(value.get("value"), str):
            yield value["value"]
        for each in value.values():
            yield from images_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from images_in(each)


def main() -> int:
    """Check, then make; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hack.release", description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1])
    parser.add_argument("--output", type=pathlib.Path, help="default: build/release")
    parser.add_argument("--sbom", type=pathlib.Path, help="folder of the images' bills of materials to add")
    parser.add_argument(
        "--check", action="store_true", help="make nothing; fail where no release can be made"
    )
    parser.add_argument("--allow-dirty", action="store_true", help="for trying it: take the tree as it is")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    found = problems(root, allow_dirty=arguments.allow_dirty)
    if arguments.sbom is not None:
        found += unbilled(root, arguments.sbom)
    for problem in found:
        print(f"hack/release: {problem}", file=sys.stderr)
    if found or arguments.check:
        return int(bool(found))
    folder = (arguments.output or root / "build/release").resolve()
    make(root, folder, sbom=arguments.sbom)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
