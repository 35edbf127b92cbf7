"""A file server does exactly the wrong that its address asks for, and counts what it sent."""

import ssl
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from .conftest import Sources

SIZE = 102400


def test_an_address_without_a_plan_is_served_well(sources: "Sources") -> None:
    whole = sources.get("/files/well/seven.safetensors")
    part = sources.get("/files/well/seven.safetensors", Range="bytes=10-19", If_Range=whole.headers["ETag"])
    assert len(whole.content) == SIZE
    assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes 10-19/{SIZE}")
    assert part.content == whole.content[10:20]
    assert sources.get("/files/well/seven.safetensors", Range=f"bytes={SIZE}-").status_code == 416
    told = sources.told("/files/well/seven.safetensors")
    assert (told["requests"], told["sent"], told["twice"]) == (3, SIZE + 10, 10)


def test_another_etag_means_the_whole_file(sources: "Sources") -> None:
    answer = sources.get("/files/etag/seven.safetensors", Range="bytes=10-", If_Range='"another"')
    assert (answer.status_code, len(answer.content)) == (200, SIZE)


@pytest.mark.parametrize("plan", ["cut=1000", "length=500", "cut_at=50"])
def test_a_body_ends_before_its_length(sources: "Sources", plan: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        sources.get(f"/files/{plan.partition('=')[0]}/seven.safetensors?{plan}")


def test_trouble_comes_as_often_as_asked(sources: "Sources") -> None:
    address = "/files/often/seven.safetensors?status=429&retry_after=2&skip=1&times=2"
    answers = [sources.get(address) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "2"


def test_trouble_begins_after_a_share_of_the_file(sources: "Sources") -> None:
    address = "/files/since/seven.safetensors?status=416&since=50&times=1"
    assert sources.get(address, Range="bytes=0-59999").status_code == 206
    assert [sources.get(address).status_code for _ in range(2)] == [416, 200]


def test_lies_about_length_and_range(sources: "Sources") -> None:
    assert len(sources.get("/files/lies/seven.safetensors?length=-100").content) == SIZE - 100
    moved = sources.get("/files/lies/seven.safetensors?range_lie=start", Range="bytes=10-19")
    assert moved.headers["Content-Range"] == f"bytes 11-19/{SIZE}"
    missing = sources.get("/files/lies/seven.safetensors?range_lie=missing", Range="bytes=10-19")
    assert missing.status_code == 206
    assert "Content-Range" not in missing.headers
    assert "Content-Length" not in sources.get("/files/lies/seven.safetensors?chunked=yes").headers


def test_no_ranges_and_no_validator(sources: "Sources") -> None:
    answer = sources.get("/files/plain/seven.safetensors?ranges=no&etag=none", Range="bytes=10-19")
    assert (answer.status_code, len(answer.content)) == (200, SIZE)
    assert {"etag", "accept-ranges"}.isdisjoint(answer.headers)


def test_a_fickle_etag_is_never_the_same(sources: "Sources") -> None:
    tags = {sources.get("/files/fickle/seven.safetensors?etag=fickle").headers["ETag"] for _ in range(3)}
    assert len(tags) == 3


def test_another_file_after_a_share_of_the_first(sources: "Sources") -> None:
    address = "/files/swap/seven.safetensors?swap=other.safetensors&swap_at=50"
    sources.get(address, Range="bytes=0-59999")
    assert sources.get(address).content == (sources.root / "files/other.safetensors").read_bytes()


def test_a_token_rotates(sources: "Sources") -> None:
    address = "/files/rotates/seven.safetensors?bearer=a&then_bearer=b&then_at=50"
    assert sources.get(address, Authorization="Bearer b").status_code == 401
    assert sources.get(address, Authorization="Bearer a", Range="bytes=0-59999").status_code == 206
    assert sources.get(address, Authorization="Bearer a").status_code == 401
    assert sources.get(address, Authorization="Bearer b").status_code == 200


def test_the_rate_is_that_of_all_answers_together(sources: "Sources") -> None:
    begun = time.monotonic()
    for _ in range(2):
        sources.get("/files/rate/seven.safetensors?rate=409600")
    assert time.monotonic() - begun > 0.4


def test_redirects_and_pages(sources: "Sources") -> None:
    away = sources.get("/files/away/seven.safetensors?redirect=http://169.254.169.254/latest")
    assert (away.status_code, away.headers["Location"]) == (302, "http://169.254.169.254/latest")
    loop = sources.get("/files/loop/seven.safetensors?redirect=loop")
    assert loop.headers["Location"] == str(loop.url)
    assert sources.get("/files/page/seven.safetensors?html=yes").text.startswith("<!DOCTYPE html>")


def test_a_plan_with_an_unknown_word_is_refused(sources: "Sources") -> None:
    answer = sources.get("/files/word/seven.safetensors?cutt=1")
    assert answer.status_code == 400
    assert "cutt" in answer.text


def test_only_the_good_certificate_is_trusted_with_the_authority(sources: "Sources") -> None:
    trusting = ssl.create_default_context(cadata=sources.get("/_ca.pem").text)

    def health(port: str, context: ssl.SSLContext) -> int:
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.get(f"https://127.0.0.1:{sources.ports[port]}/_health").status_code

    assert health("https", trusting) == 200
    for port, context in (
        ("https", ssl.create_default_context()),
        ("expired", trusting),
        ("misnamed", trusting),
    ):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            health(port, context)
