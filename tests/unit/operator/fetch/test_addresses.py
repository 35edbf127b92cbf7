"""Which addresses a fetch may connect to, however they are written and wherever their names lead."""

import ipaddress
import os
import signal
import socket
import threading
import time

import pytest

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.network.addresses import Policy, literal
from sd_operator.fetch.network.backend import CheckedBackend, Deadline
from sd_operator.fetch.stopping import Stop
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import Reply, at_loopback, serving, settings

REFUSED = {
    "loopback": ["127.0.0.1", "127.255.1.2", "::1"],
    "this network": ["0.0.0.0", "0.1.2.3", "::"],
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%eth0"],
    "multicast": ["224.0.0.1", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "::2"],
    "metadata": [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ],
    "IPv4 within IPv6": [
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        # Teredo: the address in its end is the complement of 127.0.0.1.
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
}
FREE = ["93.184.215.14", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "2606:2800::1"]
FREE_WITHIN = ["::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1"]


@pytest.mark.parametrize("address", [each for group in REFUSED.values() for each in group])
def test_an_address_that_is_no_other_machines_is_refused(address):
    assert Policy().complaint(ipaddress.ip_address(address)) is not None


@pytest.mark.parametrize("address", FREE + FREE_WITHIN)
def test_public_and_private_addresses_are_allowed(address):
    assert Policy().complaint(ipaddress.ip_address(address)) is None


def networks(*texts):
    return tuple(ipaddress.ip_network(text) for text in texts)


@pytest.mark.parametrize("address", ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::a60:1", "2002:a60:1::"])
def test_the_clusters_networks_are_refused_in_every_form(address):
    policy = Policy(refused=networks("10.96.0.0/12"))
    assert "settings refuse" in policy.complaint(ipaddress.ip_address(address))


def test_what_is_allowed_wins_over_what_is_refused():
    policy = Policy(refused=networks("10.0.0.0/8"), allowed=networks("10.1.0.0/16", "127.0.0.0/8"))
    for address in ("10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1"):
        assert policy.complaint(ipaddress.ip_address(address)) is None
    assert policy.complaint(ipaddress.ip_address("10.2.0.1")) is not None


def test_a_large_network_that_is_allowed_does_not_open_the_metadata_in_it():
    wide = Policy(allowed=networks("0.0.0.0/0", "169.254.0.0/16", "::/0"))
    for address in (*REFUSED["metadata"], "::ffff:169.254.169.254"):
        assert "metadata" in wide.complaint(ipaddress.ip_address(address))
    assert wide.complaint(ipaddress.ip_address("169.254.1.1")) is None
    named = Policy(allowed=networks("169.254.169.254/32"))
    assert named.complaint(ipaddress.ip_address("169.254.169.254")) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("example.org", None),
        ("", None),
    ],
)
def test_an_address_is_told_from_a_name_in_every_notation(host, address):
    assert literal(host) == (ipaddress.ip_address(address) if address else None)


METADATA_NAMES = [
    "metadata",
    "Metadata.",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
    "instance-data.eu-west-1.compute.internal",
]


@pytest.mark.parametrize(
    "host", ["127.0.0.1.", "localhost", "LOCALHOST.", "a.localhost", "0x7f.1", *METADATA_NAMES]
)
def test_what_a_proxy_would_look_up_is_judged_by_how_it_is_written(host):
    assert Policy().complaint_of_host(host) is not None
    for other in ("huggingface.co", "metadata.example.org", "instance-data.example.org"):
        assert Policy().complaint_of_host(other) is None


def refused(url, *, resolver=None, known=None):
    """The error of a GET that must not come about."""
    found = {} if resolver is None else {"resolver": resolver}
    with (
        loopback.client(
            known or settings(allowed_networks="", refused_networks="10.96.0.0/12"), **found
        ) as client,
        pytest.raises(FetchError) as caught,
        failing("the source"),
    ):
        client.get(url)
    return caught.value


HOSTS = [
    "127.0.0.1",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "127.1",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25eth0]",
    "169.254.169.254",
    "10.96.0.1",
    "localhost",
]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_of_this_machine_or_the_cluster_is_not_connected_to(host):
    with serving(Reply(body=b"secret")) as web:
        error = refused(f"http://{host}:{web.port}/")
    assert (error.reason, error.retryable, web.asked) == (errors.ADDRESS_REFUSED, False, [])
    assert "operator's settings" in error.message


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("93.184.215.14", "127.0.0.1"), ("::1",)])
def test_a_name_with_any_refused_address_is_not_connected_to(addresses):
    with serving(Reply()) as web:
        error = refused(f"http://models.example.org:{web.port}/", resolver=at_loopback(*addresses))
    assert error.reason == errors.ADDRESS_REFUSED and web.asked == []
    assert f"models.example.org leads to {addresses[-1]}, a loopback address" in error.message


def test_a_redirect_to_a_refused_address_is_not_followed():
    with (
        serving(Reply(body=b"secret")) as inside,
        serving(loopback.redirect(inside.url("/latest", host="127.0.0.9"))) as web,
    ):
        error = refused(web.url(), known=settings(allowed_networks="127.0.0.1/32"))
    assert error.reason == errors.ADDRESS_REFUSED and "127.0.0.9" in error.message
    assert len(web.asked) == 1 and inside.asked == []


def test_the_address_that_was_checked_is_the_one_connected_to():
    """A name service that gives another answer the second time is not asked a second time."""
    answers = [("127.0.0.1",), ("127.0.0.2",)]

    def resolver(host, port):
        return answers.pop(0)

    with (
        serving(Reply(body=b"file")) as web,
        loopback.client(settings(allowed_networks="127.0.0.1/32"), resolver=resolver) as client,
    ):
        response = client.get(f"http://rebinding.example.org:{web.port}/")
    assert response.content == b"file" and len(answers) == 1
    assert web.asked[0].headers["host"] == f"rebinding.example.org:{web.port}"


def test_an_address_that_does_not_answer_leaves_time_for_the_next():
    with serving(Reply(body=b"file"), host="127.0.0.2") as web:
        resolver = at_loopback("127.0.0.1", "127.0.0.2")
        with loopback.client(resolver=resolver) as client:
            assert client.get(f"http://two.example.org:{web.port}/").content == b"file"


@pytest.mark.parametrize(
    ("number", "retryable"),
    [
        (socket.EAI_NONAME, False),
        (socket.EAI_NODATA, False),
        (socket.EAI_AGAIN, True),
        (socket.EAI_FAIL, True),
    ],
)
def test_a_name_that_does_not_exist_is_told_from_one_that_cannot_be_looked_up_now(number, retryable):
    def resolver(host, port):
        raise socket.gaierror(number, "said the name service")

    error = refused("http://models.example.org/", resolver=resolver)
    assert (error.reason, error.retryable) == (errors.DNS, retryable)
    assert "models.example.org" in error.message


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".example.org"])
def test_names_without_an_address(host):
    assert refused(f"http://{host}/").reason == errors.DNS


def slow_resolver(go_on, seen):
    def resolver(host, port):
        seen.append(threading.current_thread())
        go_on.wait(5)
        return ("127.0.0.1",)

    return resolver


def test_a_look_up_that_takes_too_long_is_given_up():
    go_on, seen = threading.Event(), []
    resolver = slow_resolver(go_on, seen)
    backend = CheckedBackend(Policy(), Deadline(), resolver=resolver, look_up_seconds=0.1)
    with pytest.raises(FetchError) as caught, failing("the source"):
        backend.connect_tcp("models.example.org", 80)
    go_on.set()
    assert (caught.value.reason, caught.value.retryable) == (errors.DNS, True)
    assert "models.example.org takes more than 0.1 s" in caught.value.message


def test_a_stop_does_not_wait_for_a_look_up():
    """Signals reach the main thread between its own steps, and the system's look-up is one long step."""
    go_on, seen, stop = threading.Event(), [], Stop()
    before = [(each, signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT)]
    stop.install()
    sent = []

    def stop_while_looking() -> None:
        while not seen:
            time.sleep(0.01)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    told = threading.Thread(target=stop_while_looking, daemon=True)
    told.start()
    try:
        with stop.interruptible():
            error = refused("http://models.example.org/", resolver=slow_resolver(go_on, seen))
    finally:
        for each, handler in before:
            signal.signal(each, handler)
        go_on.set()
        told.join()
    assert error.reason == errors.INTERRUPTED and time.monotonic() - sent[0] < 2
    assert seen[0] is not threading.main_thread() and seen[0].daemon


def test_a_backend_without_allowed_networks_opens_no_connection_to_loopback():
    backend = CheckedBackend(Policy(), Deadline())
    with pytest.raises(Exception, match="loopback"):
        backend.connect_tcp("127.0.0.1", 1)
