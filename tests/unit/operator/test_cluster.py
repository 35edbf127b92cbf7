"""The edge to the API server, against a small HTTP server that answers as scripted."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from sd_operator import errors, names
from sd_operator.cluster import Cluster
from sd_operator.metrics import Metrics

MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "demo", "namespace": "ns"},
    "spec": {"replicas": 1},
}


class Script:
    """Answers in turn; the last one for ever. Notes what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = [(200, {}, {})]
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str], str]] = []

    def will(self, *answers: tuple[int, Any] | tuple[int, Any, dict[str, str]]) -> None:
        self.answers = [(answer[0], answer[1], answer[2] if len(answer) == 3 else {}) for answer in answers]

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.path, dict(request.query), dict(request.headers), body))
        status, answer, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            return web.Response(status=status, text=answer, headers=headers)
        return web.json_response(answer, status=status, headers=headers)


class Rig:
    def __init__(self, cluster: Cluster, script: Script, metrics: Metrics, slept: list[float]) -> None:
        self.cluster, self.script, self.metrics, self.slept = cluster, script, metrics, slept


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    script, metrics, slept = Script(), Metrics(), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    async with TestServer(app) as server:
        configuration: Any = Configuration()
        configuration.host = f"http://127.0.0.1:{server.port}"
        client: Any = ApiClient(configuration)
        try:
            yield Rig(Cluster(client, metrics, sleep=sleep), script, metrics, slept)
        finally:
            await client.close()


async def test_apply_is_server_side_apply_by_our_manager_and_strict(rig: Rig) -> None:
    rig.script.will((200, {**MANIFEST, "status": {}}))
    assert (await rig.cluster.apply(MANIFEST))["status"] == {}
    ((method, path, query, headers, body),) = rig.script.asked
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/demo")
    assert query == {"fieldManager": "sd-operator", "force": "true", "fieldValidation": "Strict"}
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert json.loads(body) == MANIFEST


async def test_a_status_goes_to_the_subresource_and_both_are_counted(rig: Rig) -> None:
    await rig.cluster.apply(MANIFEST)
    await rig.cluster.apply_status(MANIFEST)
    assert rig.script.asked[1][1].endswith("/deployments/demo/status")
    text = rig.metrics.exposition().decode()
    assert 'sdo_api_writes_total{kind="Deployment",verb="apply"} 1.0' in text
    assert 'sdo_api_writes_total{kind="Deployment",verb="apply-status"} 1.0' in text


async def test_what_is_missing_is_none(rig: Rig) -> None:
    rig.script.will((404, {"message": "not found"}))
    assert await rig.cluster.get(names.CLAIM, namespace="ns", name="x") is None
    assert rig.script.asked[0][1] == "/api/v1/namespaces/ns/persistentvolumeclaims/x"


async def test_find_selects_on_the_server(rig: Rig) -> None:
    rig.script.will((200, {"items": [{"metadata": {"name": "a"}}]}))
    found = await rig.cluster.find(names.JOB, namespace="ns", labels="a=b", fields="c=d")
    assert [item["metadata"]["name"] for item in found] == ["a"]
    assert rig.script.asked[0][1:3] == (
        "/apis/batch/v1/namespaces/ns/jobs",
        {"labelSelector": "a=b", "fieldSelector": "c=d"},
    )


async def test_delete_means_this_very_object_and_gone_is_fine(rig: Rig) -> None:
    rig.script.will((200, {}), (404, {}))
    for _ in range(2):
        await rig.cluster.delete(names.JOB, namespace="ns", name="x", uid="u")
    assert json.loads(rig.script.asked[0][4]) == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
    }
    assert 'sdo_api_writes_total{kind="Job",verb="delete"} 1.0' in rig.metrics.exposition().decode()


async def test_failures_that_may_pass_are_tried_again_and_the_server_is_heeded(rig: Rig) -> None:
    rig.script.will(
        (429, {"message": "slow down"}, {"Retry-After": "3"}),
        (503, "down"),
        (500, {"message": "etcd"}, {"Retry-After": "600"}),
        (200, {"ok": 1}),
    )
    assert await rig.cluster.get(names.POD, namespace="ns", name="x") == {"ok": 1}
    assert rig.slept == [3.0, 0.4, 10.0]


async def test_patience_ends(rig: Rig) -> None:
    rig.script.will((503, "down"))
    with pytest.raises(errors.TransientError):
        await rig.cluster.apply(MANIFEST)
    assert len(rig.script.asked) == 4
    assert 'sdo_api_writes_total{kind="Deployment"' not in rig.metrics.exposition().decode()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.RefusedError),
        (403, errors.RefusedError),
        (422, errors.RefusedError),
        (409, errors.ConflictError),
        (401, errors.ClusterError),
        (404, errors.ClusterError),
    ],
)
async def test_a_refusal_is_not_tried_again_and_keeps_the_server_s_words(
    rig: Rig, status: int, expected: type[errors.ClusterError]
) -> None:
    rig.script.will((status, {"message": 'Deployment "demo" is invalid: spec.x: Required value'}))
    with pytest.raises(expected, match=r"spec\.x: Required value") as caught:
        await rig.cluster.apply(MANIFEST)
    assert type(caught.value) is expected
    assert len(rig.script.asked) == 1


async def test_a_namespace_that_ends_is_told_from_other_refusals(rig: Rig) -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated"}]
    rig.script.will((403, {"message": "unable to create new content", "details": {"causes": causes}}))
    with pytest.raises(errors.NamespaceEndingError, match="new content"):
        await rig.cluster.apply(MANIFEST)


async def test_a_server_that_is_not_there_is_a_failure_that_may_pass() -> None:
    configuration: Any = Configuration()
    configuration.host = "http://127.0.0.1:9"

    async def sleep(_: float) -> None:
        return

    async with ApiClient(configuration) as client:
        cluster = Cluster(client, Metrics(), sleep=sleep)
        with pytest.raises(errors.TransientError, match="GET /api/v1/namespaces/ns/pods"):
            await cluster.find(names.POD, namespace="ns")


@pytest.mark.parametrize(
    "words",
    [
        "failed to create typed patch object (ns/x): .spec.y: field not declared in schema",
        "failed to convert new object (ns/x; apps/v1, Kind=Deployment): quantities must match",
    ],
    ids=["a field that no kind has", "a value of the wrong form"],
)
async def test_what_does_not_fit_the_kind_is_a_refusal_whatever_the_status(rig: Rig, words: str) -> None:
    rig.script.will((500, {"message": words}))
    with pytest.raises(errors.RefusedError, match="failed to"):
        await rig.cluster.apply(MANIFEST)
    assert len(rig.script.asked) == 1


@pytest.mark.parametrize(
    ("status", "resources", "served"),
    [
        (200, ["sdinstances", "sdinstances/status", "modelbundles", "sdplugins"], True),
        (200, ["sdinstances", "sdinstances/status", "modelbundles"], False),
        (404, [], False),
    ],
)
async def test_whether_our_kinds_are_there(rig: Rig, status: int, resources: list[str], served: bool) -> None:
    rig.script.will((status, {"resources": [{"name": name} for name in resources]}))
    assert await rig.cluster.serves_our_kinds() is served


async def test_a_cluster_scoped_kind_and_all_namespaces_are_asked_for_with_no_namespace(rig: Rig) -> None:
    rig.script.will((200, {"items": []}))
    await rig.cluster.find(names.NODE, namespace="")
    await rig.cluster.get(names.DEVICECLASS, namespace="", name="gpu")
    assert [path for _, path, *_ in rig.script.asked] == [
        "/api/v1/nodes",
        "/apis/resource.k8s.io/v1/deviceclasses/gpu",
    ]


async def test_an_event_is_posted_and_one_that_is_there_already_is_fine(rig: Rig) -> None:
    manifest = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x", "namespace": "ns"}}
    rig.script.will((201, manifest), (409, {"message": "already exists"}))
    for _ in range(2):
        await rig.cluster.create_event(manifest)
    method, path, _, _, body = rig.script.asked[0]
    assert (method, path, json.loads(body)) == ("POST", "/api/v1/namespaces/ns/events", manifest)
    assert 'sdo_api_writes_total{kind="Event",verb="create"} 1.0' in rig.metrics.exposition().decode()


async def test_what_is_created_is_posted_by_our_manager_and_a_taken_name_is_a_conflict(rig: Rig) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "ns"}}
    rig.script.will((201, manifest), (409, {"message": 'secrets "key" already exists'}))
    assert await rig.cluster.create(names.SECRET, manifest) == manifest
    method, path, query, _, body = rig.script.asked[0]
    assert (method, path, json.loads(body)) == ("POST", "/api/v1/namespaces/ns/secrets", manifest)
    assert query == {"fieldManager": "sd-operator"}
    with pytest.raises(errors.ConflictError, match="already exists"):
        await rig.cluster.create(names.SECRET, manifest)


async def test_a_list_comes_in_pages_of_one_moment_and_its_items_say_what_they_are(rig: Rig) -> None:
    rig.script.will(
        (
            200,
            {
                "metadata": {"resourceVersion": "7", "continue": "more"},
                "items": [{"metadata": {"name": "a"}}],
            },
        ),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    )
    pages = [page async for page in rig.cluster.pages(names.POD, namespace="", labels="a=b")]
    assert [page.version for page in pages] == ["7", "7"]
    assert pages[0].items == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
    assert [query.get("continue", "") for _, _, query, *_ in rig.script.asked] == ["", "more"]
    assert rig.script.asked[1][1] == "/api/v1/pods"
    assert rig.script.asked[1][2]["labelSelector"] == "a=b"
    assert rig.script.asked[1][3]["Accept"] == "application/json"


async def test_an_audit_asks_for_metadata_only(rig: Rig) -> None:
    rig.script.will((200, {"metadata": {"resourceVersion": "7"}, "items": None}))
    pages = [page async for page in rig.cluster.pages(names.POD, namespace="ns", metadata_only=True)]
    assert [page.items for page in pages] == [[]]
    assert rig.script.asked[0][3]["Accept"].startswith("application/json;as=PartialObjectMetadataList;")


def line(type: str, content: dict[str, Any]) -> str:
    return json.dumps({"type": type, "object": content}) + "\n"


async def test_a_watch_yields_events_from_a_version_on_until_the_server_ends_it(rig: Rig) -> None:
    rig.script.will((200, line("ADDED", {"a": 1}) + line("BOOKMARK", {"b": 2})))
    events = [event async for event in rig.cluster.watch(names.POD, namespace="", labels="a=b", since="7")]
    assert events == [{"type": "ADDED", "object": {"a": 1}}, {"type": "BOOKMARK", "object": {"b": 2}}]
    _, path, query, *_ = rig.script.asked[0]
    assert path == "/api/v1/pods"
    assert (query["watch"], query["resourceVersion"], query["labelSelector"]) == ("true", "7", "a=b")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, line("ERROR", {"code": 410, "message": "too old"})), 410),
        ((410, {"message": "too old"}), 410),
        ((200, line("ERROR", {"code": 500, "message": "too old"})), 500),
        ((403, {"message": "too old"}), 403),
    ],
)
async def test_a_watch_that_fails_says_how(rig: Rig, answer: tuple[int, Any], status: int) -> None:
    rig.script.will(answer)
    with pytest.raises(errors.ClusterError, match="too old") as caught:
        _ = [event async for event in rig.cluster.watch(names.POD, namespace="", labels="", since="7")]
    assert caught.value.status == status


async def test_a_watch_that_breaks_off_in_a_line_may_be_tried_again(rig: Rig) -> None:
    rig.script.will((200, line("ADDED", {"a": 1}) + '{"type": "ADD'))
    seen = []
    with pytest.raises(errors.TransientError):
        async for event in rig.cluster.watch(names.POD, namespace="", labels="", since="7"):
            seen.append(event["type"])
    assert seen == ["ADDED"]


async def test_optional_kinds_are_looked_for_once(rig: Rig) -> None:
    assert rig.cluster.serves() == frozenset()
    rig.script.will((200, {"resources": [{"name": "resourceclaimtemplates"}, {"name": "deviceclasses"}]}))
    await rig.cluster.discover()
    assert rig.cluster.serves() == {names.CLAIMTEMPLATE, names.DEVICECLASS}
    # Of a group that it does not serve, an API server says so in a line of text.
    rig.script.will((404, "404 page not found"))
    await rig.cluster.discover()
    assert rig.cluster.serves() == frozenset()
