"""Whatever the watches lost, repeated or got wrong is put right by one audit, and noise is not counted."""

from typing import Any

import pytest
from operator_fakes import Object
from source_fake import FakeSource

from sd_operator import names
from sd_operator.auditing import Auditor
from sd_operator.cache import Cache
from sd_operator.cluster import Source
from sd_operator.metrics import Metrics
from sd_operator.names import Resource


class Over(Exception):
    """The test has seen enough."""


class Rig:
    """A cluster and a cache that agree about three pods."""

    def __init__(self, **kwargs: Any) -> None:
        self.source = FakeSource()
        self.cache = Cache((names.POD,))
        self.metrics = Metrics()
        self.told: list[str] = []
        self.slept: list[float] = []
        self.while_sleeping: Any = lambda: None
        self.time = 0.0
        source: Source = self.source
        self.auditor = Auditor(
            source,
            self.cache,
            self.deliver,
            self.metrics,
            seconds=300.0,
            sleep=self.sleep,
            spread=lambda: 0.5,
            clock=lambda: self.time,
            **kwargs,
        )
        for name in ("a", "b", "c"):
            self.cache.put(names.POD, self.source.write(names.POD, name))

    def deliver(self, resource: Resource, type: str, manifest: Object) -> None:
        self.told.append(f"{type} {manifest['metadata']['name']}")
        act = self.cache.remove if type == "DELETED" else self.cache.put
        act(resource, manifest)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        self.while_sleeping()

    @property
    def repairs(self) -> float:
        return self.metrics.audit_repairs.labels("Pod")._value.get()

    def agrees(self) -> bool:
        held = {(known.name, known.uid, known.version) for known in self.cache.everything(names.POD)}
        return held == {
            (name, item["metadata"]["uid"], int(item["metadata"]["resourceVersion"]))
            for (_, _, name), item in self.source.objects.items()
        }


async def test_where_nothing_is_wrong_one_list_of_metadata_is_all(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(namespace="art")
    await rig.auditor.audit()
    assert rig.source.log == [f"list pods art {names.MANAGED_SELECTOR} True"]
    assert (rig.told, rig.repairs, rig.slept, caplog.records) == ([], 0, [], [])


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda source: source.write(names.POD, "new"), ["MODIFIED new"]),
        (lambda source: source.write(names.POD, "b", spec={}), ["MODIFIED b"]),
        (lambda source: source.delete(names.POD, "b"), ["DELETED b"]),
        (lambda source: (source.delete(names.POD, "b"), source.write(names.POD, "b")), ["MODIFIED b"]),
        (
            lambda source: source.objects["pods", "ns", "b"]["metadata"]["labels"].clear(),
            ["DELETED b"],
        ),
    ],
    ids=["creation", "change", "deletion", "deletion and creation", "loss of our label"],
)
async def test_every_kind_of_loss_is_healed_and_told_as_the_event_that_did_not_come(
    loss: Any, told: list[str]
) -> None:
    rig = Rig()
    loss(rig.source)
    await rig.auditor.audit()
    assert rig.told == told
    assert rig.repairs == 1
    rig.source.log.clear()
    await rig.auditor.audit()
    assert rig.repairs == 1
    assert len(rig.source.log) == 1


async def test_a_healed_cache_agrees_with_the_cluster() -> None:
    rig = Rig()
    rig.source.delete(names.POD, "a")
    rig.source.write(names.POD, "b", spec={})
    rig.source.write(names.POD, "d")
    assert not rig.agrees()
    await rig.auditor.audit()
    assert rig.agrees()


async def test_an_event_that_is_only_late_is_no_loss() -> None:
    rig = Rig()
    changed = rig.source.write(names.POD, "b", spec={})
    gone = rig.source.delete(names.POD, "c")

    def arrive() -> None:
        rig.cache.put(names.POD, changed)
        rig.cache.remove(names.POD, gone)

    rig.while_sleeping = arrive
    await rig.auditor.audit()
    assert (rig.told, rig.repairs) == ([], 0)
    assert rig.agrees()


async def test_what_is_made_while_the_list_is_read_is_neither_lost_nor_gone() -> None:
    rig = Rig()

    def own_write() -> None:
        rig.cache.put(names.POD, rig.source.write(names.POD, "new"))
        rig.source.after_page = lambda: None

    rig.source.after_page = own_write
    await rig.auditor.audit()
    assert (rig.told, rig.repairs) == ([], 0)
    assert rig.agrees()


async def test_audits_go_on_after_one_that_failed_and_many_in_a_row_are_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.source.fail_lists = 4
    complaints: list[int] = []

    def watch() -> None:
        complaints.append(len(rig.auditor.complaints()))
        if len(complaints) == 7:
            raise Over

    rig.while_sleeping = watch
    with pytest.raises(Over):
        await rig.auditor.run()
    assert rig.slept == [300.0] * 7
    assert complaints == [0, 0, 0, 1, 1, 0, 0]
    assert [record.getMessage() for record in caplog.records] == ["the audit failed: no answer"] * 4
