"""Conditions as kstatus reads them."""

import pytest

from sd_operator.api.conditions import Verdict, conditions, ready, reconciling, stalled
from sd_operator.api.reasons import Reason
from sd_operator.malformed import malformed_status

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


def test_reasons_are_words_in_camel_case() -> None:
    assert all(reason.value[0].isupper() and reason.value.isalnum() for reason in Reason)
