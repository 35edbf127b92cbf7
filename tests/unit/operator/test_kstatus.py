"""What the library that Flux and others wait with (hack/kstatus: sigs.k8s.io/cli-utils itself) says of an
object in each state of its life.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from operator_fakes import instance

from sd_operator.api.conditions import Verdict, conditions, now, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.failing import failing_status

ROOT = Path(__file__).parents[3]
UNDERWAY = (Reason.LOADING.value, "1 of 2 pods")


@pytest.fixture(scope="session")
def program() -> str:
    """The program, built if it has to be (half a minute, once)."""
    built = subprocess.run([ROOT / "hack/kstatus/build"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


def judged(program: str, manifest: dict[str, Any]) -> str:
    done = subprocess.run([program], input=json.dumps(manifest), capture_output=True, text=True, check=True)
    verdict: dict[str, str] = json.loads(done.stdout)
    return verdict["status"]


def an_object(*, generation: int = 2, **metadata: Any) -> dict[str, Any]:
    """As the API server stores it before the operator has looked."""
    manifest = instance()
    manifest["metadata"].update(generation=generation, **metadata)
    manifest["status"] = {"observedGeneration": -1}
    return manifest


def told(verdict: Verdict, *, generation: int = 2) -> dict[str, Any]:
    listed = conditions(verdict, generation=generation, previous=(), time=now())
    return {"observedGeneration": generation, "conditions": [each.as_manifest() for each in listed]}


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        pytest.param(ready(Reason.CHECKPOINT_LOADED, "1 of 1 pod"), "Current", id="it serves"),
        pytest.param(ready(Reason.SCALED_TO_ZERO, "nothing is served"), "Current", id="scaled to zero"),
        pytest.param(ready(Reason.SUSPENDED, "as it is"), "Current", id="suspended and serving"),
        pytest.param(
            ready(Reason.CHECKPOINT_LOADED, "1 of 2 pods", underway=UNDERWAY),
            "InProgress",
            id="it serves, and more replicas start",
        ),
        pytest.param(reconciling(Reason.LOADING, "0 of 1 pod"), "InProgress", id="its first pod loads"),
        pytest.param(reconciling(Reason.BUNDLE_NOT_FOUND, "waiting"), "InProgress", id="waits for a bundle"),
        pytest.param(reconciling("Unschedulable", "no node"), "InProgress", id="waits for a node"),
        pytest.param(stalled(Reason.LOAD_FAILED, "header is cut"), "Failed", id="it cannot load"),
        pytest.param(stalled(Reason.INVALID_SPEC, "spec.models"), "Failed", id="its spec is refused"),
        pytest.param(
            stalled(Reason.SUSPENDED, "changes wait"), "Failed", id="suspended with changes waiting"
        ),
    ],
)
def test_each_verdict(program: str, verdict: Verdict, status: str) -> None:
    assert judged(program, an_object() | {"status": told(verdict)}) == status


def test_an_object_that_nobody_has_looked_at_is_in_progress(program: str) -> None:
    assert judged(program, an_object()) == "InProgress"


def test_an_edit_is_in_progress_until_it_was_looked_at(program: str) -> None:
    manifest = an_object(generation=3) | {"status": told(ready(Reason.CHECKPOINT_LOADED, ""), generation=2)}
    assert judged(program, manifest) == "InProgress"


def test_an_object_that_is_being_deleted_is_terminating(program: str) -> None:
    manifest = an_object(deletionTimestamp="2026-01-01T00:00:00Z")
    manifest["status"] = told(ready(Reason.CHECKPOINT_LOADED, ""))
    assert judged(program, manifest) == "Terminating"


def test_work_that_fails_is_not_taken_for_done(program: str) -> None:
    manifest = an_object() | {"status": told(ready(Reason.CHECKPOINT_LOADED, ""))}
    assert judged(program, manifest | {"status": failing_status(manifest, RuntimeError("x"))}) == "InProgress"


def test_the_program_is_the_library_of_this_version() -> None:
    assert "sigs.k8s.io/cli-utils v0.37.2" in (ROOT / "hack/kstatus/go.mod").read_text()
    assert os.access(ROOT / "hack/kstatus/build", os.X_OK)
