"""Promises about the tree itself."""

import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Spelled in pieces, so that this file does not name what it looks for.
REGISTRY_HOSTS = re.compile(
    "|".join(["py" + r"pi\.org", "python" + r"hosted\.org", "proxy.golang" + r"\.org", "npm" + r"js\.org"])
)


def tracked() -> list[pathlib.Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("folder", ["operator", "runtime", "modelfiles"])
def test_component_folders_are_not_packages(folder: str) -> None:
    """operator/__init__.py would shadow the standard library's operator."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_package_marker_under_tests() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_file_names_a_package_registry() -> None:
    for path in tracked():
        if (
            path.suffix in {".txt", ".toml", ".md", ".py", ".yaml", ".sum", ".mod", ""}
            and path.stat().st_size < 1_000_000
        ):
            assert not REGISTRY_HOSTS.search(path.read_text(errors="replace")), path


def test_every_folder_has_a_line_in_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    for folder in sorted(folders - {".ci"}):
        assert f"`{folder}/" in text, folder


def test_chart_values_are_all_in_its_readme() -> None:
    values = yaml.safe_load((ROOT / "charts/sd-operator/values.yaml").read_text())
    readme = (ROOT / "charts/sd-operator/README.md").read_text()
    for key in values:
        assert f"`{key}" in readme, key


def test_files_of_the_architecture_table_exist() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## Component → file")[1].split("## Folders")[0]
    for reference in re.findall(r"`([\w./{},-]+/[\w./{},-]*)`", table):
        prefix, brace, rest = reference.partition("{")
        options = rest.split("}")[0].split(",") if brace else [""]
        for option in options:
            tail = rest.split("}", 1)[1] if brace else ""
            path = prefix + option + tail
            if "{" in path:
                continue
            assert (ROOT / path).exists(), path
