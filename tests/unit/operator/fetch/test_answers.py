"""What answers mean, by their status and headers."""

from datetime import UTC, datetime

import httpx
import pytest

from sd_operator.fetch import answers, errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.sources import Location
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import Reply, redirect, secret, serving

FILE = Location(url="https://host/file", identity="the source", file_name="file")
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def answered(status=200, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, request=httpx.Request("GET", FILE.url))


def refusal(response):
    with pytest.raises(FetchError) as caught:
        answers.understand(response, FILE, now=NOW)
    return caught.value


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (301, errors.SOURCE_REFUSED, False),
        (304, errors.SOURCE_REFUSED, False),
        (400, errors.SOURCE_REFUSED, False),
        (401, errors.UNAUTHORIZED, False),
        (403, errors.FORBIDDEN, False),
        (404, errors.NOT_FOUND, False),
        (407, errors.UNAUTHORIZED, False),
        (408, errors.SERVER_ERROR, True),
        (410, errors.NOT_FOUND, False),
        (416, errors.SOURCE_REFUSED, False),
        (421, errors.SERVER_ERROR, True),
        (425, errors.SERVER_ERROR, True),
        (429, errors.RATE_LIMITED, True),
        (451, errors.SOURCE_REFUSED, False),
        (500, errors.SERVER_ERROR, True),
        (503, errors.SERVER_ERROR, True),
        (511, errors.SERVER_ERROR, True),
    ],
)
def test_each_status_has_a_reason(status, reason, retryable):
    error = refusal(answered(status))
    assert (error.reason, error.retryable) == (reason, retryable)
    assert error.message.startswith(f"the source answered {status}")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 12:01:30", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 999999999999 11:00:00 GMT", None),
        ("9" * 400, None),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(status, value, seconds):
    assert refusal(answered(status, Retry_After=value)).retry_after == seconds


@pytest.mark.parametrize("value", ["", "bytes */10", "bytes x-y/z", "items 0-1/2"])
def test_a_206_without_a_range_is_the_servers_error(value):
    assert "Content-Range" in refusal(answered(206, Content_Range=value)).message


def test_several_ranges_in_one_body_are_refused():
    response = answered(206, Content_Range="bytes 0-1/2", Content_Type="multipart/byteranges; boundary=x")
    assert refusal(response).reason == errors.SERVER_ERROR


def test_a_range_says_where_it_begins_and_how_large_the_file_is():
    assert answers.understand(answered(206, Content_Range="bytes 5-9/10"), FILE).start == 5
    assert answers.understand(answered(206, Content_Range="bytes 5-9/10"), FILE).total == 10
    assert answers.understand(answered(206, Content_Range="bytes 5-9/*"), FILE).total is None


@pytest.mark.parametrize(
    ("headers", "total"),
    [
        ({"Content_Length": "5"}, 5),
        ({"Content_Length": "5", "Transfer_Encoding": "chunked"}, None),
        ({}, None),
        ({"Content_Length": "many"}, None),
    ],
)
def test_a_size_is_believed_only_where_it_is_the_bodys(headers, total):
    assert answers.understand(answered(**headers), FILE).total == total


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', '"a"'), ('W/"a"', None), ("a", None), ('"a b"', None), ("", None)]
)
def test_only_a_strong_etag_promises_equal_bytes(etag, strong):
    assert answers.understand(answered(ETag=etag), FILE).etag == strong


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_a_compressed_body_is_refused(coding):
    error = refusal(answered(Content_Encoding=coding))
    assert error.reason == errors.SOURCE_REFUSED and "Content-Encoding" in error.message


def fetched(web, root):
    with (
        loopback.client(secrets=root, resolver=loopback.at_loopback()) as client,
        pytest.raises(FetchError) as caught,
        failing("the source"),
        client.stream("GET", web.url()) as response,
    ):
        answers.understand(response, FILE)
    return caught.value


@pytest.mark.parametrize("status", [401, 403])
def test_who_asks_for_credentials_is_told_which_secret_is_missing(tmp_path, status):
    with serving(Reply(status)) as web:
        error = fetched(web, tmp_path)
    assert f"add a Secret whose key host names 127.0.0.1:{web.port}" in error.message


def test_who_asks_for_credentials_over_plain_http_after_a_redirect_is_told_that_none_are_sent(tmp_path):
    with (
        serving(Reply(401)) as storage,
        serving(redirect(storage.url("/x?signature=s", host="storage.example.org"))) as web,
    ):
        secret(tmp_path, "storage", host=f"storage.example.org:{storage.port}", token="t1")
        error = fetched(web, tmp_path)
    assert "after a redirect none are sent over plain http to another host" in error.message
    assert f"storage.example.org:{storage.port}" in error.message
    assert "add a Secret" not in error.message and storage.asked[0].authorization is None


@pytest.mark.parametrize(("status", "says"), [(401, "renew them"), (403, "have no right to this file")])
def test_who_does_not_take_the_credentials_is_told_with_their_secret(tmp_path, status, says):
    with serving(Reply(status)) as web:
        secret(tmp_path, "mine", host=f"127.0.0.1:{web.port}", token="t1")
        error = fetched(web, tmp_path)
    assert "Secret mine" in error.message and says in error.message and "t1" not in error.message


def test_a_signed_redirect_that_has_expired_is_asked_for_again(tmp_path):
    with (
        serving(Reply(403)) as storage,
        serving(redirect(storage.url("/x?signature=s", host="storage.example.org"))) as web,
    ):
        error = fetched(web, tmp_path)
    assert (error.reason, error.retryable) == (errors.FORBIDDEN, True)
    assert "redirected to storage.example.org" in error.message and "signature" not in error.message


def test_no_more_of_a_body_is_read_than_was_wanted():
    with serving(Reply(400, b"x" * 1_000_000)) as web, loopback.client() as client:
        with client.stream("GET", web.url()) as response:
            assert answers.beginning(response, "the source", limit=100) == b"x" * 101
        with client.stream("GET", web.url()) as response:
            assert len(answers.beginning(response, "the source", limit=2_000_000)) == 1_000_000
