"""The operator killed after any of its writes leaves nothing that its next start does not put right."""

import os
from functools import partial

from benchmarks.rig.stage import Stage
from tests.soak import telling
from tests.soak.faultproxy import Death
from tests.soak.rehearsal import stage
from tests.soak.story import CHAPTERS, Record, again, performance, undisturbed

SECONDS_A_CHAPTER = 120.0


async def killed(stage: Stage, record: Record, k: int, *, unheard: bool) -> tuple[str, ...]:
    async with performance(stage, f"kill-{k}") as play:
        play.proxy.death = Death(k, unheard, play.kill)
        await again(play, record, seconds=SECONDS_A_CHAPTER)
        died_of = play.proxy.died_of
        assert play.ended == ({"killed": 1} if died_of else {}), play.ended
    # Writes that tell of what is under way are not equally many each time.
    return str(k), str(died_of) if died_of else "(fewer writes this time)", "no" if unheard else "yes"


def chosen(total: int) -> list[int]:
    only = os.environ.get("SOAK_ONLY", "")
    return [int(k) for k in only.split(",")] if only else list(range(1, total + 1))


async def test_killed_after_every_write() -> None:
    async with stage() as ready:
        record = await undisturbed(ready)
        chapters = ", ".join(f"{chapter} {record.writes[chapter]}" for chapter in CHAPTERS)
        print(f"{record.total} writes: {chapters}")
        players = [
            (f"{k}", partial(killed, ready, record, k, unheard=unheard))
            for k in chosen(record.total)
            for unheard in (bool(k % 2),)
        ]
        outcomes = await telling.all_of(players)
    notes = f"Writes of the undisturbed story: {record.total} ({chapters})."
    title = "The operator killed after every write"
    header = ("write", "killed after it was made", "answer heard")
    telling.keep("killed-after-every-write", telling.table(title, header, outcomes, notes))
    reached = sum(1 for outcome in outcomes if "fewer" not in str(outcome.cells))
    assert reached >= 0.8 * len(outcomes), "most writes of the undisturbed story come again"
    assert not telling.failures(outcomes), telling.failures(outcomes)
