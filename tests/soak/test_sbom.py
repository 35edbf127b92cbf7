"""Bills of materials of the images that images/build made last, held against what is inside. The tool that
makes them is minutes of compiling, the first time.
"""

import contextlib
import email
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The image's files."""
    container = said("buildah", "from", "--pull-never", image)
    try:
        yield Path(said("buildah", "mount", container))
    finally:
        said("buildah", "rm", container)


def said(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", ["operator", "runtime"])
def test_its_bill_of_materials_has_each_package_in_the_version_that_is_inside(name: str) -> None:
    components = json.loads((ROOT / said("images/sbom", name)).read_text())["components"]
    told = {
        (kind, each["name"].lower().replace("_", "-"), each["version"])
        for each in components
        for kind in re.findall(r"^pkg:(pypi|deb)/", each.get("purl", ""))
    }
    with mounted(f"localhost/sd-operator/{name}:dev") as root:
        status = (root / "var/lib/dpkg/status").read_text()
        inside = {
            ("deb", *found)
            for found in re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.M)
        }
        for metadata in root.glob("opt/venv/lib/python3*/site-packages/*.dist-info/METADATA"):
            found = email.message_from_string(metadata.read_text())
            inside.add(("pypi", found["Name"].lower().replace("_", "-"), found["Version"]))
    assert told == inside
    names = {(kind, named) for kind, named, _ in told}
    assert {("deb", "libssl3"), ("pypi", "torch" if name == "runtime" else "kopf")} <= names
    licensed = {each["name"] for each in components if each.get("licenses")}
    assert ({"torch", "diffusers"} if name == "runtime" else {"kopf", "botocore"}) <= licensed
