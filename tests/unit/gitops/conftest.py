"""The programs that the tests of GitOps ask: kustomize, kstatus, Argo CD's and Flux's own interpreters."""

import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[3]
Manifest = dict[str, Any]
#: What a program says of objects, in their order.
Ask = Callable[..., list[Any]]


def output(*command: str | pathlib.Path, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asking(program: str) -> Ask:
    def ask(*arguments: str | pathlib.Path, objects: list[Manifest]) -> list[Any]:
        # Times that YAML knows become text again.
        stdin = "\n".join(
            json.dumps(each, default=lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}") for each in objects
        )
        return [json.loads(line) for line in output(program, *arguments, stdin=stdin).splitlines()]

    return ask


@pytest.fixture(scope="session")
def judge() -> Ask:
    """hack/gitops-judge, built if it has to be (minutes, once)."""
    return asking(output(ROOT / "hack/gitops-judge/build").strip())


@pytest.fixture(scope="session")
def kstatus() -> Ask:
    return asking(output(ROOT / "hack/kstatus/build").strip())


@pytest.fixture(scope="session")
def build() -> Callable[[str], list[Manifest]]:
    """What kustomize makes of a folder."""
    kustomize = output(ROOT / "hack/go-tool", "kustomize").strip()

    def objects(folder: str) -> list[Manifest]:
        return [each for each in yaml.safe_load_all(output(kustomize, "build", ROOT / folder)) if each]

    return objects
