"""A small client of the API server for those who set the scene and look on; the operator has its own.

Speaks as the kubeconfig's user, with a client certificate. Objects go in and out as plain dictionaries,
addressed by API version and plural.
"""

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml

Object = dict[str, Any]

FIELD_MANAGER = "rig"
#: A watch event may be as long as an object.
LONGEST_LINE = 8 * 2**20
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class KubeError(Exception):
    """The API server refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """How the API server of a kubeconfig is reached."""

    server: str
    tls: ssl.SSLContext

    @classmethod
    def read(cls, kubeconfig: Path) -> "Access":
        """From the current context; certificates may be embedded or files."""
        config = yaml.safe_load(kubeconfig.read_text())

        def entry(kind: str, name: str) -> Object:
            return next(item[kind] for item in config[f"{kind}s"] if item["name"] == name)

        context = entry("context", config["current-context"])
        cluster, user = entry("cluster", context["cluster"]), entry("user", context["user"])
        with tempfile.TemporaryDirectory() as folder:

            def file(owner: Mapping[str, Any], key: str) -> str:
                if f"{key}-data" not in owner:
                    return str(owner[key])
                path = Path(folder) / key
                path.touch(mode=0o600)
                path.write_bytes(base64.b64decode(owner[f"{key}-data"]))
                return str(path)

            tls = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
            tls.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
        return cls(str(cluster["server"]), tls)

    def session(self) -> aiohttp.ClientSession:
        """A client without limits of its own."""
        return aiohttp.ClientSession(
            self.server,
            connector=aiohttp.TCPConnector(limit=0, ssl=self.tls),
            timeout=aiohttp.ClientTimeout(total=60),
            read_bufsize=LONGEST_LINE,
        )


def path(api_version: str, plural: str, namespace: str = "", name: str = "") -> str:
    """Where the API server has an object or a collection."""
    root = "/api" if "/" not in api_version else "/apis"
    parts = [f"{root}/{api_version}"]
    parts += ["namespaces", namespace] if namespace else []
    return "/".join([*parts, plural, *([name] if name else [])])


class Kube:
    """Calls of one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, kubeconfig: Path) -> AsyncIterator["Kube"]:
        """A client for the length of the block."""
        async with Access.read(kubeconfig).session() as session:
            yield cls(session)

    async def get(self, api_version: str, plural: str, namespace: str, name: str) -> Object:
        """One object; a KubeError of 404 where there is none."""
        return await self._call("GET", path(api_version, plural, namespace, name))

    async def find(
        self, api_version: str, plural: str, namespace: str = "", *, labels: str = ""
    ) -> list[Object]:
        """All objects of a kind; items of a list carry no kind of their own, so it is put back."""
        query = {"labelSelector": labels} if labels else {}
        answer = await self._call("GET", path(api_version, plural, namespace), query)
        kind = str(answer["kind"]).removesuffix("List")
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    async def create(self, plural: str, manifest: Object) -> Object:
        """A new object."""
        where = path(manifest["apiVersion"], plural, manifest["metadata"].get("namespace", ""))
        return await self._call("POST", where, {"fieldManager": FIELD_MANAGER}, manifest)

    async def apply(self, plural: str, manifest: Object) -> Object:
        """Server-side apply, by force."""
        metadata = manifest["metadata"]
        where = path(manifest["apiVersion"], plural, metadata.get("namespace", ""), metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", where, query, manifest, content=APPLY)

    async def patch(
        self,
        api_version: str,
        plural: str,
        namespace: str,
        name: str,
        change: Object,
        *,
        subresource: str = "",
    ) -> Object:
        """A merge patch."""
        where = path(api_version, plural, namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._call("PATCH", where, {"fieldManager": FIELD_MANAGER}, change, content=MERGE)

    async def delete(self, api_version: str, plural: str, namespace: str, name: str) -> None:
        """Gone, or going; that it was gone already is fine."""
        try:
            await self._call("DELETE", path(api_version, plural, namespace, name))
        except KubeError as error:
            if error.status != 404:
                raise

    async def watch(
        self, api_version: str, plural: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Object]:
        """Events for ever, what there is already as ADDED; begins anew where the server ends it or forgot."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        query = {key: value for key, value in selectors.items() if value}
        where, version = path(api_version, plural, namespace), ""
        while True:
            if not version:
                answer = await self._call("GET", where, query)
                version = answer["metadata"]["resourceVersion"]
                for item in answer["items"]:
                    yield {"type": "ADDED", "object": item}
            try:
                async for event in self._events(
                    where, {**query, "watch": "true", "resourceVersion": version}
                ):
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _events(self, where: str, query: Mapping[str, str]) -> AsyncIterator[Object]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        full = {**query, "allowWatchBookmarks": "true", "timeoutSeconds": "300"}
        async with self._session.get(where, params=full, timeout=timeout) as response:
            if response.status != 200:
                yield {"type": "ERROR", "object": {}}
                return
            async for line in response.content:
                yield json.loads(line)

    async def _call(
        self,
        method: str,
        where: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        content: str = "application/json",
    ) -> Object:
        async with self._session.request(
            method,
            f"{where}?{urlencode(query)}" if query else where,
            data=json.dumps(body) if body is not None else None,
            headers={"Content-Type": content, "Accept": "application/json"},
        ) as response:
            answer: Object = await response.json(content_type=None)
            if response.status >= 300:
                raise KubeError(response.status, str(answer.get("message", answer)))
            return answer
