"""The request as it comes in, the addresses it leads to, and the verdict as it goes out."""

import json
from datetime import UTC, datetime

import httpx
import pytest

from sd_operator.fetch import answers, download, request, sources, verdict
from sd_operator.fetch.errors import FetchError, of_volume
from sd_operator.fetch.patience import Patience, persist
from sd_operator.fetch.request import Http, HuggingFace
from sd_operator.fetch.sources import http as http_source
from sd_operator.fetch.sources import huggingface, location
from sd_operator.fetch.verdict import Verified

URL = "https://host/a/model.safetensors"


def words(**changes):
    file = {"name": "base", "type": "Checkpoint", "source": {"http": {"url": URL}}} | changes
    return json.dumps({"bundle": "b", "family": "Auto", "file": file})


def hub(**changes):
    return {"huggingFace": {"repo": "org/name", "revision": "main", "path": "a.safetensors"} | changes}


def test_a_request_is_read():
    found = request.parse(words(sha256="a" * 64, fileName="x.safetensors"))
    assert found.file.source.http == Http(url=URL)
    assert (found.family, found.file.sha256, found.file.file_name) == ("Auto", "a" * 64, "x.safetensors")


def test_absent_fields_may_be_null():
    found = request.parse(
        words(sha256=None, fileName=None, source={"http": {"url": URL}, "huggingFace": None})
    )
    assert found.file.sha256 is None and found.file.file_name is None


WRONG = {
    "two sources": ({"source": {"http": {"url": URL}, **hub()}}, "file.source: Value error, exactly one"),
    "no source": ({"source": {}}, "exactly one of http, huggingFace"),
    "an unknown source": ({"source": {"s3": {}}}, "file.source.s3"),
    "no web address": ({"source": {"http": {"url": "file:///etc/passwd"}}}, "http:// or https://"),
    "a password": (
        {"source": {"http": {"url": "https://me:secret@h/a.safetensors"}}},
        "user name or password",
    ),
    "a repository that climbs": ({"source": hub(repo="../x")}, "huggingFace.repo"),
    "a path that climbs": ({"source": hub(path="a/../b.safetensors")}, "huggingFace.path"),
    "a rooted path": ({"source": hub(path="/a.safetensors")}, "huggingFace.path"),
    "no revision": ({"source": hub(revision="")}, "huggingFace.revision"),
    "a file name with a folder": ({"fileName": "a/b.safetensors"}, "file.fileName"),
    "a hidden file name": ({"fileName": ".x.safetensors"}, "file.fileName"),
    "another suffix": ({"fileName": "x.ckpt"}, "file.fileName"),
    "a short hash": ({"sha256": "abc"}, "file.sha256"),
    "a name that climbs": ({"name": "../x"}, "file.name"),
    "another type": ({"type": "Sticker"}, "file.type"),
    "a field too many": ({"colour": "red"}, "file.colour"),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_field_is_named_and_no_secret_is_repeated(changes, says):
    with pytest.raises(FetchError) as caught:
        request.parse(words(**changes))
    assert (caught.value.reason, caught.value.retryable) == ("InvalidRequest", False)
    assert says in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["", " ", "{", "[]", "null", '{"bundle": 1}'])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(FetchError, match="SD_FETCH_FILE"):
        request.parse(text)


def test_the_file_is_called_as_asked_or_as_its_source_calls_it():
    file = request.parse(words()).file
    assert request.file_name(file, "model v1.safetensors") == "model v1.safetensors"
    assert (
        request.file_name(request.parse(words(fileName="x.safetensors")).file, "download") == "x.safetensors"
    )
    for implied in ("", "download", "..", "a/b.safetensors", ".safetensors", "x" * 300 + ".safetensors"):
        with pytest.raises(FetchError, match="set fileName"):
            request.file_name(file, implied)


def test_a_web_address_is_kept_and_its_query_is_not_shown():
    one = http_source.locate(Http(url="https://h:8443/a/b%20c.safetensors?token=secret"))
    other = http_source.locate(Http(url="https://h:8443/a/b%20c.safetensors?token=other"))
    assert one.url.endswith("?token=secret") and one.file_name == "b c.safetensors"
    assert one.identity.startswith("https://h:8443/a/b%20c.safetensors#query-")
    assert "secret" not in one.identity and one.identity != other.identity


def test_a_hugging_face_address():
    source = HuggingFace(repo="org/name", revision="refs/pr/1", path="sub/a b.safetensors")
    found = huggingface.locate(source, endpoint="http://mirror/")
    assert found.url == "http://mirror/org/name/resolve/refs%2Fpr%2F1/sub/a%20b.safetensors"
    assert found.file_name == "a b.safetensors"
    assert sources.locate(request.parse(words(source=hub())).file.source, hf_endpoint="http://m").url == (
        "http://m/org/name/resolve/main/a.safetensors"
    )


def test_a_recorded_source_is_known_again_whatever_its_version():
    for version in (None, "4f1c"):
        assert location.is_recorded("hub:a@main", location.recorded("hub:a@main", version))
    assert not location.is_recorded("hub:a@main", "hub:a@main2")


def test_a_redirect_from_https_to_http_is_not_followed():
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        return httpx.Response(302, headers={"Location": "http://elsewhere/model.safetensors"})

    with (
        download.new_client(
            http_source.locate(Http(url=URL)), transport=httpx.MockTransport(answer)
        ) as client,
        pytest.raises(FetchError) as caught,
    ):
        client.get(URL)
    assert caught.value.reason == "SourceRefused" and "from https to http://elsewhere" in caught.value.message


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value, seconds):
    response = httpx.Response(503, headers={"Retry-After": value})
    with pytest.raises(FetchError) as caught:
        answers.understand(response, http_source.locate(Http(url=URL)), now=NOW)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("value", ["", "bytes */10", "bytes x-y/z", "items 0-1/2"])
def test_a_206_without_a_range_is_the_servers_error(value):
    response = httpx.Response(206, headers={"Content-Range": value})
    with pytest.raises(FetchError, match="Content-Range"):
        answers.understand(response, http_source.locate(Http(url=URL)))


@pytest.mark.parametrize(
    ("headers", "total"),
    [
        ({"Content-Length": "5"}, 5),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, None),
        ({}, None),
        ({"Content-Length": "many"}, None),
    ],
)
def test_a_size_is_believed_only_where_it_is_the_bodys(headers, total):
    location = http_source.locate(Http(url=URL))
    assert answers.understand(httpx.Response(200, headers=headers), location).total == total


def waits_of(failures, patience):
    """The waits between attempts that fail so, and whether the last one is raised."""
    waits: list[float] = []
    left = list(failures)

    def attempt():
        if left:
            raise left.pop(0)

    try:
        persist(attempt, progress=lambda: 0, patience=patience, sleep=waits.append)
    except FetchError:
        return waits, True
    return waits, False


def test_waits_grow_to_a_bound_and_are_never_shorter_than_asked():
    failures = [FetchError("X", "", retryable=True) for _ in range(4)]
    failures.append(FetchError("X", "", retryable=True, retry_after=50.0))
    waits, failed = waits_of(failures, Patience(attempts=9, first_wait=1.0, longest_wait=4.0))
    assert not failed
    for wait, longest in zip(waits, [1.0, 2.0, 4.0, 4.0], strict=False):
        assert longest / 2 <= wait <= longest
    assert 50.0 <= waits[4] <= 54.0


def test_patience_ends():
    failures = [FetchError("X", "", retryable=True) for _ in range(9)]
    waits, failed = waits_of(failures, Patience(attempts=3))
    assert failed and len(waits) == 2


@pytest.mark.parametrize(
    "failure",
    [
        FetchError("X", ""),
        FetchError("Interrupted", "", retryable=True),
        FetchError("NoSpace", "", retryable=True),
    ],
)
def test_what_no_retry_changes_is_not_retried(failure):
    assert waits_of([failure], Patience()) == ([], True)


def test_a_verdict_fits_the_termination_log_whatever_it_says():
    for text in ("x" * 10_000, '\u4e16\U0001f5bc"\\\0' * 5_000):
        encoded = verdict.encode(FetchError("ServerError", text, retryable=True))
        assert len(encoded) <= verdict.MAX_BYTES
        told = json.loads(encoded)
        assert (told["state"], told["reason"], told["retryable"]) == ("Failed", "ServerError", True)


def test_exit_codes():
    good = Verified(path="p", size=1, sha256="s", family="SD15")
    assert [
        verdict.exit_code(each) for each in (good, FetchError("X", "", retryable=True), FetchError("X", ""))
    ] == [0, 1, 2]


@pytest.mark.parametrize(
    ("number", "reason", "retryable"),
    [
        (28, "NoSpace", True),
        (122, "NoSpace", True),
        (30, "VolumeError", False),
        (13, "VolumeError", False),
        (5, "VolumeError", True),
    ],
)
def test_an_error_of_the_volume_has_a_reason(number, reason, retryable):
    found = of_volume(OSError(number, "strerror", "/volume/x"))
    assert (found.reason, found.retryable) == (reason, retryable)
    assert "/volume/x" in found.message
