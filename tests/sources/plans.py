"""What an address asks the file server to do wrong, in the words of its query.

    /files/<case>/<name>?cut=1000000&times=2        two answers end after a megabyte
    /files/<case>/<name>?status=429&retry_after=2&times=3
    /files/<case>/<name>?redirect=http://169.254.169.254/

An address without a query is served as a good server would. Bytes are those of the body; a percentage is of
the file, reached when the answers of the case have sent so much together. Pure.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Etag = Literal["strong", "weak", "none", "fickle"]
RangeLie = Literal["start", "total", "missing"]


class PlanError(Exception):
    """The query asks for something unknown."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong. A fault applies to the requests that `skip`, `since` and `times` choose."""

    #: Requests of the case that are served well before the trouble begins, and the percentage that is sent.
    skip: int = 0
    since: float = 0.0
    #: How many requests have the trouble; 0: all.
    times: int = 0

    # --- instead of the file
    #: Answered instead of the file; with Retry-After in seconds.
    status: int = 0
    retry_after: str = ""
    #: An address, or `loop`: the address itself.
    redirect: str = ""
    redirect_status: int = 302
    #: A web page that wants a login, with status 200.
    html: bool = False
    #: `user:password` that Basic authentication must have; the token that Bearer must have.
    basic: str = ""
    bearer: str = ""
    #: The token from the moment that this percentage was sent; answers that run then are cut.
    then_bearer: str = ""
    then_at: float = 0.0

    # --- how the bytes come
    #: Bytes per second of all answers of the case together.
    rate: float = 0.0
    #: Seconds of silence after so many bytes of an answer; 0: before its head.
    stall: float = 0.0
    stall_after: int = 0
    #: An answer ends after so many bytes, with its connection.
    cut: int = 0
    #: The answers that run when this percentage was sent are cut; later ones are not.
    cut_at: float = 0.0

    # --- what is said of the bytes
    #: False: Range is ignored, as by a server that knows no ranges.
    ranges: bool = True
    #: strong; weak; none; fickle: another one for every request.
    etag: Etag = "strong"
    #: Another file of the case is served by this name from the moment that this percentage was sent.
    swap: str = ""
    swap_at: float = 0.0
    #: Added to Content-Length. More than there is: the connection is closed there. Less: so much is sent.
    length: int = 0
    #: Without Content-Length.
    chunked: bool = False
    #: Content-Encoding, whether or not it was asked for.
    encoding: Literal["", "gzip"] = ""
    #: Content-Range with another start or total than those of the bytes, or none.
    range_lie: Literal["", RangeLie] = ""


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "etag": get_args(Etag),
    "encoding": ("gzip",),
    "range_lie": get_args(RangeLie),
}


def parse(query: Mapping[str, str]) -> Plan:
    """The plan of a query; PlanError names a word or value that there is not."""
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Plan)}
    if unknown := set(query) - set(kinds):
        raise PlanError(f"{', '.join(sorted(unknown))}: no such trouble; there are {', '.join(kinds)}")
    return Plan(**{name: _value(name, kinds[name], text) for name, text in query.items()})


def _value(name: str, kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("yes", "no"):
            raise PlanError(f"{name}={text}: yes or no")
        return text == "yes"
    if name in _CHOICES and text not in _CHOICES[name]:
        raise PlanError(f"{name}={text}: one of {', '.join(_CHOICES[name])}")
    try:
        return kind(text)
    except ValueError as error:
        raise PlanError(f"{name}={text}: {kind.__name__} expected") from error
