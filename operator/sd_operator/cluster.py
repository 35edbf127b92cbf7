"""The only module that speaks to the Kubernetes API. Objects go in and out as plain dictionaries.

Reads, watches, server-side apply and deletes, with timeouts; answers that may pass (429, 5xx, lost
connections) are retried a few times here, heeding Retry-After, everything else becomes an error of ours at
this edge. Knows nothing of what the objects mean. (Kopf has a connection of its own; see watching.py.)
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
import tenacity
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from sd_operator import errors
from sd_operator.metrics import Metrics
from sd_operator.names import API_VERSION, BY_KIND, EVENT, FIELD_MANAGER, OPTIONAL, OWN, Resource

Object: TypeAlias = dict[str, Any]

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
#: Seconds after which the API server ends a watch; and after which a silent one is dead, as the server
#: bookmarks each watch about once a minute.
WATCH_SECONDS = 240
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=WATCH_SECONDS + 60, sock_connect=5, sock_read=150)
#: Objects in one page of a list: what is parsed at once is what the process' memory peaks at.
PAGE_SIZE = 250
METADATA_PAGE_SIZE = 500
JSON = "application/json"
METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
ATTEMPTS = 4
#: A server that asks for more patience gets it from the queue, not from a worker that waits.
LONGEST_WAIT = 10.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
#: Server-side apply answers with 500 to a field that the kind does not have, and to a value of wrong form.
UNFIT = ("failed to create typed patch object", "failed to convert new object")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Page(NamedTuple):
    """A part of a list."""

    items: list[Object]
    #: The resourceVersion of the whole list: all pages show the same moment.
    version: str


class Api(Protocol):
    """What reconciles need of a cluster; a fake in the tests has the same."""

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""

    async def find(
        self, resource: Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """The objects of one namespace ("": of all, or of a cluster-scoped kind) that the selectors match."""

    async def lives(self, resource: Resource, *, namespace: str, name: str, uid: str) -> bool:
        """Whether this very object is there and stays: by the cluster's word, not by what is remembered."""

    async def refind(self, resource: Resource, *, namespace: str, labels: str) -> list[Object]:
        """`find`, by the cluster's word."""

    async def apply(self, manifest: Object) -> Object:
        """Server-side apply: the fields in the manifest become ours, those we no longer name go."""

    async def apply_status(self, manifest: Object) -> Object:
        """The same for the status subresource."""

    async def scale(self, resource: Resource, *, namespace: str, name: str, replicas: int) -> None:
        """Write the number of replicas, and nothing else of the object."""

    async def finalize(self, manifest: Object, finalizers: list[str]) -> Object:
        """Set the finalizers of this very version of an object: those that others set, too, can only be
        removed so."""

    async def delete(self, resource: Resource, *, namespace: str, name: str, uid: str) -> None:
        """Delete this very object, its dependents in the background; already gone is fine."""

    async def create_event(self, manifest: Object) -> None:
        """Post a core/v1 Event; one of its name that is there already is left as it is."""

    def serves(self) -> frozenset[Resource]:
        """Which kinds of `names.OPTIONAL` the cluster had at the operator's start."""


class Source(Protocol):
    """What keeping a cache true needs of a cluster."""

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""

    def pages(
        self, resource: Resource, *, namespace: str, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """All objects ("": of all namespaces) at one moment, page by page."""

    def watch(self, resource: Resource, *, namespace: str, labels: str, since: str) -> AsyncIterator[Object]:
        """Events of a kind after that version, bookmarks among them, until the server ends the watch."""


class Cluster:
    """`Api` and `Source` on a real API server."""

    def __init__(
        self,
        client: Any,
        metrics: Metrics,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._sleep = sleep
        self._served: frozenset[Resource] = frozenset()

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        status, answer = await self._call("GET", _path(resource, namespace, name), missing_ok=True)
        self._metrics.api_reads.labels("get", resource.kind).inc()
        return None if status == 404 else answer

    async def find(
        self, resource: Resource, *, namespace: str, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """The objects of one namespace that the selectors match."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        _, answer = await self._call("GET", _path(resource, namespace), query=query)
        self._metrics.api_reads.labels("list", resource.kind).inc()
        items: list[Object] = answer.get("items", [])
        return items

    async def lives(self, resource: Resource, *, namespace: str, name: str, uid: str) -> bool:
        """Whether this very object is there and stays."""
        return is_alive(await self.get(resource, namespace=namespace, name=name), uid=uid)

    async def refind(self, resource: Resource, *, namespace: str, labels: str) -> list[Object]:
        """The objects of one namespace that the selector matches."""
        return await self.find(resource, namespace=namespace, labels=labels)

    async def apply(self, manifest: Object) -> Object:
        """Server-side apply with our field manager; unknown fields are refused, not dropped."""
        return await self._apply(manifest, subresource="")

    async def apply_status(self, manifest: Object) -> Object:
        """Server-side apply of the status."""
        return await self._apply(manifest, subresource="/status")

    async def scale(self, resource: Resource, *, namespace: str, name: str, replicas: int) -> None:
        """Server-side apply of the scale subresource."""
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"replicas": replicas},
        }
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = f"{_path(resource, namespace, name)}/scale"
        await self._call("PATCH", path, query=query, body=body, content_type=APPLY)
        self._metrics.api_writes.labels("scale", resource.kind).inc()

    async def finalize(self, manifest: Object, finalizers: list[str]) -> Object:
        """Merge patch of the finalizers; the version is a precondition."""
        resource = BY_KIND[manifest["apiVersion"], manifest["kind"]]
        metadata = manifest["metadata"]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
        path = _path(resource, metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER}
        _, answer = await self._call("PATCH", path, query=query, body=body, content_type=MERGE)
        self._metrics.api_writes.labels("finalize", resource.kind).inc()
        return answer

    async def delete(self, resource: Resource, *, namespace: str, name: str, uid: str) -> None:
        """Delete this very object (the uid is a precondition), its dependents in the background."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        status, _ = await self._call("DELETE", _path(resource, namespace, name), body=body, missing_ok=True)
        if status != 404:
            self._metrics.api_writes.labels("delete", resource.kind).inc()

    async def create_event(self, manifest: Object) -> None:
        """Post a core/v1 Event; one of its name that is there already (a retry's) is left as it is."""
        with contextlib.suppress(errors.ConflictError):
            await self.create(EVENT, manifest)

    async def create(self, resource: Resource, manifest: Object) -> Object:
        """Make an object; a ConflictError when there is one of its name, which may be our own, of a request
        whose answer was lost."""
        path = _path(resource, manifest["metadata"]["namespace"])
        _, answer = await self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)
        self._metrics.api_writes.labels("create", resource.kind).inc()
        return answer

    async def serves_our_kinds(self) -> bool:
        """Whether the CRDs are installed and established."""
        return {resource.plural for resource in OWN} <= await self._plurals(API_VERSION)

    async def discover(self) -> None:
        """Look which optional kinds there are, for `serves`."""
        versions = {resource.api_version for resource in OPTIONAL}
        plurals = {version: await self._plurals(version) for version in versions}
        self._served = frozenset(
            resource for resource in OPTIONAL if resource.plural in plurals[resource.api_version]
        )

    def serves(self) -> frozenset[Resource]:
        """Which optional kinds there were when last looked for."""
        return self._served

    async def pages(
        self, resource: Resource, *, namespace: str, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """All objects ("": of all namespaces) at one moment, page by page."""
        query = {"limit": str(METADATA_PAGE_SIZE if metadata_only else PAGE_SIZE)}
        if labels:
            query["labelSelector"] = labels
        while True:
            _, answer = await self._call(
                "GET",
                _path(resource, namespace),
                query=query,
                accept=METADATA_ONLY if metadata_only else JSON,
            )
            self._metrics.api_reads.labels("list", resource.kind).inc()
            items: list[Object] = answer.get("items") or []
            for item in items:
                # The items of a list do not repeat what the list says.
                item.update(apiVersion=resource.api_version, kind=resource.kind)
            yield Page(items, str(answer["metadata"]["resourceVersion"]))
            query["continue"] = answer["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    async def watch(
        self, resource: Resource, *, namespace: str, labels: str, since: str
    ) -> AsyncIterator[Object]:
        """Events of a kind after that version, bookmarks among them, until the server ends the watch."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        if labels:
            query["labelSelector"] = labels
        path = _path(resource, namespace)
        try:
            answer = await self._send("GET", path, query=query, timeout=WATCH_TIMEOUT)
            response = answer.response
            try:
                if response.status != 200:
                    retry_after = response.headers.get("Retry-After")
                    raise _failure("GET", path, response.status, await response.read(), retry_after)
                async for line in response.content:
                    event: Object = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise _failure(
                            "GET", path, status.get("code", 500), json.dumps(status).encode(), None
                        )
                    yield event
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise errors.TransientError(f"watching {path}: {type(error).__name__}: {error}") from error

    async def _plurals(self, api_version: str) -> set[str]:
        status, answer = await self._call("GET", f"/apis/{api_version}", missing_ok=True)
        return {resource["name"] for resource in answer.get("resources", [])} if status == 200 else set()

    async def _apply(self, manifest: Object, *, subresource: str) -> Object:
        resource = BY_KIND[manifest["apiVersion"], manifest["kind"]]
        metadata = manifest["metadata"]
        path = _path(resource, metadata["namespace"], metadata["name"]) + subresource
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        _, answer = await self._call("PATCH", path, query=query, body=manifest, content_type=APPLY)
        verb = "apply-status" if subresource else "apply"
        self._metrics.api_writes.labels(verb, resource.kind).inc()
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        missing_ok: bool = False,
    ) -> tuple[int, Object]:
        """One request, repeated while the failure may pass. Every request we make is idempotent."""
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(errors.TransientError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                return await self._once(
                    method,
                    path,
                    query=query,
                    body=body,
                    content_type=content_type,
                    accept=accept,
                    missing_ok=missing_ok,
                )
        raise AssertionError("tenacity either returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None,
        body: Object | None,
        content_type: str,
        accept: str,
        missing_ok: bool,
    ) -> tuple[int, Object]:
        try:
            response = await self._send(
                method, path, query=query, body=body, content_type=content_type, accept=accept
            )
            raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.TransientError(f"{method} {path}: {type(error).__name__}: {error}") from error
        status: int = response.status
        if status == 404 and missing_ok:
            # Of a group that is not served, the answer is a line of text.
            return status, {}
        if status < 300:
            return status, json.loads(raw)
        raise _failure(method, path, status, raw, response.headers.get("Retry-After"))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: aiohttp.ClientTimeout = REQUEST_TIMEOUT,
    ) -> Any:
        """The client's answer, its body yet to be read."""
        method, url, headers, payload, _ = await self._client.param_serialize(
            method,
            f"{path}?{urlencode(query)}" if query else path,
            # The API server would compress long answers, which costs both sides more than the network does.
            header_params={"Accept": accept, "Content-Type": content_type, "Accept-Encoding": "identity"},
            body=body,
            auth_settings=["BearerToken"],
        )
        return await self._client.call_api(method, url, headers, payload, _request_timeout=timeout)


def is_alive(live: Object | None, *, uid: str) -> bool:
    """Whether it is the object of that uid, and not on its way out."""
    if live is None:
        return False
    metadata = live["metadata"]
    return metadata["uid"] == uid and not metadata.get("deletionTimestamp")


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    root = "/api" if "/" not in resource.api_version else "/apis"
    within = f"namespaces/{quote(namespace)}/" if namespace else ""
    path = f"{root}/{resource.api_version}/{within}{resource.plural}"
    return f"{path}/{quote(name)}" if name else path


def _failure(method: str, path: str, status: int, raw: bytes, retry_after: str | None) -> errors.ClusterError:
    causes: list[Any] = []
    try:
        answer = json.loads(raw)
        message = answer.get("message", "")
        causes = (answer.get("details") or {}).get("causes") or []
    except (ValueError, AttributeError):
        message = raw[:200].decode(errors="replace")
    sentence = message or f"{method} {path}: HTTP {status}"
    patience = float(retry_after) if retry_after and retry_after.isdigit() else None
    unfit = status == 500 and sentence.startswith(UNFIT)
    if not unfit and (status == 429 or status >= 500):
        return errors.TransientError(sentence, status=status, retry_after=patience)
    if status == 409:
        return errors.ConflictError(sentence, status=status)
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return errors.NamespaceEndingError(sentence, status=status)
    if unfit or status in (400, 403, 422):
        return errors.RefusedError(sentence, status=status)
    return errors.ClusterError(sentence, status=status)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, errors.TransientError) else None
    own = 0.2 * 2.0 ** (state.attempt_number - 1)
    return min(LONGEST_WAIT, max(own, asked or 0.0))


@contextlib.asynccontextmanager
async def connect(metrics: Metrics) -> AsyncIterator[Cluster]:
    """A connection with the pod's service account, or outside a cluster with the kubeconfig."""
    configuration: Any = Configuration()
    config_loaders: Any = kubernetes_config
    if SERVICE_ACCOUNT.exists():
        config_loaders.load_incluster_config(client_configuration=configuration)
    else:
        await config_loaders.load_kube_config(client_configuration=configuration)
    # The watches of a dozen kinds, and what the workers can use; each connection costs memory on both sides.
    configuration.connection_pool_maxsize = 48
    client: Any = ApiClient(configuration)
    client.user_agent = FIELD_MANAGER
    try:
        yield Cluster(client, metrics)
    finally:
        await client.close()
        # aiohttp closes TLS transports one loop cycle late.
        await asyncio.sleep(0)
