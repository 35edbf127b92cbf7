"""Conditions as kstatus reads them."""

import ast
from pathlib import Path

import pytest

from sd_operator.api.conditions import Verdict, conditions, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.malformed import malformed_status

ROOT = Path(__file__).parents[3]
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
READY = ready(Reason.CHECKPOINT_LOADED, "loaded")
WAITING = reconciling("Unschedulable", "no node")
BROKEN = stalled(Reason.LOAD_FAILED, "cannot load")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (READY, {"Ready": "True", "Reconciling": "False", "Stalled": "False"}),
        (WAITING, {"Ready": "False", "Reconciling": "True", "Stalled": "False"}),
        (BROKEN, {"Ready": "False", "Reconciling": "False", "Stalled": "True"}),
    ],
)
def test_one_holds_and_all_are_there(verdict: Verdict, expected: dict[str, str]) -> None:
    found = conditions(verdict, generation=4, previous=(), time=NEW)
    assert {condition.type: condition.status for condition in found} == expected
    assert all(condition.reason and condition.observed_generation == 4 for condition in found)
    told = [condition for condition in found if condition.type == "Ready" or condition.status == "True"]
    assert all((c.reason, c.message) == (verdict.reason, verdict.message) for c in told)


def test_what_is_ready_can_have_more_under_way() -> None:
    verdict = ready(Reason.CHECKPOINT_LOADED, "1 of 2", underway=("ImagePullBackOff", "not found"))
    found = {each.type: each for each in conditions(verdict, generation=4, previous=(), time=NEW)}
    assert {name: each.status for name, each in found.items()} == {
        "Ready": "True",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert (found["Ready"].reason, found["Ready"].message) == ("CheckpointLoaded", "1 of 2")
    assert (found["Reconciling"].reason, found["Reconciling"].message) == ("ImagePullBackOff", "not found")


def test_a_transition_time_changes_with_the_status_and_only_then() -> None:
    first = conditions(WAITING, generation=1, previous=(), time=OLD)
    same = conditions(reconciling("Loading", "loading"), generation=2, previous=first, time=NEW)
    assert [condition.last_transition_time for condition in same] == [OLD] * 3
    changed = conditions(BROKEN, generation=2, previous=same, time=NEW)
    times = {condition.type: condition.last_transition_time for condition in changed}
    assert times == {"Ready": OLD, "Reconciling": NEW, "Stalled": NEW}


def test_a_message_without_end_is_cut() -> None:
    found = conditions(stalled("X", "y" * 10_000), generation=1, previous=(), time=NEW)
    assert max(len(condition.message) for condition in found) == 4096


@pytest.mark.parametrize("status", [None, "odd", {}, {"conditions": [None, {"type": "Ready"}]}])
def test_an_object_that_cannot_be_read_still_gets_its_conditions(status: object) -> None:
    told = malformed_status({"metadata": {"generation": 7}, "status": status}, BROKEN)
    assert told["observedGeneration"] == 7
    assert len(told["conditions"]) == 3


def test_reasons_are_words_in_camel_case_and_explained() -> None:
    assert all(reason.value[0].isupper() and reason.value.isalnum() for reason in Reason)
    assert all(reason.meaning.endswith(".") and reason.action.endswith(".") for reason in Reason)
    page = (ROOT / "docs/conditions.md").read_text()
    assert all(f"| `{reason.value}` |" in page for reason in Reason)


@pytest.fixture(scope="module")
def words() -> set[object]:
    """Every constant in the tests of the operator but these."""
    return {
        node.value
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    }


@pytest.mark.parametrize("reason", [each for each in Reason if each is not Reason.AS_EXPECTED])
def test_every_reason_is_what_some_test_arrives_at(reason: Reason, words: set[object]) -> None:
    """Tests name reasons by their words; one that none names is not known to be reachable."""
    assert reason.value in words
