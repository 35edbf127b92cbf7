"""Connections to checked addresses: a name is looked up once, and what was checked is what is connected to.

Below HTTP and TLS: certificates are still checked against the name.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import httpcore

from sd_operator.fetch import errors
from sd_operator.fetch.network.addresses import Policy
from sd_operator.fetch.network.failing import Refusal

# Looks a name up: the addresses of a host, as text, an IPv6 one with its scope.
Resolver = Callable[[str, int], Sequence[str]]

# How long looking a name up may take; the system's own patience is longer, and cannot be shortened.
LOOK_UP_SECONDS = 20.0

# There is no such name, or it has no address: asking again gives the same answer.
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, each once, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(_text(each[4]) for each in found))


def _text(place: tuple[object, ...]) -> str:
    scope = place[3] if len(place) == 4 else 0
    return f"{place[0]}%{scope}" if scope and "%" not in str(place[0]) else str(place[0])


def refused(host: str, what: str) -> Refusal:
    return Refusal(
        errors.ADDRESS_REFUSED,
        f"the host {host} {what}, where fetches may not go; "
        "an administrator may allow the network in the operator's settings",
    )


class Deadline:
    """When the thread's present request must have its answer: headers may trickle for ever otherwise."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        self._thread.end = time.monotonic() + seconds
        try:
            yield
        finally:
            self._thread.end = None

    def left(self, timeout: float | None) -> float | None:
        """A timeout cut to what is left; raises httpcore's own when nothing is."""
        end: float | None = getattr(self._thread, "end", None)
        if end is None:
            return timeout
        rest = end - time.monotonic()
        if rest <= 0:
            raise httpcore.ReadTimeout("the answer's head took too long")
        return rest if timeout is None else min(timeout, rest)


class CheckedBackend(httpcore.NetworkBackend):
    """Opens connections for httpcore's pools."""

    def __init__(
        self,
        policy: Policy,
        deadline: Deadline,
        *,
        resolver: Resolver = look_up,
        look_up_seconds: float = LOOK_UP_SECONDS,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._resolver = resolver
        self._look_up_seconds = look_up_seconds
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._checked(host, port)
        end = None if timeout is None else time.monotonic() + timeout
        failure: Exception | None = None
        for tried, address in enumerate(addresses):
            # An address that swallows packets must leave time for those after it.
            share = None if end is None else max(0.1, (end - time.monotonic()) / (len(addresses) - tried))
            try:
                stream = self._plain.connect_tcp(
                    address, port, timeout=share, local_address=local_address, socket_options=socket_options
                )
                return Connection(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = type(error)(f"{host} port {port}: {error}")
                failure.__cause__ = error
        assert failure is not None
        raise failure

    def _checked(self, host: str, port: int) -> Sequence[str]:
        complaint = self._policy.complaint_of_host(host)
        if complaint is not None:
            raise refused(host, f"is {complaint}")
        addresses = self._resolved(host, port)
        for address in addresses:
            complaint = self._policy.complaint(ipaddress.ip_address(address))
            # All of them, not those that pass: whoever mixes them plays with the order.
            if complaint is not None:
                raise refused(host, f"leads to {address}, {complaint}")
        return addresses

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = self._in_time(host, port)
        except queue.Empty:
            raise Refusal(
                errors.DNS,
                f"looking up the host {host} takes more than {self._look_up_seconds:g} s",
                retryable=True,
            ) from None
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                raise Refusal(
                    errors.DNS, f"the host {host} does not exist ({error.strerror}); check the address"
                ) from error
            raise Refusal(
                errors.DNS, f"the host {host} cannot be looked up now: {error.strerror}", retryable=True
            ) from error
        except UnicodeError as error:
            raise Refusal(errors.DNS, f"the host {host} is no name of a host; check the address") from error
        if not addresses:
            raise Refusal(errors.DNS, f"the host {host} has no address; check the address")
        return addresses

    def _in_time(self, host: str, port: int) -> Sequence[str]:
        """What the resolver finds; queue.Empty when that takes too long.

        In a thread of its own, which is left behind: nothing ends the system's look-up early, not even a
        signal, but this thread's waiting for it.
        """
        found: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

        def look() -> None:
            try:
                found.put(self._resolver(host, port))
            except (OSError, ValueError) as error:
                # An error of the look-up, or of the name: for the thread that waits.
                found.put(error)

        threading.Thread(target=look, name="look-up", daemon=True).start()
        answer = found.get(timeout=self._look_up_seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Connection(httpcore.NetworkStream):
    """A connection whose reads keep the thread's deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._busy = False

    def rest(self) -> None:
        """The answer to the last request is done with."""
        self._busy = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._busy = True
        self._inner.write(buffer, timeout=timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # A name that ends in a dot is the same name to DNS, and to no certificate. Here, where nothing of it
        # is kept: it must not be what the host of a redirect is held against.
        name = server_hostname.removesuffix(".") if server_hostname is not None else None
        return Connection(self._inner.start_tls(ssl_context, name, timeout), self._deadline)

    def get_extra_info(self, info: str) -> object:
        # The pool takes bytes on a connection at rest for its end. It looks without a lock: while another
        # thread has just begun to use the connection, they are that thread's answer.
        if info == "is_readable" and self._busy:
            return False
        return self._inner.get_extra_info(info)
