"""Where a marketplace gets the charts: an index on a web server, and a registry.

By Helm 3.9.4's library as kubebb's watchers use it, and by the Helm of today.
"""

import functools
import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import kubebb_render
import pytest
import yaml
from kubebb_render import CHARTS, ROOT, chart_yaml

OLDER = "0.0.9"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Homes of both Helms, so that nobody's own repositories are read or changed."""
    home = tmp_path_factory.mktemp("helm")
    return {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}


def helm(settings: Mapping[str, str], *words: str | Path) -> str:
    done = subprocess.run(
        [kubebb_render.helm(), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests are silent."""


@pytest.fixture(scope="module")
def packed(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every chart's archive, an older version of one, and their index."""
    folder = tmp_path_factory.mktemp("index")
    for chart in CHARTS:
        helm(settings, "package", ROOT / "charts" / chart, "--destination", folder)
    helm(settings, "package", ROOT / "charts/sd-models", "--version", OLDER, "--destination", folder)
    helm(settings, "repo", "index", folder)
    return folder


@pytest.fixture(scope="module")
def index(packed: Path) -> Iterator[str]:
    """The folder's address on a web server."""
    handler = functools.partial(Quiet, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of an empty registry."""
    server = subprocess.Popen(
        [kubebb_render.program("registry")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        yield f"oci://{server.stdout.readline().strip()}/charts"
        # It ends with its standard input, which leaving the block closes.


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "Chart.yaml"
    }


def version_of(chart: str) -> str:
    return str(chart_yaml(chart)["version"])


@pytest.mark.parametrize("chart", CHARTS)
def test_the_old_helm_pulls_a_chart_from_the_index(
    chart: str, index: str, settings: dict[str, str], tmp_path: Path
) -> None:
    pulled = kubebb_render.told("pull", index, chart, version_of(chart), tmp_path, environment=settings)
    # As in the folder, but for what packing leaves out and Chart.yaml, which it writes anew.
    assert files(Path(pulled["chart"])).items() <= files(ROOT / "charts" / chart).items()
    assert (
        kubebb_render.told("catalogue", pulled["chart"])["images"]
        == (kubebb_render.catalogue(chart)["images"])
    )


def test_the_index_tells_components_as_the_marketplace_shows_them(
    index: str, packed: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    """All but the versions are those of the first entry, which has to be the newest."""
    pulled = kubebb_render.told("pull", index, "sd-models", OLDER, tmp_path, environment=settings)
    components = {each["name"]: each for each in pulled["components"]}
    assert sorted(components) == CHARTS
    for chart in CHARTS:
        own, shown = chart_yaml(chart), components[chart]
        assert shown["displayName"] == own["annotations"]["core.kubebb.k8s.com.cn/displayname"]
        assert (shown["description"], shown["keywords"]) == (own["description"], own["keywords"])
        assert shown["icon"] == own["icon"]
        archive = packed / f"{chart}-{own['version']}.tgz"
        assert shown["versions"][0]["version"] == own["version"]
        assert shown["versions"][0]["digest"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert [each["version"] for each in components["sd-models"]["versions"]] == [
        version_of("sd-models"),
        OLDER,
    ]


def test_todays_helm_finds_and_pulls_them_from_the_index(
    index: str, packed: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    helm(settings, "repo", "add", "today", index)
    # Of the version here, whatever it is: without these options Helm passes over release candidates.
    found = json.loads(helm(settings, "search", "repo", "today/", "--devel", "--output", "json"))
    assert sorted(each["name"] for each in found) == [f"today/{chart}" for chart in CHARTS]
    for chart in CHARTS:
        version = version_of(chart)
        helm(settings, "pull", f"today/{chart}", "--version", version, "--destination", tmp_path)
        archive = f"{chart}-{version}.tgz"
        assert (tmp_path / archive).read_bytes() == (packed / archive).read_bytes()


@pytest.mark.parametrize("pushed_by", ["the old helm", "today's helm"])
def test_what_one_helm_pushes_the_other_pulls_with_the_same_digest(
    pushed_by: str, registry: str, packed: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    chart = "sd-operator" if pushed_by == "the old helm" else "sd-instance"
    archive = packed / f"{chart}-{version_of(chart)}.tgz"
    if pushed_by == "the old helm":
        pushed = kubebb_render.told("push", archive, registry, environment=settings)["digest"]
    else:
        said = helm(settings, "push", archive, registry, "--plain-http")
        (pushed,) = re.findall(r"Digest: (\S+)", said)
    assert re.fullmatch("sha256:[0-9a-f]{64}", pushed)
    address = f"{registry}/{chart}"
    old = kubebb_render.told("pull", address, chart, version_of(chart), tmp_path, environment=settings)
    said = helm(
        settings, "pull", address, "--version", version_of(chart), "--plain-http", "--destination", tmp_path
    )
    assert old["digest"] == pushed
    assert re.findall(r"Digest: (\S+)", said) == [pushed]
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
    unpacked = yaml.safe_load((Path(old["chart"]) / "Chart.yaml").read_text())
    assert unpacked == chart_yaml(chart)


def test_a_chart_that_is_not_there_is_an_error(
    index: str, registry: str, settings: dict[str, str], tmp_path: Path
) -> None:
    gone = kubebb_render.run("pull", index, "sd-models", "9.9.9", tmp_path, environment=settings)
    assert gone.returncode == 1
    assert "9.9.9" in gone.stderr
    address = f"{registry}/sd-nothing"
    gone = kubebb_render.run("pull", address, "sd-nothing", "0.1.0", tmp_path, environment=settings)
    assert gone.returncode == 1
    assert "not found" in gone.stderr.lower()
