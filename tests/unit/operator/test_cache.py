"""The cache never goes back in time, forgets nothing, stays small; and what is read from it is true."""

import copy
import itertools
import json
import random
from typing import Any

import pytest
from operator_fakes import FakeCluster, Object

from sd_operator import errors, names
from sd_operator.cache import TOMBSTONE_SECONDS, Cache, News, version_of
from sd_operator.cached import CachedApi, equalities
from sd_operator.names import Resource

MANAGED = {names.LABEL_MANAGED_BY: names.FIELD_MANAGER}
RESOURCES = (*names.OWN, *names.CHILDREN)


def thing(
    name: str = "demo",
    *,
    version: int = 1,
    uid: str = "u1",
    resource: Resource = names.DEPLOYMENT,
    namespace: str = "ns",
    owner: str | None = "demo",
    **fields: Any,
) -> Object:
    labels = {**MANAGED, **({names.LABEL_SD_INSTANCE: owner} if owner else {})}
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": labels,
        },
        **fields,
    }


def full(*, namespace: str = "", clock: Any = lambda: 0.0) -> Cache:
    cache = Cache(RESOURCES, namespace=namespace, clock=clock)
    for resource in RESOURCES:
        cache.complete(resource)
    return cache


def put(cache: Cache, *args: Any, **kwargs: Any) -> News:
    return cache.put(names.DEPLOYMENT, thing(*args, **kwargs))


def remove(cache: Cache, *args: Any, **kwargs: Any) -> News:
    return cache.remove(names.DEPLOYMENT, thing(*args, **kwargs))


def held(cache: Cache) -> tuple[str, int] | None:
    known = cache.known(names.DEPLOYMENT, namespace="ns", name="demo")
    return None if known is None else (known.uid, known.version)


def test_what_is_put_comes_back_whole_and_is_the_callers_own() -> None:
    cache = full()
    wish = thing(spec={"replicas": 1, "list": [1, 2.5, None, True, "é"]})
    cache.put(names.DEPLOYMENT, wish)
    for _ in range(2):
        got = cache.get(names.DEPLOYMENT, namespace="ns", name="demo")
        assert got == wish
        got["spec"]["replicas"] = 7
    assert wish["spec"]["replicas"] == 1


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = full()
    assert put(cache, version=9) is News.CHANGED
    assert put(cache, version=9) is News.KNOWN
    assert put(cache, version=8) is News.STALE
    assert put(cache, version=10) is News.CHANGED
    assert held(cache) == ("u1", 10)


def test_what_is_gone_does_not_come_back_by_a_late_event() -> None:
    cache = full()
    put(cache, version=3)
    assert remove(cache, version=5) is News.CHANGED
    assert put(cache, version=4) is News.STALE
    assert put(cache, version=5) is News.STALE
    assert held(cache) is None
    assert remove(cache, version=5) is News.KNOWN


def test_what_leaves_the_selector_and_enters_it_again_is_held_again() -> None:
    cache = full()
    put(cache, version=3)
    remove(cache, version=5)
    assert put(cache, version=6) is News.CHANGED
    assert remove(cache, version=5) is News.STALE
    assert held(cache) == ("u1", 6)


def test_a_new_object_of_the_same_name_replaces_and_late_news_of_the_old_one_is_ignored() -> None:
    cache = full()
    put(cache, version=3, uid="old")
    assert put(cache, version=8, uid="new") is News.CHANGED
    assert put(cache, version=4, uid="old") is News.STALE
    assert remove(cache, version=5, uid="old") is News.STALE
    assert held(cache) == ("new", 8)


def test_tombstones_end() -> None:
    time = 0.0
    cache = full(clock=lambda: time)
    for number in range(100):
        remove(cache, f"n{number}", version=1)
    time = TOMBSTONE_SECONDS + 1
    remove(cache, "last", version=1)
    assert len(cache._gone) == 1


@pytest.mark.parametrize("seed", range(20))
def test_events_that_are_lost_repeated_and_shuffled_end_where_the_last_one_says(seed: int) -> None:
    """The history of one name: whatever arrives in between, the newest event decides."""
    chance = random.Random(seed)
    history: list[tuple[str, Object]] = []
    version = itertools.count(1)
    for life in range(4):
        history += [("MODIFIED", thing(uid=f"u{life}", version=next(version), life=life)) for _ in range(3)]
        history.append(("DELETED", thing(uid=f"u{life}", version=next(version), life=life)))
    if seed % 2:
        history.pop()
    told = [event for event in history if chance.random() < 0.7] * 2
    chance.shuffle(told)
    told.insert(chance.randrange(len(told) + 1), history[-1])
    cache = full()
    for type, manifest in told:
        act = cache.remove if type == "DELETED" else cache.put
        act(names.DEPLOYMENT, manifest)
    alive = history[-1][0] != "DELETED"
    assert cache.get(names.DEPLOYMENT, namespace="ns", name="demo") == (history[-1][1] if alive else None)
    assert cache.counts()[names.DEPLOYMENT] == (1 if alive else 0)


async def found(cache: Cache, **terms: str) -> list[str]:
    labels = {f"{names.GROUP}/{key}": value for key, value in terms.items()}
    items = await cache.find(names.DEPLOYMENT, namespace="ns", terms=labels)
    return [item["metadata"]["name"] for item in items]


async def test_objects_are_found_by_owner_and_follow_a_new_label() -> None:
    cache = full()
    put(cache, "b", version=1, uid="b", owner="x")
    put(cache, "a", version=2, uid="a", owner="x")
    put(cache, "c", version=3, uid="c", owner="y")
    put(cache, "d", version=4, uid="d", owner="x", namespace="other")
    cache.put(names.SERVICE, thing("e", version=5, uid="e", owner="x", resource=names.SERVICE))
    assert await found(cache, instance="x") == ["a", "b"]
    put(cache, "a", version=6, uid="a", owner="y")
    assert await found(cache, instance="x") == ["b"]
    assert await found(cache, instance="y") == ["a", "c"]
    put(cache, "c", version=7, uid="c", owner=None)
    remove(cache, "a", version=8, uid="a", owner="y")
    assert await found(cache, instance="y") == []
    assert await found(cache) == ["b", "c"]


async def test_every_term_of_a_selector_counts() -> None:
    cache = full()
    put(cache, "a", owner="x")
    assert await found(cache, instance="x", bundle="z") == []
    assert await found(cache, file="z") == []


async def test_nothing_is_kept_of_what_is_gone() -> None:
    cache = full()
    for number in range(10):
        put(cache, f"n{number}", uid=f"u{number}", owner=f"o{number}")
        remove(cache, f"n{number}", uid=f"u{number}", version=2, owner=f"o{number}")
    assert cache._owned == {}
    assert cache.stored_bytes() == 0
    assert cache._shelves[names.DEPLOYMENT].namespaces == {}


def with_condition(name: str, version: int, *conditions: tuple[str, str, str]) -> Object:
    told = [{"type": type, "status": status, "reason": reason} for type, status, reason in conditions]
    return thing(name, version=version, uid=name, resource=names.SDINSTANCE, status={"conditions": told})


def test_conditions_are_counted_as_they_change() -> None:
    cache = full()
    for version, name in enumerate("abc", start=1):
        cache.put(
            names.SDINSTANCE,
            with_condition(name, version, ("Ready", "False", "Loading"), ("Reconciling", "True", "Loading")),
        )
    assert cache.conditions(names.SDINSTANCE) == {("Reconciling", "Loading"): 3}
    cache.put(names.SDINSTANCE, with_condition("a", 7, ("Ready", "True", "Serving")))
    cache.remove(names.SDINSTANCE, with_condition("b", 8))
    assert cache.conditions(names.SDINSTANCE) == {("Reconciling", "Loading"): 1, ("Ready", "Serving"): 1}
    for version, status in enumerate((None, "odd", {"conditions": "odd"}, {"conditions": ["odd"]}), start=9):
        manifest = thing("c", version=version, uid="c", resource=names.SDINSTANCE, status=status)
        cache.put(names.SDINSTANCE, manifest)
    assert cache.conditions(names.SDINSTANCE) == {("Ready", "Serving"): 1}


def test_what_nobody_reads_is_not_kept() -> None:
    cache = full()
    manifest = thing(spec={"replicas": 1})
    manifest["metadata"]["managedFields"] = [{"manager": "x" * 1000}]
    manifest["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "y" * 1000,
        "mine": "z",
    }
    cache.put(names.DEPLOYMENT, manifest)
    got = cache.get(names.DEPLOYMENT, namespace="ns", name="demo")
    assert got is not None
    assert "managedFields" not in got["metadata"]
    assert got["metadata"]["annotations"] == {"mine": "z"}
    assert "managedFields" in manifest["metadata"]


def test_a_thousand_deployments_take_little_memory() -> None:
    cache = full()
    for number in range(1000):
        name = f"instance-{number:04d}"
        container = {
            "name": "runtime",
            "image": "registry.example.org/sd-runtime:1.0",
            "env": [{"name": f"SD_{key}", "value": f"{key}-{number}"} for key in range(10)],
            "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "8Gi"}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "management"}, "periodSeconds": 5},
        }
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container] * 3}}
        manifest = thing(name, version=number + 1, uid=f"{number:036d}", owner=name, spec=template)
        # As it comes off the wire: no object is shared with the test's own.
        cache.put(names.DEPLOYMENT, json.loads(json.dumps(manifest)))
    assert cache.stored_bytes() < 1000 * 400


class Counting(FakeCluster):
    """A cluster with resource versions that notes what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.versions = itertools.count(100)

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        self.read.append(f"{resource.kind} {name}")
        return await super().get(resource, namespace=namespace, name=name)

    async def find(
        self, resource: Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        self.read.append(resource.plural)
        return await super().find(resource, namespace=namespace, labels=labels, fields=fields)

    def _write(self, verb: str, manifest: Object, subresource: str) -> Object:
        answer = super()._write(verb, manifest, subresource)
        live = self.objects[
            names.BY_KIND[answer["apiVersion"], answer["kind"]].plural, "ns", answer["metadata"]["name"]
        ]
        live["metadata"]["resourceVersion"] = str(next(self.versions))
        return copy.deepcopy(live)


class Rig:
    def __init__(self, **kwargs: Any) -> None:
        self.cluster = Counting()
        self.cache = full(**kwargs)
        self.api = CachedApi(self.cluster, self.cache)

    async def get(self, resource: Resource = names.DEPLOYMENT, name: str = "demo") -> Object | None:
        return await self.api.get(resource, namespace="ns", name=name)

    def lives(self, manifest: Object) -> Object:
        """It is in the cluster and known."""
        live = self.cluster.add(manifest)
        self.cache.put(names.BY_KIND[live["apiVersion"], live["kind"]], live)
        return live


def wish(**spec: Any) -> Object:
    manifest = thing(spec=spec)
    del manifest["metadata"]["uid"], manifest["metadata"]["resourceVersion"]
    return manifest


async def test_reads_of_followed_kinds_ask_the_cluster_nothing() -> None:
    rig = Rig()
    rig.lives(thing(version=5))
    assert await rig.get() == thing(version=5) | {
        "metadata": rig.cluster.one(names.DEPLOYMENT, "demo")["metadata"]
    }
    assert await rig.get(name="other") is None
    assert (
        len(await rig.api.find(names.DEPLOYMENT, namespace="ns", labels=names.instance_selector("demo"))) == 1
    )
    assert await rig.api.find(names.POD, namespace="ns") == []
    assert rig.cluster.read == []


async def test_before_the_first_listing_and_for_other_kinds_the_cluster_is_asked() -> None:
    rig = Rig(namespace="ns")
    empty = CachedApi(rig.cluster, Cache(RESOURCES))
    await empty.get(names.DEPLOYMENT, namespace="ns", name="demo")
    await rig.api.find(names.EVENT, namespace="ns")
    await rig.api.find(names.NODE, namespace="")
    await rig.api.find(names.POD, namespace="ns", labels="a in (b)")
    await rig.api.get(names.SERVICE, namespace="not followed", name="x")
    await rig.api.get(names.SERVICEMONITOR, namespace="ns", name="x")
    assert rig.cluster.read == ["Deployment demo", "events", "nodes", "pods", "Service x", "ServiceMonitor x"]


@pytest.mark.parametrize(
    ("selector", "terms"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a==b,c/d=e", {"a": "b", "c/d": "e"}),
        ("a!=b", None),
        ("a in (b,c)", None),
        ("a", None),
        ("!a", None),
    ],
)
def test_only_equalities_are_answered_from_memory(selector: str, terms: dict[str, str] | None) -> None:
    assert equalities(selector) == terms


async def test_a_look_right_after_a_write_sees_it_and_its_late_echo_changes_nothing() -> None:
    rig = Rig()
    await rig.api.apply(wish(replicas=1))
    first = await rig.get()
    assert first is not None
    await rig.api.apply(wish(replicas=2))
    await rig.api.apply_status(wish() | {"status": {"readyReplicas": 2}})
    rig.cache.put(names.DEPLOYMENT, first)
    second = await rig.get()
    assert second is not None
    assert (second["spec"]["replicas"], second["status"]["readyReplicas"]) == (2, 2)
    assert version_of(second) > version_of(first)


async def test_what_was_asked_to_go_is_seen_as_going_until_it_is_gone() -> None:
    rig = Rig()
    live = rig.lives(thing(version=5, resource=names.JOB))
    await rig.api.delete(names.JOB, namespace="ns", name="demo", uid=live["metadata"]["uid"])
    going = await rig.get(names.JOB)
    assert going is not None
    assert going["metadata"]["deletionTimestamp"]
    rig.cache.remove(names.JOB, thing(version=9, resource=names.JOB))
    assert await rig.get(names.JOB) is None


async def test_a_strangers_object_is_not_taken_over_unseen() -> None:
    rig = Rig()
    stranger = thing(version=5)
    stranger["metadata"]["labels"] = {"app": "theirs"}
    rig.cluster.add(stranger)
    assert await rig.get() is None
    with pytest.raises(errors.TransientError, match="Deployment demo is there already"):
        await rig.api.apply(wish(replicas=1))
    assert rig.cluster.writes == []
    seen = await rig.get()
    assert seen is not None
    assert seen["metadata"]["labels"] == {"app": "theirs"}
    rig.cluster.remove(names.DEPLOYMENT, "ns", "demo")
    assert await rig.get() is None
    await rig.api.apply(wish(replicas=1))
    assert await rig.get() is not None


async def test_a_users_own_claim_is_read_though_no_watch_tells_of_it() -> None:
    rig = Rig()
    claim = thing(version=5, resource=names.CLAIM)
    claim["metadata"]["labels"] = {}
    rig.cluster.add(claim)
    for _ in range(2):
        assert (await rig.get(names.CLAIM)) is not None
    rig.cluster.remove(names.CLAIM, "ns", "demo")
    assert await rig.get(names.CLAIM) is None


async def test_a_write_that_shows_the_cache_is_behind_puts_it_right() -> None:
    rig = Rig()
    rig.lives(thing(version=5, uid="old"))
    rig.cluster.remove(names.DEPLOYMENT, "ns", "demo")
    rig.cluster.add(thing(version=9, uid="new"))
    manifest = wish(replicas=1)
    manifest["metadata"]["uid"] = "old"
    with pytest.raises(errors.ConflictError):
        await rig.api.apply(manifest)
    assert held(rig.cache) == ("new", 9)
    rig.cluster.remove(names.DEPLOYMENT, "ns", "demo")
    with pytest.raises(errors.ConflictError):
        await rig.api.apply(manifest)
    assert held(rig.cache) is None
