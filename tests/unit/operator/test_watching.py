"""Events reach the cache and become keys; watches have an age; and who uses what is kept in mind."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import kopf
import pytest
from operator_fakes import Object, bundle, file, instance, plugin

from sd_operator import names, watching
from sd_operator.cache import Cache
from sd_operator.names import Key, Resource
from sd_operator.references import References
from sd_operator.workqueue import WorkQueue

BUNDLE = Key("ModelBundle", "ns", "sd15")
PLUGIN = Key("SDPlugin", "ns", "aux")
WEIGHTS = Key("ModelBundle", "ns", "weights")
NOW, URGENT, LATER = "now", "urgent", "later"

Woken = list[tuple[Key, str]]


def user(name: str) -> Key:
    return Key("SDInstance", "ns", name)


async def nothing(_: Key) -> None:
    return None


class Watch:
    """A queue that nobody works on, and what is in front of it."""

    def __init__(self, *, namespace: str = "", catalog: str = "") -> None:
        self.added: Woken = []
        self.versions = itertools.count(1)
        watch = self

        class Queue(WorkQueue[Key]):
            def add(self, key: Key, *, after: float = 0.0, urgent: bool = False) -> None:
                watch.added.append((key, LATER if after else URGENT if urgent else NOW))

        self.references = References()
        self.cache = Cache((*names.OWN, *names.CHILDREN))
        self.events = watching.Events(
            self.cache, Queue(nothing, workers=1), self.references, namespace=namespace, catalog=catalog
        )

    def tell(self, resource: Resource, type: str | None, manifest: Object, *, version: int = 0) -> Woken:
        manifest["metadata"]["resourceVersion"] = str(version or next(self.versions))
        self.events.deliver(resource, type, manifest)
        taken, self.added = sorted(self.added), []
        return taken

    def instance(
        self,
        name: str,
        *bundles: str,
        type: str | None = "ADDED",
        generation: int = 1,
        observed: int = -1,
        version: int = 0,
        plugins: Sequence[Object] = (),
        told: Sequence[Object] = (),
    ) -> Woken:
        manifest = instance(name, models=[{"name": each} for each in bundles], plugins=list(plugins))
        manifest["metadata"].update(uid=name, generation=generation)
        manifest["status"] = {"observedGeneration": observed, "plugins": list(told)}
        return self.tell(names.SDINSTANCE, type, manifest, version=version)

    def bundle(self, *, type: str | None = "MODIFIED", **changes: Any) -> Woken:
        manifest = bundle()
        manifest["metadata"].update(uid="u", generation=changes.pop("generation", 1))
        version = changes.pop("version", 0)
        manifest["status"] = {"observedGeneration": 1, **changes}
        return self.tell(names.MODELBUNDLE, type, manifest, version=version)

    def plugin(
        self,
        name: str = "aux",
        *,
        needs: Sequence[str] = (),
        namespace: str = "ns",
        type: str | None = "MODIFIED",
        generation: int = 1,
    ) -> Woken:
        manifest = plugin(name, models=[{"name": each} for each in needs])
        manifest["metadata"].update(uid=name, generation=generation, namespace=namespace)
        manifest["status"] = {"observedGeneration": generation}
        return self.tell(names.SDPLUGIN, type, manifest)

    def child(self, resource: Resource, type: str = "MODIFIED", **labels: str) -> Woken:
        metadata = {"name": "x", "namespace": "ns", "uid": "x", "labels": labels}
        return self.tell(resource, type, {"kind": resource.kind, "metadata": metadata})


def test_a_new_spec_is_urgent_and_bundles_learn_of_their_users_later() -> None:
    watch = Watch()
    assert watch.instance("demo", "sd15") == [(BUNDLE, LATER), (user("demo"), URGENT)]
    # Its own status: what its children tell in the same moment may join.
    assert watch.instance("demo", "sd15", type="MODIFIED", observed=1) == [(user("demo"), LATER)]
    other = Key("ModelBundle", "ns", "other")
    assert watch.instance("demo", "other", type="MODIFIED", generation=2, observed=1) == [
        (other, LATER),
        (BUNDLE, LATER),
        (user("demo"), URGENT),
    ]
    assert watch.instance("demo", "other", type="DELETED") == [(other, LATER), (user("demo"), NOW)]


def test_at_the_start_each_object_has_one_look_and_only_unobserved_specs_are_urgent() -> None:
    watch = Watch()
    manifests = [("settled", 1), ("changed", 0)]
    for version, (name, observed) in enumerate(manifests, start=1):
        manifest = instance(name)
        manifest["metadata"].update(uid=name, generation=1, resourceVersion=str(version))
        manifest["status"] = {"observedGeneration": observed}
        watch.cache.put(names.SDINSTANCE, manifest)
    stored = bundle()
    stored["metadata"].update(uid="u", generation=1, resourceVersion="3")
    watch.cache.put(names.MODELBUNDLE, stored)

    def list_all() -> list[Woken]:
        return [
            watch.instance("settled", "sd15", type=None, observed=1, version=1),
            watch.instance("changed", "sd15", type=None, observed=0, version=2),
            watch.bundle(type=None, version=3),
        ]

    assert list_all() == [[(user("settled"), NOW)], [(user("changed"), URGENT)], [(BUNDLE, NOW)]]
    assert watch.references.users(BUNDLE) == {user("settled"), user("changed")}
    assert list_all() == [[], [], []], "a list after a gap that tells nothing new"
    assert watch.instance("settled", type=None, observed=1, version=9) == [
        (BUNDLE, LATER),
        (user("settled"), LATER),
    ]


def test_a_bundle_wakes_its_users_when_it_concerns_them() -> None:
    watch = Watch()
    watch.instance("a", "sd15")
    watch.instance("b", "sd15")
    both = [(BUNDLE, NOW), (user("a"), NOW), (user("b"), NOW)]
    later = [(BUNDLE, LATER), (user("a"), NOW), (user("b"), NOW)]
    alone = [(BUNDLE, LATER)]
    assert watch.bundle() == both
    assert watch.bundle() == alone
    assert watch.bundle(usedBy=["a", "b"]) == alone
    assert watch.bundle(files=[{"name": "base", "state": "Verified"}]) == later
    urgent = [(BUNDLE, URGENT), *both[1:]]
    assert watch.bundle(files=[{"name": "base", "state": "Verified"}], generation=2) == urgent
    watch.instance("b", "sd15", type="DELETED")
    assert watch.bundle(type="DELETED") == [(BUNDLE, NOW), (user("a"), NOW)]


AUX = [{"name": "aux"}]


def test_a_plugin_wakes_its_users_and_the_bundles_they_mount_for_it() -> None:
    watch = Watch()
    assert watch.instance("a", "sd15", plugins=AUX) == [
        (BUNDLE, LATER),
        (user("a"), URGENT),
        (PLUGIN, LATER),
    ]
    assert watch.plugin(needs=["weights"]) == [(WEIGHTS, LATER), (user("a"), NOW), (PLUGIN, NOW)]
    assert watch.plugin(needs=["weights"]) == [(PLUGIN, LATER)], "its own status"
    assert watch.plugin(generation=2) == [(WEIGHTS, LATER), (user("a"), NOW), (PLUGIN, NOW)]
    assert watch.plugin(type="DELETED") == [(user("a"), NOW), (PLUGIN, NOW)]


def test_a_bundle_wakes_those_whose_plugin_needs_it_and_learns_of_them() -> None:
    watch = Watch()
    watch.plugin(needs=["sd15"])
    named = watch.instance("a", plugins=AUX)
    assert named == [(BUNDLE, LATER), (user("a"), URGENT), (PLUGIN, LATER)]
    assert (user("a"), NOW) in watch.bundle()
    assert watch.instance("a", type="MODIFIED", generation=2) == named


def test_a_plugin_learns_what_its_users_tell_of_it_and_only_that() -> None:
    watch = Watch()
    seen = {"type": "MODIFIED", "plugins": AUX, "observed": 1}
    watch.instance("a", plugins=AUX)
    up = {"name": "aux", "ready": True, "observedGeneration": 1}
    alone, both = [(user("a"), LATER)], [(user("a"), LATER), (PLUGIN, LATER)]
    assert watch.instance("a", told=[up], **seen) == both
    assert watch.instance("a", told=[up], **seen) == alone
    modules = [{"name": "hed", "available": False, "reason": "no weights"}]
    assert watch.instance("a", told=[{**up, "modules": modules}], **seen) == alone
    assert watch.instance("a", told=[{**up, "ready": False}], **seen) == both


def test_one_namespace_reads_the_catalog_and_works_on_nothing_there() -> None:
    for_all = Key("SDPlugin", "catalog", "aux")
    watch = Watch(namespace="ns", catalog="catalog")
    references = [{"name": "aux", "scope": "Catalog"}]
    assert watch.instance("a", plugins=references) == [(user("a"), URGENT)]
    assert watch.plugin(namespace="catalog", needs=["weights"]) == [(WEIGHTS, LATER), (user("a"), NOW)]
    whole = Watch(catalog="catalog")
    assert whole.instance("a", plugins=references) == [(user("a"), URGENT), (for_all, LATER)]
    assert (for_all, NOW) in whole.plugin(namespace="catalog")


@pytest.mark.parametrize(
    ("resource", "labels", "woken"),
    [
        (names.DEPLOYMENT, {names.LABEL_SD_INSTANCE: "demo"}, [(user("demo"), LATER)]),
        (names.INGRESS, {names.LABEL_SD_INSTANCE: "demo"}, [(user("demo"), LATER)]),
        (names.JOB, {names.LABEL_SD_BUNDLE: "sd15"}, [(BUNDLE, LATER)]),
        (names.CLAIM, {names.LABEL_SD_BUNDLE: "sd15"}, [(BUNDLE, LATER), (user("demo"), LATER)]),
        (names.POD, {"app": "stranger"}, []),
    ],
)
def test_a_child_is_in_the_cache_and_wakes_its_owner(
    resource: Resource, labels: dict[str, str], woken: Woken
) -> None:
    watch = Watch()
    watch.instance("demo", "sd15")
    assert watch.child(resource, **labels) == woken
    assert watch.cache.get(resource, namespace="ns", name="x") is not None
    assert watch.child(resource, "DELETED", **labels) == woken
    assert watch.cache.get(resource, namespace="ns", name="x") is None


def test_a_child_that_is_given_to_another_by_hand_wakes_both() -> None:
    watch = Watch()
    watch.child(names.DEPLOYMENT, **{names.LABEL_SD_INSTANCE: "demo"})
    woken = watch.child(names.DEPLOYMENT, **{names.LABEL_SD_INSTANCE: "another"})
    assert sorted(woken) == sorted([(user("demo"), LATER), (user("another"), LATER)])


def test_a_child_without_our_label_wakes_the_owner_that_its_reference_names() -> None:
    watch = Watch()
    reference = {"apiVersion": names.API_VERSION, "kind": "SDInstance", "name": "demo", "uid": "u"}
    stranger = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "demo-1", "uid": "v"}
    metadata = {"name": "x", "namespace": "ns", "uid": "x", "ownerReferences": [reference, stranger]}
    assert watch.tell(names.SERVICE, "MODIFIED", {"kind": "Service", "metadata": metadata}) == [
        (user("demo"), LATER)
    ]


def test_a_replayed_event_wakes_nobody_and_changes_nothing() -> None:
    watch = Watch()
    watch.instance("demo", "sd15", version=8)
    assert watch.instance("demo", "old", generation=7, version=7) == []
    assert watch.references.users(BUNDLE) == {user("demo")}
    assert watch.instance("demo", type="DELETED", version=6) == []
    assert watch.cache.counts()[names.SDINSTANCE] == 1


def test_the_echo_of_an_own_write_still_wakes() -> None:
    watch = Watch()
    watch.bundle()
    watch.instance("demo", "sd15")
    written = bundle()
    written["metadata"].update(uid="u", generation=1, resourceVersion="50")
    watch.cache.put(names.MODELBUNDLE, written)
    files = [{"name": "base", "state": "Verified"}]
    assert watch.bundle(files=files, version=50) == [(BUNDLE, LATER), (user("demo"), NOW)]


def test_objects_that_cannot_be_read_still_wake_themselves() -> None:
    watch = Watch()
    for spec in (None, {"models": "x"}, {"models": [None, {"name": {}}]}):
        manifest = {**instance("odd"), "spec": spec}
        manifest["metadata"]["uid"] = repr(spec)
        assert watch.tell(names.SDINSTANCE, "ADDED", manifest) == [(user("odd"), NOW)]
    manifest = {**bundle(files=[file()]), "status": "odd"}
    manifest["metadata"]["generation"] = 1
    assert watch.tell(names.MODELBUNDLE, "ADDED", manifest) == [(BUNDLE, URGENT)]


def test_nothing_is_remembered_of_what_is_gone() -> None:
    references = References()
    references.note(user("a"), frozenset({BUNDLE, PLUGIN}))
    references.note_plugin(PLUGIN, frozenset({"sd15"}))
    references.note(user("a"), frozenset())
    references.note_plugin(PLUGIN, frozenset())
    for key in (BUNDLE, PLUGIN, user("a")):
        references.changed(key, {"metadata": {}})
        references.changed(key, None)
        references.renewed(key, {"metadata": {}})
        references.renewed(key, None)
    assert references.users(BUNDLE) == references.users(PLUGIN) == set()
    assert (references._named, dict(references._users), references._seen) == ({}, {}, {})
    assert (references._generations, references._needed) == ({}, {})


def test_a_watch_that_is_not_renewed_grows_too_old() -> None:
    time = 0.0
    ages = watching.WatchAges((*names.OWN, names.POD), clock=lambda: time)
    time = watching.OLDEST_WATCH - 1.0
    assert ages.too_old() == []
    ages.seen("pods")
    ages.seen("strangers")
    time += 2.0
    assert "pods" not in ages.too_old()
    assert set(ages.too_old()) == {"sdinstances", "modelbundles", "sdplugins"}
    assert ages.seconds()["pods"] == 2.0


def test_kopf_only_watches_our_own_kinds() -> None:
    watch = Watch()
    registry = watching.registry(watch.events, watching.WatchAges(names.OWN))
    assert len(registry._watching.get_all_handlers()) == len(names.OWN)
    for unwanted in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert not unwanted.get_all_handlers()


async def test_kopf_posts_nothing_and_has_no_peers() -> None:
    settings = kopf.OperatorSettings()
    watching.settings_for_kopf(settings)
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    assert 2 * (settings.watching.client_timeout or 0) < watching.OLDEST_WATCH
    await asyncio.sleep(0)
