"""Proxies: what goes through one, what it is not asked for, and what is reached without it."""

import socket
import threading
from contextlib import contextmanager

import pytest

from sd_operator.fetch import errors
from sd_operator.fetch.network.proxies import Proxies
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import (
    Reply,
    at_loopback,
    failure,
    listening,
    secret,
    serving,
    settings,
)


@pytest.fixture
def authority(tmp_path):
    return loopback.authority(tmp_path)


def test_plain_http_goes_through_the_proxy_with_its_own_password():
    with serving(Reply(body=b"by proxy")) as proxy:
        known = settings(http_proxy=f"me:p%40ss@127.0.0.1:{proxy.port}")
        with loopback.client(known) as client:
            assert client.get("http://models.example.org/file?x=1").content == b"by proxy"
    (asked,) = proxy.asked
    assert asked.path == "http://models.example.org/file?x=1"
    assert asked.headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert asked.authorization is None


@contextmanager
def tunnelling(answer=b"HTTP/1.1 200 OK\r\n\r\n"):
    """A proxy that connects to loopback whatever name it is told; gives its port and what it was told."""
    told = []

    def pump(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def behave(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        told.append(head.decode())
        connection.sendall(answer)
        if b" 200 " not in answer:
            return
        port = int(head.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as beyond:
            thread = threading.Thread(target=pump, args=(beyond, connection))
            thread.start()
            pump(connection, beyond)
            thread.join()

    with listening(behave) as port:
        yield port, told


def test_https_goes_through_a_tunnel_of_the_proxy_and_is_checked_to_its_end(tmp_path, authority):
    issuer, pem = authority
    with serving(Reply(body=b"file"), pair=issuer.issue("a", ["models.example.org"])) as web:
        secret(tmp_path / "s", "hub", host=f"models.example.org:{web.port}", token="t1")
        with tunnelling() as (port, told):
            known = settings(https_proxy=f"http://127.0.0.1:{port}", ca_file=pem)
            with loopback.client(known, secrets=tmp_path / "s") as client:
                assert client.get(web.url(host="models.example.org")).content == b"file"
    assert web.asked[0].authorization == "Bearer t1"
    assert told[0].startswith(f"CONNECT models.example.org:{web.port} ") and "t1" not in told[0]


def test_a_name_that_ends_in_a_dot_is_held_against_its_certificate_through_a_tunnel_too(authority):
    issuer, pem = authority
    with (
        serving(Reply(body=b"file"), pair=issuer.issue("a", ["models.example.org"])) as web,
        tunnelling() as (port, _told),
    ):
        known = settings(https_proxy=f"http://127.0.0.1:{port}", ca_file=pem)
        with loopback.client(known) as client:
            assert client.get(web.url(host="models.example.org.")).content == b"file"
        with loopback.client(known) as client:
            assert failure(client, web.url(host="other.example.org.")).reason == errors.TLS


@pytest.mark.parametrize("host", ["a" * 64 + ".example.org", "a..example.org"])
def test_a_proxy_is_not_asked_for_a_host_that_dns_cannot_have(host):
    with (
        tunnelling() as (port, told),
        loopback.client(settings(https_proxy=f"http://127.0.0.1:{port}")) as client,
    ):
        error = failure(client, f"https://{host}/file")
    assert (error.reason, error.retryable, told) == (errors.DNS, False, [])


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        ("407 Proxy Authentication Required", errors.UNAUTHORIZED, False),
        ("403 Forbidden", errors.FORBIDDEN, False),
        ("503 Unavailable", errors.CONNECTION_FAILED, True),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_named(status, reason, retryable):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        tunnelling(answer) as (port, _told),
        loopback.client(settings(https_proxy=f"http://127.0.0.1:{port}")) as client,
    ):
        error = failure(client, "https://models.example.org/")
    assert (error.reason, error.retryable) == (reason, retryable)
    assert "the proxy answered" in error.message


def test_a_proxys_own_address_is_checked():
    with serving(Reply()) as proxy:
        known = settings(http_proxy=f"http://127.0.0.1:{proxy.port}", allowed_networks="")
        with loopback.client(known) as client:
            error = failure(client, "http://models.example.org/")
    assert error.reason == errors.ADDRESS_REFUSED and proxy.asked == []


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "0x7f.1", "[::1]", "localhost", "metadata.google.internal"]
)
def test_a_proxy_is_not_asked_for_what_may_not_be_reached(host):
    with serving(Reply()) as proxy:
        known = settings(http_proxy=f"http://proxy.example.org:{proxy.port}", allowed_networks="127.0.0.7/32")
        with loopback.client(known, resolver=at_loopback("127.0.0.7")) as client:
            error = failure(client, f"http://{host}/")
    assert error.reason == errors.ADDRESS_REFUSED and proxy.asked == []


@pytest.mark.parametrize(
    ("rule", "host", "port", "direct"),
    [
        ("*", "a.example.org", 80, True),
        ("example.org", "example.org", 80, True),
        ("example.org", "A.Example.ORG.", 80, True),
        (".example.org", "a.example.org", 80, True),
        ("*.example.org", "a.example.org", 80, True),
        ("example.org", "anexample.org", 80, False),
        ("example.org:8080", "example.org", 80, False),
        ("example.org:8080", "example.org", 8080, True),
        ("svc", "minio.models.svc", 9000, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "example.org", 80, False),
        ("10.1.2.3:80", "10.1.2.3", 80, True),
        ("fd00::/8", "fd12::1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("0.0.0.0/0", "::1", 80, False),
        ("nonsense/99", "10.1.2.3", 80, False),
        (".", "example.org", 80, False),
    ],
)
def test_what_is_reached_without_a_proxy(rule, host, port, direct):
    proxies = Proxies(http="http://proxy", none_for=("other.example.net", rule))
    assert proxies.of("http", host, port) == (None if direct else "http://proxy")
    assert proxies.of("https", host, port) is None


def test_a_usual_port_need_not_be_written():
    proxies = Proxies(https="http://proxy", none_for=("example.org:443",))
    assert proxies.of("https", "example.org", None) is None


def test_a_proxy_may_be_spoken_to_over_tls_and_is_checked_then(authority):
    issuer, pem = authority
    with serving(Reply(body=b"by proxy"), pair=issuer.issue("a", ["proxy.example.org"])) as proxy:
        address = f"https://proxy.example.org:{proxy.port}"
        with loopback.client(settings(http_proxy=address, ca_file=pem), resolver=at_loopback()) as client:
            assert client.get("http://models.example.org/file").content == b"by proxy"
        with loopback.client(settings(http_proxy=address), resolver=at_loopback()) as client:
            assert failure(client, "http://models.example.org/file").reason == errors.TLS
