"""Requests to the HTTP interface beside the page, in process, in the name of whoever looks at the page.

Authentication, limits and refusals are therefore the interface's own. Knows routes; nothing of components.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp

#: What of the visitor's request goes along: who asks, and by which name of the server.
_PASSED_ON = ("authorization", "host")

#: Where no answer of the server's can come from.
_BASE = "http://page.invalid"

#: How a refusal names its field: `steps: 9999 is not supported; allowed: …`, in a job `parameters.steps: …`;
#: of a job several may follow one another.
_FIELD = re.compile(r"^(?:parameters\.)?([A-Za-z_]\w*(?:\.\w+)*): ")
_JOBS = "parameters."
_NEXT = re.compile(rf"; (?={re.escape(_JOBS)}[A-Za-z_]\w*(?:\.\w+)*: )")


@dataclass(eq=False)
class Refused(Exception):
    """An answer that is not a success: its status, the word for programs, the sentence for people, and the
    field that the sentence is about, if it names one."""

    status: int
    reason: str
    detail: str
    field: str | None = None

    @property
    def parts(self) -> list[tuple[str | None, str]]:
        """Its complaints, each behind the field that it is about, in the words of a form, which has no
        `parameters`."""
        if self.field is not None and field_of(self.detail) != self.field:
            return [(self.field, self.detail)]
        return [(field_of(each), each.removeprefix(_JOBS)) for each in _NEXT.split(self.detail)]

    @property
    def told(self) -> str:
        """The sentence in the words of a form."""
        return "; ".join(sentence for _, sentence in self.parts)

    def __str__(self) -> str:
        return self.told


class Api:
    """The interface, as one visitor may use it."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        passed_on = {name: headers[name] for name in _PASSED_ON if headers.get(name)}
        self._transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._headers = passed_on

    async def get(self, path: str, **parameters: str) -> Any:
        """The answer's JSON. Raises `Refused`."""
        return (await self._send("GET", path, params=parameters)).json()

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON. Raises `Refused`."""
        return (await self._send("POST", path, json=body, headers=dict(headers or {}))).json()

    async def delete(self, path: str) -> None:
        """Raises `Refused`."""
        await self._send("DELETE", path)

    async def picture(self, path: str, **parameters: str) -> bytes | None:
        """The file of a picture; None where there is none to show (204). Raises `Refused`."""
        answer = await self._send("GET", path, params=parameters)
        return answer.content or None

    async def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        # A client a request: it holds no connection, and belongs to no event loop.
        async with httpx.AsyncClient(
            transport=self._transport, base_url=_BASE, headers=self._headers, timeout=None
        ) as client:
            answer = await client.request(method, path, **sent)
        if answer.is_error:
            raise refusal_of(answer.status_code, answer.content)
        return answer


def refusal_of(status: int, body: bytes) -> Refused:
    """What an answer of A1111's shape says."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Refused(status, "NotAnswered", f"The server answered with status {status} and no sentence.")
    detail = said.get("detail") or said.get("errors") or f"The server answered with status {status}."
    if not isinstance(detail, str):
        detail = json.dumps(detail, ensure_ascii=False)
    return Refused(status, str(said.get("error", "")), detail, field_of(detail))


def field_of(detail: str) -> str | None:
    """The field that a refusal's sentence begins with."""
    named = _FIELD.match(detail)
    return named.group(1) if named else None


class Door:
    """Where visitors' requests to the interface go."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def api(self, headers: Mapping[str, str]) -> Api:
        """The interface for who sent a request with these headers (`gr.Request.headers`)."""
        return Api(self._app, headers)
