"""A kind is listed once, then watched; a gap in the watch is closed by a list and told as events."""

from typing import Any

import pytest
from operator_fakes import Object
from source_fake import FakeSource, Over, bookmark, event

from sd_operator import errors, names
from sd_operator.cache import Cache
from sd_operator.cluster import Source
from sd_operator.following import Follower
from sd_operator.names import Resource


class Rig:
    def __init__(self, **kwargs: Any) -> None:
        self.source = FakeSource()
        self.cache = Cache((names.SDINSTANCE, names.POD))
        self.told: list[str] = []
        self.seen: list[str] = []
        self.slept: list[float] = []
        source: Source = self.source
        self.follower = Follower(
            source, self.cache, self.deliver, seen=self.seen.append, sleep=self.sleep, **kwargs
        )

    def deliver(self, resource: Resource, type: str, manifest: Object) -> None:
        self.told.append(f"{type} {manifest['metadata']['name']}")
        act = self.cache.remove if type == "DELETED" else self.cache.put
        act(resource, manifest)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def follow(self, *, since: str) -> None:
        with pytest.raises(Over):
            await self.follower.follow(names.POD, since=since)


async def test_the_first_list_fills_the_cache_page_by_page_and_wakes_nobody() -> None:
    rig = Rig(namespace="art")
    for name in "abcde":
        rig.source.write(names.POD, name)
    assert not rig.cache.answers(names.POD, "ns")
    assert await rig.follower.load(names.POD) == "5"
    assert rig.cache.answers(names.POD, "ns")
    assert rig.cache.counts()[names.POD] == 5
    assert (rig.told, rig.seen) == ([], ["pods"])
    assert rig.source.log == [f"list pods art {names.MANAGED_SELECTOR} False"]
    await rig.follower.load(names.SDINSTANCE)
    assert rig.source.log[-1] == "list sdinstances art False", "our own kinds carry no label of ours"


async def test_a_list_that_fails_is_tried_until_it_succeeds() -> None:
    rig = Rig()
    rig.source.write(names.POD, "a")
    rig.source.fail_lists = 5
    assert await rig.follower.load(names.POD) == "1"
    assert len(rig.slept) == 5
    assert rig.slept[4] > rig.slept[0]


async def test_a_list_that_breaks_off_is_not_taken_for_whole() -> None:
    rig = Rig()
    for name in "abc":
        rig.source.write(names.POD, name)
    breaks = [errors.ClusterError("expired", status=410)]

    def after_page() -> None:
        assert not rig.cache.answers(names.POD, "ns")
        if breaks:
            raise breaks.pop()

    rig.source.after_page = after_page
    await rig.follower.load(names.POD)
    assert rig.cache.counts()[names.POD] == 3
    assert rig.cache.answers(names.POD, "ns")


async def test_each_watch_begins_where_the_last_one_ended_bookmarks_included() -> None:
    rig = Rig()
    first = rig.source.write(names.POD, "a")
    rig.source.watches = [
        ([event("ADDED", first)], None),
        ([bookmark(40)], errors.TransientError("connection lost")),
        ([], None),
    ]
    await rig.follow(since="0")
    assert rig.told == ["ADDED a"]
    assert rig.source.log == ["watch from 0", "watch from 1", "watch from 40", "watch from 40"]
    assert len(rig.slept) == 3


async def test_after_a_gap_what_came_changed_and_went_is_told_and_nothing_else() -> None:
    rig = Rig()
    for name in ("stays", "changes", "goes"):
        rig.source.write(names.POD, name)
    since = await rig.follower.load(names.POD)
    rig.source.write(names.POD, "changes", spec={"new": True})
    rig.source.delete(names.POD, "goes")
    rig.source.write(names.POD, "comes")
    rig.source.watches = [([], errors.ClusterError("too old", status=410)), ([], None)]
    await rig.follow(since=since)
    assert rig.told == ["MODIFIED changes", "MODIFIED comes", "DELETED goes"]
    assert rig.source.log[-1] == "watch from 6"


async def test_what_is_written_while_a_gap_is_closed_is_not_taken_for_gone() -> None:
    rig = Rig()
    since = await rig.follower.load(names.POD)

    def own_write() -> None:
        rig.cache.put(names.POD, rig.source.write(names.POD, "new"))
        rig.source.after_page = lambda: None

    rig.source.after_page = own_write
    rig.source.write(names.POD, "old")
    rig.source.watches = [([], errors.ClusterError("too old", status=410)), ([], None)]
    await rig.follow(since=since)
    assert rig.told == ["MODIFIED old"]
    assert rig.cache.counts()[names.POD] == 2


async def test_failures_are_waited_out_longer_and_longer_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.source.watches = [([], errors.ClusterError("pods is forbidden", status=403))] * 30
    await rig.follow(since="1")
    assert max(rig.slept) <= 30.0
    assert min(rig.slept[-5:]) >= 15.0
    assert [record.getMessage() for record in caplog.records] == [
        "watching pods failed, attempt 1: pods is forbidden"
    ]
