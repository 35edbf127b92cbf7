"""Conditions as kstatus reads them: Ready, and the abnormal-true Reconciling and Stalled.

- Ready is True when the object does what its spec of the observed generation asks for, and only then.
- Reconciling is True while the operator or the cluster works towards that, or waits for what may come.
- Stalled is True when nothing will change until a person changes something; the message says what.

All three are always there, each with the generation it speaks about. Ready and Reconciling can hold
together: a service that answers while more of its replicas start. Stalled excludes both.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.reasons import Reason
from sd_operator.api.schema import list_map

MAX_MESSAGE = 4096


class State(Enum):
    """What a verdict comes down to."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one thing that is said about an object, from which its conditions follow."""

    state: State
    reason: str
    message: str
    #: Of an object that is ready: what is still under way, as reason and message.
    underway: tuple[str, str] | None = None


def ready(reason: Reason, message: str, *, underway: tuple[str, str] | None = None) -> Verdict:
    """It does what it should; `underway` tells what goes on besides."""
    return Verdict(State.READY, reason.value, message, underway)


def reconciling(reason: Reason | str, message: str) -> Verdict:
    """It is on its way, or waits for something that may come by itself."""
    return Verdict(State.RECONCILING, str(reason), message)


def stalled(reason: Reason | str, message: str) -> Verdict:
    """It needs a person."""
    return Verdict(State.STALLED, str(reason), message)


class Condition(Model):
    """One condition, in the words of Kubernetes."""

    type: Annotated[
        str,
        Field(max_length=316, description="Ready, Reconciling, Stalled; of a ModelBundle also FormatsSafe."),
    ]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether the condition holds.")]
    reason: Annotated[
        str, Field(min_length=1, max_length=1024, description="One word in CamelCase for programs.")
    ]
    message: Annotated[
        str, Field(max_length=32768, description="A sentence for people; names the field that is to blame.")
    ]
    last_transition_time: Annotated[
        str,
        Field(
            description="When `status` last changed.",
            json_schema_extra={"format": "date-time"},
            max_length=64,
        ),
    ]
    observed_generation: Annotated[
        int, Field(ge=0, description="The generation of the object that the condition speaks about.")
    ]


class ConditionedStatus(Model):
    """What the status of every kind begins with."""

    observed_generation: Annotated[
        int, Field(description="Generation that the status speaks about; -1 until the operator has looked.")
    ] = -1
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            description="Ready, Reconciling and Stalled, in the sense of kstatus.",
            json_schema_extra=list_map("type"),
        ),
    ] = ()


def now() -> str:
    """The time as conditions write it."""
    return timestamp(datetime.datetime.now(tz=datetime.UTC))


def timestamp(moment: datetime.datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    verdict: Verdict, *, generation: int, previous: Iterable[Condition], time: str
) -> list[Condition]:
    """The full list for a verdict; a condition whose status stays keeps its transition time."""
    known = list(previous)
    result = []
    for state in State:
        reason, message, holds = _said_of(state, verdict)
        result.append(
            condition(state.value, holds, reason, message, generation=generation, previous=known, time=time)
        )
    return result


def condition(
    kind: str,
    holds: bool,
    reason: str,
    message: str,
    *,
    generation: int,
    previous: Iterable[Condition],
    time: str,
) -> Condition:
    """One condition; while its status stays, it keeps its transition time."""
    status: Literal["True", "False"] = "True" if holds else "False"
    old = next((each for each in previous if each.type == kind), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=_cut(message),
        last_transition_time=old.last_transition_time if old is not None and old.status == status else time,
        observed_generation=generation,
    )


def _said_of(state: State, verdict: Verdict) -> tuple[str, str, bool]:
    """Reason, message and truth of one condition."""
    if verdict.state is state:
        return verdict.reason, verdict.message, True
    if state is State.READY:
        return verdict.reason, verdict.message, False
    if state is State.RECONCILING and verdict.underway is not None:
        return (*verdict.underway, True)
    return Reason.AS_EXPECTED.value, "", False


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"
