"""Whatever the watches and the API server do to the operator, the world ends as it would have undisturbed."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from benchmarks.rig.stage import Stage
from tests.soak import telling
from tests.soak.faultproxy import CALL_FAULTS, WATCH_FAULTS, Plan
from tests.soak.rehearsal import stage
from tests.soak.story import Record, again, performance, undisturbed

#: Calls that hang take the operator's whole patience each.
SECONDS_A_CHAPTER = 300.0
REST_SECONDS = 60.0

WATCHES: Mapping[str, Plan] = {
    "events lost": Plan(events={"dropped": 0.3}),
    "events lost, nearly all": Plan(events={"dropped": 0.9}),
    "events twice": Plan(events={"twice": 0.5}),
    "old events again": Plan(events={"stale": 0.3}),
    "events late": Plan(events={"late": 0.3}),
    "streams cut": Plan(events={"cut": 0.2}),
    "streams cut inside an event": Plan(events={"torn": 0.2}),
    "streams that fall silent": Plan(events={"silent": 0.1}),
    "410 in the stream": Plan(events={"expired": 0.2}),
    "410 instead of a stream": Plan(events={"cut": 0.2, "gone": 0.5}),
    "all of these": Plan(events=dict.fromkeys(WATCH_FAULTS, 0.05)),
}

CALLS: Mapping[str, Plan] = {
    "409 Conflict": Plan(calls={"409": 0.3}),
    "410 Gone": Plan(calls={"410": 0.5}),
    "429 with Retry-After": Plan(calls={"429": 0.3}),
    "500": Plan(calls={"500": 0.3}),
    "503": Plan(calls={"503": 0.3}),
    "connections cut": Plan(calls={"reset": 0.3}),
    "answers lost after the write": Plan(calls={"lost": 0.3}),
    "no answer": Plan(calls={"hang": 0.03}),
    "all of these": Plan(calls=dict.fromkeys(CALL_FAULTS, 0.03)),
    "all of these, and the watches": Plan(
        calls=dict.fromkeys(CALL_FAULTS, 0.03), events=dict.fromkeys(WATCH_FAULTS, 0.03)
    ),
}


async def disturbed(stage: Stage, record: Record, title: str, plan: Plan) -> tuple[str, ...]:
    async with performance(stage, "fault") as play:
        await again(play, record, seconds=SECONDS_A_CHAPTER, plan=plan, rest=REST_SECONDS)
        faults = ", ".join(f"{name} {times}" for name, times in sorted(play.proxy.faults.items()))
        ended = ", ".join(f"{how} {times}×" for how, times in sorted(play.ended.items())) or "no"
        return title, str(plan.seed), faults, str(len(play.proxy.writes)), ended


async def run(name: str, title: str, rows: Mapping[str, Plan]) -> str:
    async with stage() as ready:
        record = await undisturbed(ready)
        players = [
            (f"{row}, seed {seed}", partial(disturbed, ready, record, row, replace(plan, seed=seed)))
            for row, plan in rows.items()
            if telling.wanted(row)
            for seed in telling.seeds()
        ]
        outcomes = await telling.all_of(players)
    notes = (
        f"The undisturbed story takes {record.total} writes. At its end: 0 writes in {REST_SECONDS:.0f} s."
    )
    header = ("faults", "seed", "how often", "writes", "operator ended by itself")
    telling.keep(name, telling.table(title, header, outcomes, notes))
    return telling.failures(outcomes)


async def test_watch_faults() -> None:
    failures = await run("watch-faults", "Faults of the watches", WATCHES)
    assert not failures, failures


async def test_api_faults() -> None:
    failures = await run("api-faults", "Faults of calls to the API server", CALLS)
    assert not failures, failures
