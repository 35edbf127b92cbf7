"""An operator of one namespace also follows the catalog, and takes neither for the other."""

from typing import Any

import pytest
from operator_fakes import FakeCluster, Object
from source_fake import FakeSource, Over

from sd_operator import errors, names
from sd_operator.auditing import Auditor
from sd_operator.cache import Cache
from sd_operator.cached import CachedApi
from sd_operator.cluster import Source
from sd_operator.following import Follower
from sd_operator.metrics import Metrics
from sd_operator.names import Resource

KINDS = (names.SDINSTANCE, names.SDPLUGIN)


def a_plugin(name: str, namespace: str, *, version: int = 1) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SDPlugin",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": str(version)},
    }


def filled(**spaces: str) -> Cache:
    cache = Cache(KINDS, **spaces)
    for kind in KINDS:
        cache.complete(kind)
    return cache


@pytest.mark.parametrize(
    ("spaces", "elsewhere", "answered"),
    [
        ({"namespace": "art", "catalog": "ops"}, ("ops",), {"art", "ops"}),
        ({"namespace": "art", "catalog": "art"}, (), {"art"}),
        ({"namespace": "art"}, (), {"art"}),
        ({"catalog": "ops"}, (), {"art", "ops", "x", ""}),
    ],
    ids=["apart", "the same", "no catalog", "the whole cluster"],
)
def test_what_is_followed(spaces: dict[str, str], elsewhere: tuple[str, ...], answered: set[str]) -> None:
    cache = filled(**spaces)
    assert cache.elsewhere(names.SDPLUGIN) == elsewhere
    assert cache.elsewhere(names.SDINSTANCE) == ()
    assert {space for space in ("art", "ops", "x", "") if cache.answers(names.SDPLUGIN, space)} == answered
    assert cache.answers(names.SDINSTANCE, "ops") is ("namespace" not in spaces)


async def test_all_namespaces_are_answered_from_memory_where_all_are_followed() -> None:
    cluster = FakeCluster()
    cache = filled()
    for space in ("a", "b"):
        cache.put(names.SDPLUGIN, a_plugin("x", space))
    found = await CachedApi(cluster, cache).find(names.SDPLUGIN, namespace="")
    assert [each["metadata"]["namespace"] for each in found] == ["a", "b"]


class Rig:
    """A cache of `art` and of the catalog `ops`, each with a plugin."""

    def __init__(self) -> None:
        self.source = FakeSource()
        self.cache = filled(namespace="art", catalog="ops")
        self.told: list[str] = []
        for space in ("art", "ops"):
            self.cache.put(names.SDPLUGIN, a_plugin("known", space))

    def deliver(self, resource: Resource, type: str, manifest: Object) -> None:
        metadata = manifest["metadata"]
        self.told.append(f"{type} {metadata['namespace']}/{metadata['name']}")

    async def sleep(self, _: float) -> None:
        return


@pytest.mark.parametrize("space", ["art", "ops"])
async def test_a_gap_in_one_watch_says_nothing_of_the_other_namespace(space: str) -> None:
    rig = Rig()
    source: Source = rig.source
    rig.source.write(names.POD, "the version of the empty list")
    rig.source.watches = [([], errors.ClusterError("too old", status=410))]
    follower = Follower(source, rig.cache, rig.deliver, namespace=space, seen=lambda _: None, sleep=rig.sleep)
    with pytest.raises(Over):
        await follower.follow(names.SDPLUGIN, since="1")
    assert rig.told == [f"DELETED {space}/known"]


async def test_an_audit_compares_both() -> None:
    class Spaced(FakeSource):
        """Lists what is in the namespace that it is asked for."""

        async def pages(self, resource: Resource, *, namespace: str, **given: Any) -> Any:
            async for page in super().pages(resource, namespace=namespace, **given):
                items = [each for each in page.items if each["metadata"]["namespace"] == namespace]
                yield page._replace(items=items)

    rig = Rig()
    source = Spaced()
    for space in ("art", "ops"):
        source.objects["sdplugins", space, "known"] = a_plugin("known", space)
    auditor = Auditor(
        source, rig.cache, rig.deliver, Metrics(), seconds=300, namespace="art", sleep=rig.sleep
    )
    await auditor.audit()
    assert rig.told == []
    assert [line for line in source.log if "sdplugins" in line] == [
        "list sdplugins art True",
        "list sdplugins ops True",
    ]
    source.objects["sdplugins", "ops", "known"]["metadata"]["resourceVersion"] = "7"
    await auditor.audit()
    assert rig.told == ["MODIFIED ops/known"]
