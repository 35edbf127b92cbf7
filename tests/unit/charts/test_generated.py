"""hack/charts: READMEs and schemas are what values.yaml makes of them, and what is stale is found."""

import shutil
import subprocess
from pathlib import Path

import pytest
from chart_rendering import CHARTS, ROOT

NEEDED = ("hack/charts", "hack/charts.gotmpl", "hack/chart_schema.py", "hack/go-tool", "hack/go-module")


def charts(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "hack/charts", *arguments], capture_output=True, text=True, check=False, cwd="/"
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout with one chart, to change."""
    (tmp_path / "hack").mkdir()
    for name in NEEDED:
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    shutil.copytree(ROOT / "charts/sd-plugin-basic", tmp_path / "charts/sd-plugin-basic")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    assert charts(tmp_path).returncode == 0
    return tmp_path


def test_what_is_generated_is_up_to_date() -> None:
    found = charts(ROOT, "--check")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong", "stale"),
    [
        ("values.yaml", "# -- Registry of the image.", "# -- Registry.", ["README.md", "values.schema.json"]),
        ("values.yaml", "registry: ghcr.io", "registry: quay.io", ["README.md"]),
        ("values.schema.json", '"additionalProperties": false', '"title": ""', ["values.schema.json"]),
        ("README.md.gotmpl", "# sd-plugin-basic", "# sd-plugin-other", ["README.md"]),
        ("README.md", "# sd-plugin-basic", "# sd-plugin-other", ["README.md"]),
    ],
)
def test_what_is_stale_is_found_and_remade(
    copy: Path, file: str, right: str, wrong: str, stale: list[str]
) -> None:
    chart = copy / "charts/sd-plugin-basic"
    text = (chart / file).read_text()
    assert right in text
    (chart / file).write_text(text.replace(right, wrong, 1))
    before = {path: path.read_bytes() for path in chart.rglob("*") if path.is_file()}
    found = charts(copy, "--check")
    assert found.returncode == 1
    for name in ("README.md", "values.schema.json"):
        assert (f"+++ charts/sd-plugin-basic/{name} (generated)" in found.stdout) is (name in stale)
    assert "make charts" in found.stderr
    assert {path: path.read_bytes() for path in chart.rglob("*") if path.is_file()} == before
    assert charts(copy).returncode == 0
    assert charts(copy, "--check").returncode == 0


def test_a_chart_without_its_prose_is_refused(copy: Path) -> None:
    (copy / "charts/sd-plugin-basic/README.md.gotmpl").unlink()
    found = charts(copy)
    assert found.returncode == 1
    assert "charts/sd-plugin-basic has no README.md.gotmpl" in found.stderr


def test_a_mistake_in_values_is_told_with_its_line(copy: Path) -> None:
    values = copy / "charts/sd-plugin-basic/values.yaml"
    values.write_text(values.read_text() + "lonely: 1\n")
    found = charts(copy)
    assert found.returncode != 0
    line = len(values.read_text().splitlines())
    assert f"charts/sd-plugin-basic/values.yaml: line {line}: lonely: no description" in found.stderr


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_readme_says_how_to_install_and_lists_the_values(chart: Path) -> None:
    readme = (chart / "README.md").read_text()
    assert readme.startswith(f"# {chart.name}")
    assert "helm install " in readme
    assert "| `global.imageRegistry` | string |" in readme
