"""What is handed in to the queue of the page's events, judged before Gradio has it: that answers what it
cannot take with a bare 500, or takes it and fails later. Knows of events what they need, not what they do.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Receive

#: A session's name, as browsers make them up.
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)


def complaint(body: bytes, needed: Mapping[int, int]) -> str | None:
    """What is wrong with a body, in a sentence; None: nothing. `needed`: how many values each event takes
    that the server has something to do for."""
    try:
        told = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    if not isinstance(told, dict):
        return "the body is not a JSON object"
    event, data, session, trigger = (
        told.get(each) for each in ("fn_index", "data", "session_hash", "trigger_id")
    )
    if type(event) is not int or event not in needed:
        return f"fn_index: {_short(event)} is not supported; allowed: the id of an event of /config"
    if not isinstance(data, list) or len(data) != needed[event]:
        given = f"{len(data)} values" if isinstance(data, list) else _short(data)
        return f"data: {given} cannot be taken; allowed: a list of {needed[event]}, for event {event}"
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        return f"session_hash: {_short(session)} is not supported; allowed: 1 to 64 letters, digits, _ and -"
    if trigger is not None and type(trigger) is not int:
        return f"trigger_id: {_short(trigger)} is not supported; allowed: the id of a component of /config"
    return None


async def whole(receive: Receive) -> tuple[bytes, Receive]:
    """A request's body, and what gives it again, and then whatever follows it."""
    parts: list[bytes] = []
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
    body, gone = b"".join(parts), message["type"] == "http.disconnect"
    again: list[Message] = [{"type": "http.disconnect"} if gone else {"type": "http.request", "body": body}]

    async def repeated() -> Message:
        return again.pop() if again else await receive()

    return body, repeated


def _not_json(name: str) -> Any:
    raise ValueError(name)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
