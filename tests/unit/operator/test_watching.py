"""Events become keys; watches have an age; and who uses what is kept in mind."""

import asyncio
from typing import Any

import kopf
import pytest
from operator_fakes import bundle, file, instance

from sd_operator import names, watching
from sd_operator.names import Key
from sd_operator.references import References
from sd_operator.workqueue import WorkQueue

BUNDLE = Key("ModelBundle", "ns", "sd15")


def user(name: str) -> Key:
    return Key("SDInstance", "ns", name)


async def nothing(_: Key) -> None:
    return None


class Watch:
    """A queue that nobody works on, and the handlers in front of it."""

    def __init__(self) -> None:
        self.added: list[tuple[Key, bool]] = []
        watch = self

        class Queue(WorkQueue[Key]):
            def add(self, key: Key, *, after: float = 0.0) -> None:
                watch.added.append((key, after > 0))

        self.queue = Queue(nothing, workers=1)
        self.references = References()

    def take(self) -> list[tuple[Key, bool]]:
        taken, self.added = sorted(self.added), []
        return taken

    def instance(
        self, name: str, *bundles: str, type: str | None = "ADDED", generation: int = 1
    ) -> list[tuple[Key, bool]]:
        manifest = instance(name, models=[{"name": each} for each in bundles])
        manifest["metadata"]["generation"] = generation
        watching.instance_event(self.queue, self.references, {"type": type, "object": manifest})
        return self.take()

    def bundle(self, *, type: str | None = "MODIFIED", **changes: Any) -> list[tuple[Key, bool]]:
        manifest = bundle()
        manifest["metadata"].update(uid="u", generation=changes.pop("generation", 1))
        manifest["status"] = changes
        watching.bundle_event(self.queue, self.references, {"type": type, "object": manifest})
        return self.take()

    def child(self, kind: str, **labels: str) -> list[tuple[Key, bool]]:
        manifest = {"kind": kind, "metadata": {"name": "x", "namespace": "ns", "labels": labels}}
        watching.child_event(self.queue, self.references, {"type": "MODIFIED", "object": manifest})
        return self.take()


def test_an_instance_wakes_itself_now_and_its_bundles_later() -> None:
    watch = Watch()
    assert watch.instance("demo", "sd15") == [(BUNDLE, True), (user("demo"), False)]
    # Its own status: what its children tell in the same moment may join.
    assert watch.instance("demo", "sd15", type="MODIFIED") == [(user("demo"), True)]
    other = Key("ModelBundle", "ns", "other")
    assert watch.instance("demo", "other", generation=2) == [
        (other, True),
        (BUNDLE, True),
        (user("demo"), False),
    ]
    assert watch.instance("demo", "other", type="DELETED") == [(other, True), (user("demo"), False)]


def test_a_bundle_wakes_its_users_when_it_concerns_them() -> None:
    watch = Watch()
    watch.instance("a", "sd15")
    watch.instance("b", "sd15")
    both = [(BUNDLE, False), (user("a"), False), (user("b"), False)]
    later = [(BUNDLE, True), (user("a"), False), (user("b"), False)]
    alone = [(BUNDLE, True)]
    assert watch.bundle() == both
    assert watch.bundle() == alone
    assert watch.bundle(usedBy=["a", "b"]) == alone
    assert watch.bundle(files=[{"name": "base", "state": "Verified"}]) == later
    assert watch.bundle(files=[{"name": "base", "state": "Verified"}], generation=2) == both
    watch.instance("b", "sd15", type="DELETED")
    assert watch.bundle(type="DELETED") == [(BUNDLE, False), (user("a"), False)]


@pytest.mark.parametrize(
    ("kind", "labels", "woken"),
    [
        ("Deployment", {names.LABEL_SD_INSTANCE: "demo"}, [(user("demo"), True)]),
        ("Job", {names.LABEL_SD_BUNDLE: "sd15"}, [(BUNDLE, True)]),
        ("PersistentVolumeClaim", {names.LABEL_SD_BUNDLE: "sd15"}, [(BUNDLE, True), (user("demo"), True)]),
        ("Pod", {"app": "stranger"}, []),
    ],
)
def test_a_child_wakes_its_owner(kind: str, labels: dict[str, str], woken: list[tuple[Key, bool]]) -> None:
    watch = Watch()
    watch.instance("demo", "sd15")
    assert watch.child(kind, **labels) == woken


def test_objects_that_cannot_be_read_still_wake_themselves() -> None:
    watch = Watch()
    for spec in (None, {"models": "x"}, {"models": [None, {"name": {}}]}):
        manifest = {**instance("odd"), "spec": spec}
        manifest["metadata"]["uid"] = repr(spec)
        watching.instance_event(watch.queue, watch.references, {"type": "ADDED", "object": manifest})
        assert watch.take() == [(user("odd"), False)]
    manifest = {**bundle(files=[file()]), "status": "odd"}
    watching.bundle_event(watch.queue, watch.references, {"type": "ADDED", "object": manifest})
    assert watch.take() == [(BUNDLE, False)]


def test_nothing_is_remembered_of_what_is_gone() -> None:
    references = References()
    references.note(user("a"), frozenset({"sd15"}))
    references.note(user("a"), frozenset())
    references.changed(BUNDLE, {"metadata": {}})
    references.changed(BUNDLE, None)
    references.renewed(BUNDLE, {"metadata": {}})
    references.renewed(BUNDLE, None)
    assert references.users(BUNDLE) == set()
    assert (references._bundles, dict(references._users), references._seen) == ({}, {}, {})
    assert references._generations == {}


def test_a_watch_that_is_not_renewed_grows_too_old() -> None:
    time = 0.0
    ages = watching.WatchAges(clock=lambda: time)
    time = watching.OLDEST_WATCH - 1.0
    assert ages.too_old() == []
    ages.seen("pods")
    ages.seen("strangers")
    time += 2.0
    assert "pods" not in ages.too_old()
    assert set(ages.too_old()) == {resource.plural for resource in watching.WATCHED} - {"pods"}
    assert ages.seconds()["pods"] == 2.0


def test_kopf_only_watches() -> None:
    watch = Watch()
    registry = watching.registry(watch.queue, watch.references, watching.WatchAges())
    assert len(registry._watching.get_all_handlers()) == len(watching.WATCHED)
    for unwanted in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert not unwanted.get_all_handlers()


async def test_kopf_posts_nothing_has_no_peers_and_asks_for_children_with_our_label_only() -> None:
    settings = kopf.OperatorSettings()
    watching.settings_for_kopf(settings)
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    assert len(settings.watching.label_selectors) == len(watching.CHILDREN)
    assert set(settings.watching.label_selectors.values()) == {"app.kubernetes.io/managed-by=sd-operator"}
    assert 2 * (settings.watching.client_timeout or 0) < watching.OLDEST_WATCH
    await asyncio.sleep(0)
