"""What is kept of nodes, device classes and slices, and how seldom they are asked for."""

import asyncio
from typing import Any, cast

import pytest

from sd_operator import errors, names
from sd_operator.api.gpu import Backend
from sd_operator.cluster import Api
from sd_operator.gpu_profiles import TABLE, Profile, parse_profiles
from sd_operator.instance import gpu
from sd_operator.instance.gpu import Node, Offers
from sd_operator.instance.offers import LASTING, OfferBook

Object = dict[str, Any]

DRIVER = "gpu.nvidia.com"
POOLS = parse_profiles(
    [
        {"name": "l4", "backend": "Whole", "memory": "22Gi", "nodeSelector": {"pool": "l4"}},
        {"name": "told", "backend": "Whole", "memory": "80Gi", "memoryLabel": "mib"},
        {"name": "slice", "backend": "MIG", "memory": "9Gi", "resource": "nvidia.com/mig-1g.10gb"},
    ]
)


def a_node(allocatable: Object | None, labels: Object | None = None) -> Object:
    return {"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": allocatable}}


def a_class(name: str = DRIVER) -> Object:
    return {"metadata": {"name": name}}


def a_slice(driver: str = DRIVER, devices: Any = ({"name": "gpu-0"},)) -> Object:
    return {"spec": {"driver": driver, "devices": devices}}


GPU, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([a_node({GPU: "2", SLICE: "0"})], {Node(frozenset({GPU}))}, id="what can be allocated"),
        pytest.param([a_node({GPU: "0", SLICE: 7})], {Node(frozenset({SLICE}))}, id="a number for a string"),
        pytest.param(
            [a_node({"cpu": "8", "hugepages-2Mi": "1", "amd.com/gpu": "1"})], set(), id="nothing of the table"
        ),
        pytest.param(
            [{"metadata": {"name": "fresh"}}, {"status": {}}, a_node(None)], set(), id="nothing yet"
        ),
        pytest.param(
            [a_node({GPU: "1"}, {"pool": "l4", "mib": "23034", "kubernetes.io/hostname": "n1"})],
            {Node(frozenset({GPU}), frozenset({("pool", "l4"), ("mib", "23034")}))},
            id="labels that profiles ask about",
        ),
        pytest.param(
            [a_node({GPU: "1"}, {"pool": "l4", "kubernetes.io/hostname": f"n{i}"}) for i in range(1000)],
            {Node(frozenset({GPU}), frozenset({("pool", "l4")}))},
            id="nodes that profiles do not tell apart, once",
        ),
        pytest.param(
            [a_node({GPU: "1"}), a_node({}, {"pool": "l4"})],
            {Node(frozenset({GPU}))},
            id="not one node's GPU with another's label",
        ),
    ],
)
def test_what_is_kept_of_nodes(nodes: list[Object], expected: set[Node]) -> None:
    assert gpu.offers_from(nodes, [], [], POOLS) == Offers(nodes=frozenset(expected))


def test_what_is_kept_of_device_classes_and_slices() -> None:
    slices = [a_slice(), a_slice(), a_slice("empty", []), a_slice("counters", None)]
    expected = Offers(device_classes=frozenset({DRIVER, "other"}), drivers=frozenset({DRIVER}))
    assert gpu.offers_from([], [a_class(), a_class("other")], slices, TABLE) == expected


class Lists:
    """Answers that can be made to wait, and the questions."""

    def __init__(self, *served: names.Resource) -> None:
        self.items: dict[names.Resource, list[Object]] = {names.NODE: [a_node({GPU: "1"})]}
        self.served = served
        self.errors: dict[names.Resource, errors.ClusterError] = {}
        self.asked: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def serves(self) -> frozenset[names.Resource]:
        return frozenset(self.served)

    async def find(
        self, resource: names.Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        assert namespace == "", "what belongs to the cluster"
        self.asked.append((resource.kind, fields))
        await self.gate.wait()
        if resource in self.errors:
            raise self.errors[resource]
        return self.items.get(resource, [])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_book(lists: Lists, clock: Clock | None = None, profiles: tuple[Profile, ...] = TABLE) -> OfferBook:
    return OfferBook(cast(Api, lists), profiles, clock=clock or Clock())


@pytest.mark.parametrize(
    ("backend", "asks"), [("Auto", True), ("MIG", True), ("Whole", True), ("DRA", False), ("None", False)]
)
async def test_it_asks_where_there_is_something_to_choose(backend: Backend, asks: bool) -> None:
    lists = Lists()
    found = await a_book(lists).for_backend(backend)
    assert lists.asked == ([("Node", "")] if asks else [])
    assert found == (Offers(nodes=frozenset({Node(frozenset({GPU}))})) if asks else Offers(known=False))


SERVED = (names.DEVICECLASS, names.RESOURCESLICE)
OTHER_DRA = parse_profiles(
    [{"name": "other", "backend": "DRA", "memory": "8Gi", "deviceClass": "fast", "driver": "gpu.example.org"}]
)


@pytest.mark.parametrize(
    ("served", "classes", "slices", "profiles", "asked", "offered"),
    [
        pytest.param(SERVED, [a_class()], [a_slice()], TABLE, [DRIVER], True, id="a class and its driver"),
        pytest.param(
            SERVED, [a_class()], [], TABLE, [DRIVER], False, id="a class whose driver is on no node"
        ),
        pytest.param(SERVED, [], [a_slice()], TABLE, [], False, id="no class"),
        pytest.param(SERVED, [a_class("fast")], [], TABLE, [], False, id="a class that no profile names"),
        pytest.param(
            SERVED,
            [a_class("fast")],
            [a_slice("gpu.example.org")],
            OTHER_DRA,
            ["gpu.example.org"],
            True,
            id="a class of another name than its driver",
        ),
        pytest.param(SERVED[:1], [a_class()], [a_slice()], TABLE, [], False, id="slices are not served"),
        pytest.param((), [a_class()], [a_slice()], TABLE, [], False, id="neither is served"),
    ],
)
async def test_claims_are_offered_where_there_are_class_and_driver(
    served: tuple[names.Resource, ...],
    classes: list[Object],
    slices: list[Object],
    profiles: tuple[Profile, ...],
    asked: list[str],
    offered: bool,
) -> None:
    lists = Lists(*served)
    lists.items |= {names.DEVICECLASS: classes, names.RESOURCESLICE: slices}
    found = await a_book(lists, profiles=profiles).for_backend("Auto")
    selectors = [fields for kind, fields in lists.asked if kind == "ResourceSlice"]
    assert selectors == [f"spec.driver={driver}" for driver in asked]
    need = gpu.Need(bytes=2**30, breakdown=())
    assert any(found.has(each, need) for each in profiles if each.backend == "DRA") == offered


@pytest.mark.parametrize("refused", [names.NODE, *SERVED], ids=lambda resource: resource.kind)
async def test_what_may_not_be_looked_at_is_not_known(refused: names.Resource) -> None:
    lists = Lists(*SERVED)
    lists.items |= {names.DEVICECLASS: [a_class()], names.RESOURCESLICE: [a_slice()]}
    lists.errors[refused] = errors.RefusedError("forbidden", status=403)
    assert await a_book(lists).for_backend("Auto") == Offers(known=False)


async def test_an_answer_lasts() -> None:
    lists, clock = Lists(), Clock()
    book = a_book(lists, clock)
    first = await book.for_backend("Auto")
    lists.items[names.NODE] = []
    clock.now = LASTING - 1
    assert await book.for_backend("MIG") == first
    clock.now = LASTING
    assert await book.for_backend("Auto") == Offers()
    assert len(lists.asked) == 2


async def test_the_first_answer_is_waited_for_by_all_and_asked_for_once() -> None:
    lists = Lists()
    lists.gate.clear()
    book = a_book(lists)
    askers = [asyncio.ensure_future(book.for_backend("Auto")) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(asker.done() for asker in askers), "a guess would be worse than to wait"
    lists.gate.set()
    assert {len(found.nodes) for found in await asyncio.gather(*askers)} == {1}
    assert len(lists.asked) == 1


async def test_later_only_the_first_asker_waits() -> None:
    lists, clock = Lists(), Clock()
    book = a_book(lists, clock)
    before = await book.for_backend("Auto")
    lists.items[names.NODE] = []
    lists.gate.clear()
    clock.now = LASTING
    first = asyncio.ensure_future(book.for_backend("Auto"))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(book.for_backend("Auto"), 1) == before
    assert not first.done()
    lists.gate.set()
    assert await first == Offers() == await book.for_backend("Auto")
    assert len(lists.asked) == 2


async def test_a_refresh_that_fails_is_tried_by_the_next_asker() -> None:
    lists, clock = Lists(), Clock()
    book = a_book(lists, clock)
    before = await book.for_backend("Auto")
    clock.now = LASTING
    lists.errors[names.NODE] = errors.TransientError("timeout")
    with pytest.raises(errors.TransientError):
        await book.for_backend("Auto")
    del lists.errors[names.NODE]
    assert await book.for_backend("Auto") == before
    assert len(lists.asked) == 3
