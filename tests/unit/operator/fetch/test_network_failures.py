"""What goes wrong on the way to a source, and what it is called: TLS, connections, HTTP."""

import socket
import threading
from contextlib import contextmanager

import httpx
import pytest

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing, trust
from sd_operator.fetch.network.addresses import Policy
from sd_operator.fetch.network.proxies import Proxies
from sd_operator.fetch.network.transport import CheckedTransport
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import (
    Reply,
    at_loopback,
    failure,
    listening,
    serving,
    settings,
)


@pytest.fixture
def authority(tmp_path):
    return loopback.authority(tmp_path)


def test_a_bundles_authority_is_trusted_besides_the_usual_ones(authority):
    issuer, pem = authority
    with (
        serving(Reply(body=b"file"), pair=issuer.issue("a", ["models.example.org"])) as web,
        loopback.client(settings(ca_file=pem), resolver=at_loopback()) as client,
    ):
        for host in ("models.example.org", "models.example.org."):
            assert client.get(web.url(host=host)).content == b"file"
    usual, more = trust.context(None).cert_store_stats(), trust.context(pem).cert_store_stats()
    assert more["x509_ca"] == usual["x509_ca"] + 1 > 50


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "says"),
    [
        (["models.example.org"], False, False, "in spec.fetch.caBundle"),
        (["another.example.org"], False, True, "by a name that the certificate has"),
        (["models.example.org"], True, True, "it must be renewed there"),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused_for_good(authority, names, expired, trusted, says):
    issuer, pem = authority
    known = settings(ca_file=pem if trusted else None)
    with (
        serving(Reply(), pair=issuer.issue("a", names, expired=expired)) as web,
        loopback.client(known, resolver=at_loopback()) as client,
    ):
        error = failure(client, web.url(host="models.example.org"))
    assert (error.reason, error.retryable, web.asked) == (errors.TLS, False, [])
    assert says in error.message


def test_what_speaks_no_tls_is_named():
    with serving(Reply()) as web, loopback.client() as client:
        error = failure(client, f"https://127.0.0.1:{web.port}/")
    assert (error.reason, error.retryable) == (errors.TLS, False)
    assert "does not speak TLS" in error.message


def test_a_connection_that_ends_while_tls_begins_is_a_lost_one():
    with listening(lambda connection: connection.recv(100)) as port, loopback.client() as client:
        error = failure(client, f"https://127.0.0.1:{port}/")
    assert (error.reason, error.retryable) == (errors.CONNECTION_FAILED, True)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_ca_bundle_without_certificates_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FetchError, match=r"spec.fetch.caBundle .* PEM") as caught:
        trust.context(path)
    assert (caught.value.reason, caught.value.retryable) == (errors.TLS, False)


@contextmanager
def set_after(event):
    try:
        yield
    finally:
        event.set()


def test_a_port_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with loopback.client() as client:
        error = failure(client, f"http://127.0.0.1:{port}/x?token=t")
    assert (error.reason, error.retryable) == (errors.CONNECTION_FAILED, True)
    assert f"127.0.0.1 port {port}" in error.message and "token" not in error.message


def test_a_server_that_says_nothing():
    go_on = threading.Event()
    with listening(lambda connection: go_on.wait(10)) as port, loopback.client() as client:
        error = failure(client, f"http://127.0.0.1:{port}/", timeout=0.2)
        go_on.set()
    assert (error.reason, error.retryable) == (errors.TIMEOUT, True)


def test_a_head_that_trickles_for_ever():
    """Each byte comes in time, the head of the answer never ends."""
    go_on = threading.Event()

    def trickle(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not go_on.wait(0.05):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    transport = CheckedTransport(
        policy=Policy(allowed=settings().allowed_networks),
        proxies=Proxies(),
        trust=trust.context(None),
        head_seconds=0.5,
    )
    with listening(trickle) as port, httpx.Client(transport=transport, trust_env=False) as client:
        error = failure(client, f"http://127.0.0.1:{port}/", timeout=5.0)
        go_on.set()
    assert (error.reason, error.retryable) == (errors.TIMEOUT, True)


def test_a_server_that_does_not_speak_http():
    def behave(connection):
        connection.recv(1000)
        connection.sendall(b"220 smtp.example.org ESMTP\r\n")

    with listening(behave) as port, loopback.client() as client:
        error = failure(client, f"http://127.0.0.1:{port}/")
    assert (error.reason, error.retryable) == (errors.SERVER_ERROR, True)


def test_a_body_that_ends_too_early_is_truncated_where_it_ended():
    with (
        serving(Reply(body=b"12345", length=10)) as web,
        loopback.client() as client,
        pytest.raises(FetchError) as caught,
        failing("the source"),
        client.stream("GET", web.url()) as response,
        failing("the source", received=lambda: 5),
    ):
        response.read()
    assert (caught.value.reason, caught.value.retryable) == (errors.TRUNCATED, True)
    assert "after byte 5" in caught.value.message


def test_a_body_that_stalls_is_silent_where_it_stalled():
    go_on = threading.Event()

    def behave(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        go_on.wait(10)

    with (
        listening(behave) as port,
        loopback.client() as client,
        pytest.raises(FetchError) as caught,
        failing("the source"),
        client.stream("GET", f"http://127.0.0.1:{port}/", timeout=0.2) as response,
        set_after(go_on),
        failing("the source", received=lambda: 5),
    ):
        response.read()
    assert (caught.value.reason, caught.value.retryable) == (errors.TIMEOUT, True)
    assert "silent at byte 5" in caught.value.message


@pytest.mark.parametrize("url", ["http://0177.0.0.1/", "http://127.0.0.1:99999/", "ftp://127.0.0.1/"])
def test_an_address_that_is_none(url):
    with loopback.client() as client:
        assert failure(client, url).reason == errors.SOURCE_REFUSED
