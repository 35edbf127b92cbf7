"""The chart sd-models: its catalogue agrees with all else that names these files, and with its README."""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import chart_rendering as charts
import pytest
import yaml

from sd_modelfiles import manifest
from sd_operator import quantity

ROOT = charts.ROOT
CHART = ROOT / "charts" / "sd-models"
CATALOGUE: dict[str, Any] = yaml.safe_load((CHART / "files" / "catalogue.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FILES = [(bundle, file) for bundle, entry in CATALOGUE.items() for file in entry["files"]]


def source(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = file.get("huggingFace") or file["github"]
    return found


def name_below_a_mirror(file: dict[str, Any]) -> str:
    return str(file.get("fileName") or pathlib.PurePosixPath(source(file)["path"]).name)


def bundles(*arguments: str) -> dict[str, charts.Manifest]:
    found = charts.manifests(charts.rendered(CHART, *arguments))
    return {each["metadata"]["name"]: each for each in found if each["kind"] == "ModelBundle"}


def all_bundles() -> dict[str, charts.Manifest]:
    return bundles(*(part for key in CATALOGUE for part in ("--set", f"bundles.{key}.enabled=true")))


def test_nothing_is_fetched_unless_it_is_switched_on() -> None:
    assert bundles() == {}
    assert all(not each["enabled"] for each in VALUES["bundles"].values())


def test_every_bundle_of_the_catalogue_has_its_switch() -> None:
    assert set(VALUES["bundles"]) == set(CATALOGUE)
    assert set(all_bundles()) == set(CATALOGUE)


@pytest.mark.parametrize(
    ("bundle", "file"), FILES, ids=lambda part: part if isinstance(part, str) else part["name"]
)
def test_a_file_is_held_to_bytes_that_cannot_change(bundle: str, file: dict[str, Any]) -> None:
    """By a commit, or by the digest of a release's file, which its project could replace."""
    if "huggingFace" in file:
        assert re.fullmatch(r"[0-9a-f]{40}", file["huggingFace"]["revision"]), bundle
    else:
        assert "sha256" in file, bundle
    assert re.fullmatch(r"[0-9a-f]{64}", file.get("sha256", "0" * 64))
    assert set(file) <= {"name", "type", "huggingFace", "github", "sha256", "fileName", "bytes"}


def facts(files: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """Revision and digest by repository and path, where both are told."""
    found = {}
    for file in files:
        hub = file["source"].get("huggingFace")
        if hub is not None and re.fullmatch(r"[0-9a-f]{40}", hub.get("revision", "")):
            found[hub["repo"], hub["path"]] = (hub["revision"], file.get("sha256"))
    return found


def test_the_examples_say_the_same_of_the_same_files() -> None:
    own = facts([file for each in all_bundles().values() for file in each["spec"]["files"]])
    shared = set()
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "ModelBundle":
                theirs = facts(document["spec"]["files"])
                shared |= set(theirs) & set(own)
                assert {key: own[key] for key in theirs if key in own} == {
                    key: theirs[key] for key in theirs if key in own
                }, path.name
    assert len(shared) >= 2


def test_the_annotators_are_files_that_the_plugin_looks_for() -> None:
    networks = ROOT / "runtime" / "sd_plugin" / "plugins" / "aux_detectors" / "networks.py"
    wanted = set(re.findall(r'Network\("([^"]+)"', networks.read_text()))
    assert {source(file)["path"] for file in CATALOGUE["annotators"]["files"]} <= wanted


def test_a_volume_is_large_enough_for_its_files() -> None:
    for bundle, entry in CATALOGUE.items():
        sizes = [file["bytes"] for file in entry["files"] if "bytes" in file]
        assert sizes, bundle
        # Of files whose size is not known, the largest of the others stands for the size, twice over.
        need = sum(sizes) + (len(entry["files"]) - len(sizes)) * 2 * max(sizes)
        have = quantity.parse(VALUES["bundles"][bundle]["storage"]["size"])
        assert have is not None
        assert have > need, bundle


def test_the_readme_tells_what_the_catalogue_holds() -> None:
    readme = (CHART / "README.md").read_text()
    rows = {line.split("`")[1]: line for line in readme.splitlines() if line.startswith("| `")}
    mirrors = {line.split("`")[1]: line for line in readme.splitlines() if line.startswith("- `")}
    for bundle, entry in CATALOGUE.items():
        assert re.findall(r"`([^`]+)`", rows[bundle])[1:] == [file["name"] for file in entry["files"]]
        assert f"[{entry['license']['name']}]({entry['license']['url']})" in rows[bundle]
        named = re.findall(r"`([^`]+)`", mirrors[f"{bundle}/"])[1:]
        assert named == [name_below_a_mirror(file) for file in entry["files"]]


def test_the_readme_names_the_values_of_the_tests_image() -> None:
    own = (CHART / "README.md").read_text().partition("## Images")[2].partition("\n## ")[0]
    for words in ("global.imageRegistry=", "test.image.registry=", "test.image.tag="):
        assert words in own


def test_a_bundle_tells_its_licence() -> None:
    for bundle, found in all_bundles().items():
        licence = CATALOGUE[bundle]["license"]
        assert (
            found["metadata"]["annotations"]["sdoperator.dev/license"]
            == f"{licence['name']} ({licence['url']})"
        )


def test_its_marks_for_marketplaces_are_true() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    operators = yaml.safe_load((ROOT / "charts" / "sd-operator" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (operators["version"], operators["appVersion"])
    assert base64.b64decode(chart["icon"].rpartition(",")[2]) == (ROOT / "docs/images/icon.svg").read_bytes()
    rendered = charts.manifests(charts.rendered(CHART, "--set", "bundles.sd15.enabled=true"))
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {each["image"] for each in images} == charts.images(rendered)
    assert " / " in chart["annotations"]["core.kubebb.k8s.com.cn/displayname"]


def test_a_long_time_is_told_in_digits(tmp_path: pathlib.Path) -> None:
    """Of a large number in a file of values Helm makes 1e+06, which the test's pod cannot read."""
    values = tmp_path / "values.yaml"
    values.write_text("bundles: {sd15: {enabled: true}}\ntest: {timeoutSeconds: 1000000}\n")
    found = charts.manifests(charts.rendered(CHART, "--values", str(values)))
    (pod,) = (each for each in found if each["kind"] == "Pod")
    environment = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert environment["TIMEOUT_SECONDS"] == "1000000"


@pytest.mark.parametrize(
    "address", ["https://", "http://u:p@hub.example/", "http://:80", "https://hub.example/a?b"]
)
@pytest.mark.parametrize("value", ["huggingFaceEndpoint", "githubEndpoint", "mirrors[0]"])
def test_an_address_that_the_kind_would_refuse_is_refused_by_name(value: str, address: str) -> None:
    done = helm("template", "--set", f"{value}={address}")
    assert done.returncode != 0
    assert f"at '/{value.replace('[', '/').rstrip(']')}'" in done.stderr


@pytest.mark.parametrize("address", ["https://hub.example", "http://[::1]:8080/a@b/c", "http://hub/x"])
@pytest.mark.parametrize("value", ["huggingFaceEndpoint", "githubEndpoint", "mirrors[0]"])
def test_other_addresses_are_taken(value: str, address: str) -> None:
    assert helm("template", "--set", f"{value}={address}").returncode == 0


# What `helm install` says


def helm(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [charts.tool("helm"), command, "models", str(CHART), "--namespace", "team", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def notes(*switched_on: str) -> str:
    sets = [part for key in switched_on for part in ("--set", f"bundles.{key}.enabled=true")]
    done = helm("install", "--dry-run=client", *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NOTES:", 1)[1]


def test_the_notes_name_no_chart_that_helm_would_look_for_in_vain() -> None:
    """They cannot know where it came from. Values of an older chart lack what the new one has added."""
    (command,) = re.findall(r"^ +(helm upgrade .*)$", notes(), re.M)
    assert command.split()[2:4] == ["models", "CHART"]
    assert "CHART is what you installed" in notes()
    assert "--reset-then-reuse-values" in command


@pytest.mark.parametrize(
    "switched_on",
    [
        *(("sd15",), ("sdxl", "sd15"), ("sdxl", "upscalers")),
        *(("upscalers",), ("annotators", "sd15-controlnets", "sdxl-controlnets")),
    ],
    ids="+".join,
)
def test_the_values_in_the_notes_say_each_thing_once_and_are_taken(
    switched_on: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    said = notes(*switched_on)
    lines = (
        said.split("these values of the chart sd-instance do it:\n\n", 1)[1].split("\n\n", 1)[0].splitlines()
    )
    keys = [line.split(":", 1)[0].strip() for line in lines]
    checkpoints = [key for key in switched_on if key in ("sd15", "sdxl")]
    wanted = ["models", "existingModels", "checkpoint"] if checkpoints else ["existingModels"]
    assert [key for key in keys if not key.startswith("#")] == wanted
    assert all(f"{{bundle: {key}, file: base}}" in said for key in checkpoints)
    assert ("needs a checkpoint too" in said) == (not checkpoints)
    values = tmp_path / "values.yaml"
    values.write_text("\n".join(lines))
    found = charts.manifests(charts.rendered(ROOT / "charts" / "sd-instance", "--values", str(values)))
    (instance,) = (each for each in found if each["kind"] == "SDInstance")
    made = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "ModelBundle"}
    assert {each["name"] for each in instance["spec"]["models"]} == {*switched_on, *made}
    # The checkpoint is a file of a bundle that has it.
    checkpoint = instance["spec"]["checkpoint"]
    files = {key: entry["files"] for key, entry in CATALOGUE.items() if key in switched_on}
    files |= {name: spec["files"] for name, spec in made.items()}
    (file,) = (each for each in files[checkpoint["bundle"]] if each["name"] == checkpoint["file"])
    assert file["type"] == "Checkpoint"


SHA = "ab" * 32


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> pathlib.Path:
    """A bundle's volume with one file, a pickle that was converted."""
    path = tmp_path / "models" / "ESRGAN" / "photo.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    entry = manifest.Entry(
        path="models/ESRGAN/photo.safetensors",
        size=7,
        sha256="cd" * 32,
        type="Upscaler",
        family="",
        source="https://example.org/photo.pth",
        source_sha256=SHA,
        owners=("upscalers/photo",),
    )
    (tmp_path / ".sd-operator").mkdir()
    manifest.save(tmp_path, manifest.Manifest().with_entry(entry))
    return tmp_path


def looked_into(volume: pathlib.Path, *files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What the script of `helm test` says of a volume."""
    environment = {
        "VOLUME": str(volume),
        "BUNDLE": "upscalers",
        "FILES": json.dumps(files),
        "TIMEOUT_SECONDS": "0",
    }
    return subprocess.run(
        [sys.executable, "-c", (CHART / "files" / "volume.py").read_text()],
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_test_finds_a_file_by_the_digest_of_its_source(volume: pathlib.Path) -> None:
    done = looked_into(volume, {"name": "photo", "sha256": SHA})
    assert done.returncode == 0, done.stderr
    assert "upscalers/photo: models/ESRGAN/photo.safetensors, 7 bytes" in done.stdout


def test_the_test_takes_a_file_whose_digest_is_not_known(volume: pathlib.Path) -> None:
    assert looked_into(volume, {"name": "photo", "sha256": ""}).returncode == 0


def test_the_test_names_a_file_that_is_missing(volume: pathlib.Path) -> None:
    done = looked_into(volume, {"name": "photo", "sha256": SHA}, {"name": "anime", "sha256": ""})
    assert (done.returncode, done.stderr) == (1, "upscalers/anime is not there yet\n\n")


def test_the_test_names_a_file_with_another_digest(volume: pathlib.Path) -> None:
    done = looked_into(volume, {"name": "photo", "sha256": "ef" * 32})
    assert (done.returncode, "another digest" in done.stderr) == (1, True)


def test_the_test_names_a_file_that_is_cut_off(volume: pathlib.Path) -> None:
    (volume / "models" / "ESRGAN" / "photo.safetensors").write_bytes(b"weig")
    done = looked_into(volume, {"name": "photo", "sha256": SHA})
    assert (done.returncode, "has 4 bytes, not 7" in done.stderr) == (1, True)


def test_the_test_names_an_empty_volume(tmp_path: pathlib.Path) -> None:
    assert looked_into(tmp_path, {"name": "photo", "sha256": SHA}).returncode == 1


@pytest.mark.parametrize(
    "address",
    [
        *("https://", "http://:80/a", "https://user:word@hub.example", "https://h?a"),
        *("https://m:x", "https://m:65536", "https://[fd00::1", "https://fd00::1"),
    ],
)
@pytest.mark.parametrize("value", ["huggingFaceEndpoint", "githubEndpoint", "mirrors[0]"])
def test_an_address_that_the_api_server_would_refuse_is_refused(value: str, address: str) -> None:
    done = subprocess.run(
        [charts.tool("helm"), "template", "release", str(CHART), "--set", f"{value}={address}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"at '/{value.replace('[0]', '/0')}': '{address}' does not match" in done.stderr


@pytest.mark.parametrize(
    "address", ["http://hub.svc", "https://hub.example:8443/a/b@c/", "http://[fd00::1]:80", "http://h:65535"]
)
def test_an_address_may_have_a_port_and_a_path(address: str) -> None:
    values = ("huggingFaceEndpoint", "githubEndpoint", "mirrors[0]")
    assert charts.rendered(CHART, *(word for each in values for word in ("--set", f"{each}={address}")))
