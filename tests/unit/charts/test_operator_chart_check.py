"""What `helm test` finds, against servers that answer as scripted."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest
from operator_chart import CHART

Answer = tuple[int, dict[str, Any]]

KINDS = [{"name": name} for name in ("sdinstances", "sdinstances/status", "modelbundles", "sdplugins")]
HEALTHY: Answer = (200, {"complaints": []})
SERVED: Answer = (200, {"resources": KINDS})
TAKEN: Answer = (201, {})
REFUSED: Answer = (422, {"message": "spec.replicas: Invalid value: -1"})


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("HEALTH", "http://operator-metrics:9090/healthz")
    monkeypatch.setenv("NAMESPACE", "ops")
    specification = importlib.util.spec_from_file_location("check", CHART / "files" / "check.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def script(monkeypatch: pytest.MonkeyPatch, check: ModuleType, *answers: Answer) -> list[str]:
    """The answers in turn, first the operator's; returns what is asked of the API server."""
    operator, *server = answers
    asked: list[str] = []

    def ask(path: str, body: dict[str, Any] | None = None) -> Answer:
        asked.append(path if body is None else f"{path} {body['kind']}")
        return server.pop(0)

    monkeypatch.setattr(check, "call", lambda url: operator)
    monkeypatch.setattr(check, "ask", ask)
    return asked


def test_all_is_well_by_dry_runs_alone(monkeypatch: pytest.MonkeyPatch, check: ModuleType) -> None:
    asked = script(monkeypatch, check, HEALTHY, SERVED, TAKEN, REFUSED)
    assert check.check() is None
    assert asked[0] == "/apis/sdoperator.dev/v1alpha1"
    trial = "/namespaces/ops/sdinstances?dryRun=All&fieldValidation=Strict SDInstance"
    assert [path.endswith(trial) for path in asked[1:]] == [True, True]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(503, {"complaints": ["pods have not been watched"]})], "pods have not been watched"),
        ([(0, {"message": "Connection refused"})], "the operator is not healthy: 0 Connection refused"),
        ([HEALTHY, (404, {"message": "page not found"})], "modelbundles, sdinstances, sdplugins not served"),
        ([HEALTHY, (200, {"resources": KINDS[:3]})], "sdplugins not served"),
        ([HEALTHY, SERVED, (403, {"message": "forbidden"})], "not accepted: 403 forbidden"),
        ([HEALTHY, SERVED, TAKEN, TAKEN], "an SDInstance of -1 replicas is not refused"),
        ([HEALTHY, SERVED, TAKEN, (422, {"message": "spec.models"})], "not refused for it: 422 spec.models"),
    ],
    ids=[
        "unhealthy",
        "not there",
        "no group",
        "one kind missing",
        "refused",
        "no schema",
        "refused for another reason",
    ],
)
def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, check: ModuleType, answers: list[Answer], words: str
) -> None:
    script(monkeypatch, check, *answers)
    assert words in check.check()


def test_nobody_who_answers_is_no_traceback(check: ModuleType, unused_tcp_port: int) -> None:
    status, answer = check.call(f"http://127.0.0.1:{unused_tcp_port}/healthz")
    assert status == 0
    assert "refused" in answer["message"]
