"""Pictures by URL: which addresses may be reached, and what is given up. No name is looked up, and nothing
but this machine's loopback is connected to, which the tests' own judge allows."""

import asyncio
import contextlib

import pytest

from sd_runtime.routes import addresses, picture_urls
from sd_runtime.routes.picture_urls import FetchError


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.5.4", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1"),
        *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:808:808::", "2001::1", "::10.0.0.1", "::8.8.8.8", "2001:db8::1"),
        *("::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "192.88.99.1", "3fff::1", "5f00::1"),
        *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:8.8.8.8"),
    ],
)
def test_addresses_that_are_not_of_the_internet_are_refused(address):
    assert addresses.complaint(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_not(address):
    assert addresses.complaint(address) is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://localhost/", "local network"),
        ("http://runtime.default.svc/", "local network"),
        ("http://kubernetes.default.svc.cluster.local./", "local network"),
        ("http://metadata.google.internal/", "local network"),
        ("http://user:word@example.com/", "user name or password"),
        ("http://", "http or https"),
        ("http://[::1/", "no URL"),
        ("http://xn--/", "no URL"),
        ("http://8.8.8.8:99999/x", "port"),
        ("http://8.8.8.8:0/x", "port"),
        ("http://127.0.0.1:1/", "an address of the server itself"),
        ("http://[::ffff:169.254.169.254]/", "a link-local address"),
        ("http://0x7f000001/", "cannot be looked up"),
        ("http://2130706433/", "an address of the server itself"),
    ],
)
async def test_urls_that_lead_elsewhere_are_refused_before_anything_is_connected_to(url, told):
    with pytest.raises(FetchError, match=told):
        await picture_urls.fetch(url, max_bytes=100)


async def public(host, port):
    return ("8.8.8.8",)


async def rebound(host, port):
    return ("8.8.8.8", "10.0.0.1")


async def test_one_private_address_among_public_ones_refuses_the_name():
    with pytest.raises(FetchError, match="private"):
        await picture_urls.fetch("http://example.com/", max_bytes=100, resolver=rebound)


async def nobody(host, port):
    raise OSError("no such name")


async def test_a_name_that_cannot_be_looked_up_is_told():
    with pytest.raises(FetchError, match="cannot be looked up"):
        await picture_urls.fetch("http://example.com/", max_bytes=100, resolver=nobody)


@contextlib.asynccontextmanager
async def serving(*answers):
    """A server that gives each connection the next of these answers, and keeps what it was asked."""
    asked, left = [], list(answers)

    async def answer(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(left.pop(0) if left else b"")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def response(status="200 OK", body=b"", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def here(host, port):
    return ("127.0.0.1",)


def allow(address):
    return None


async def fetch(url, *, max_bytes=1000, seconds=5.0):
    return await picture_urls.fetch(url, max_bytes=max_bytes, seconds=seconds, resolver=here, judge=allow)


async def test_the_body_comes_from_the_address_that_was_checked_under_the_name_that_was_asked():
    async with serving(response(body=b"picture")) as (port, asked):
        assert await fetch(f"http://pictures.example:{port}/a%20b?c=d") == b"picture"
    assert asked[0].startswith("GET /a%20b?c=d HTTP/1.1\r\n")
    assert f"Host: pictures.example:{port}" in asked[0]
    assert "cookie" not in asked[0].lower() and "authorization" not in asked[0].lower()


async def test_a_redirect_is_followed_and_its_host_looked_up_again():
    looked_up = []

    async def resolver(host, port):
        looked_up.append(host)
        return ("127.0.0.1",)

    async with serving(response(body=b"picture")) as (second, _):
        moved = response("302 Found", Location=f"http://other.example:{second}/x")
        async with serving(moved) as (first, _):
            url = f"http://pictures.example:{first}/"
            got = await picture_urls.fetch(url, max_bytes=99, resolver=resolver, judge=allow)
    assert (got, looked_up) == (b"picture", ["pictures.example", "other.example"])


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://localhost/", "local network"),
        ("file:///etc/passwd", "http or https"),
        ("http://[::1/", "no URL"),
        ("http://xn--/", "no URL"),
        ("http://8.8.8.8:99999/x", "port"),
        ("http://8.8.8.8:0/x", "port"),
        ("ftp://example.com/", "http or https"),
    ],
)
async def test_a_redirect_to_where_nothing_may_be_fetched_is_refused(location, told):
    async with serving(response("301 Moved", Location=location)) as (port, _):
        with pytest.raises(FetchError, match=told):
            await fetch(f"http://pictures.example:{port}/")


async def test_redirects_without_end_are_given_up():
    again = [response("302 Found", Location="/again") for _ in range(9)]
    async with serving(*again) as (port, asked):
        with pytest.raises(FetchError, match="more than 3 times"):
            await fetch(f"http://pictures.example:{port}/")
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (response(body=b"x" * 1001), "larger than 1000 bytes"),
        (response("404 Not Found", body=b"x"), "status 404"),
        (response("204 No Content"), "status 204"),
        (b"not HTTP\r\n\r\n", "cannot be fetched"),
        (response(body=b"xx")[:-1], "cannot be fetched"),
        (b"", "cannot be fetched"),
    ],
    ids=["too large", "not found", "no content", "not HTTP", "cut off", "closed"],
)
async def test_what_is_not_a_whole_answer_is_refused(answer, told):
    async with serving(answer) as (port, _):
        with pytest.raises(FetchError, match=told):
            await fetch(f"http://pictures.example:{port}/")


async def test_a_server_that_says_nothing_is_given_up():
    silent = asyncio.Event()

    async def answer(reader, writer):
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchError, match="took more than"):
            await fetch(f"http://pictures.example:{port}/", seconds=0.05)
        silent.set()


async def test_nobody_listening_is_told():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(FetchError, match="cannot be fetched"):
        await fetch(f"http://pictures.example:{port}/")


@pytest.mark.parametrize("location", ["http://8.8.8.8:99999/", "http://xn--/"])
async def test_a_redirect_to_what_is_no_address_is_told(location):
    async with serving(response("302 Found", location=location)) as (port, _):
        with pytest.raises(FetchError, match=r"port|no URL"):
            await fetch(f"http://pictures.example:{port}/")
