"""A whole fetch against a server that behaves or does not."""

import json
import time
from email.utils import formatdate

import pytest

from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.patience import Patience


def failure(fetches, **changes):
    with pytest.raises(FetchError) as caught:
        fetches.run(**changes)
    return caught.value


def test_a_good_file_is_verified_in_place_and_listed(fetches, server, made):
    found = fetches.run(sha256=made.sha256(server.content))
    assert fetches.target.read_bytes() == server.content
    assert (found.path, found.size) == ("models/Stable-diffusion/model.safetensors", len(server.content))
    assert (found.sha256, found.type, found.family) == (made.sha256(server.content), "Checkpoint", "SD15")
    (entry,) = fetches.entries()
    assert (entry.path, entry.size, entry.sha256) == (found.path, found.size, found.sha256)
    assert (entry.owners, entry.type, entry.family) == (("demo/base",), "Checkpoint", "SD15")
    assert (entry.source, entry.source_sha256, entry.companions) == (server.url, "", ())
    assert fetches.left() == []


def test_no_coding_is_asked_for_and_no_credential_is_sent(fetches, server):
    fetches.run()
    headers = server.requests[0][1]
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


def test_a_body_without_a_length_is_taken_to_its_end(fetches, server, answer):
    server.script.append(answer.serve(headers={"Content-Length": None, "Connection": "close"}, cut=10**9))
    fetches.run()
    assert fetches.target.read_bytes() == server.content


def test_a_length_that_is_too_small_is_tried_again_and_then_truncated(fetches, server):
    whole = server.content
    server.content = whole[:-10]
    error = failure(fetches, patience=Patience(attempts=3, first_wait=0.0))
    assert (error.reason, error.retryable) == ("Truncated", True)
    assert str(len(whole)) in error.message
    # A size that is told with a range is not believed before it was asked for without.
    assert [each is None for each in server.ranges()] == [False, True, True, True]
    assert fetches.visible() == []


STATUSES = [
    (401, "Unauthorized", False, "credentials"),
    (403, "Forbidden", False, "credentials"),
    (404, "NotFound", False, "check the address"),
    (410, "NotFound", False, "removed"),
    (400, "SourceRefused", False, "check the address"),
    (451, "SourceRefused", False, "check the address"),
    (204, "SourceRefused", False, "no file"),
    (408, "ServerError", True, "408"),
    (429, "RateLimited", True, "too many requests"),
    (500, "ServerError", True, "500"),
    (503, "ServerError", True, "503"),
]


@pytest.mark.parametrize(("status", "reason", "retryable", "says"), STATUSES)
def test_a_status_becomes_a_reason_and_what_to_do(fetches, server, answer, status, reason, retryable, says):
    server.script += [answer.reply(status)] * 3
    error = failure(fetches)
    assert (error.reason, error.retryable) == (reason, retryable)
    assert says in error.message and str(status) in error.message
    assert server.url in error.message
    assert len(server.requests) == (3 if retryable else 1)


def test_retry_after_is_honoured(fetches, server, answer):
    server.script.append(answer.reply(429, Retry_After=1))
    begun = time.monotonic()
    fetches.run()
    assert time.monotonic() - begun >= 1.0


def test_a_long_retry_after_is_left_to_the_job(fetches, server, answer):
    server.script.append(answer.reply(429, Retry_After=formatdate(time.time() + 3600, usegmt=True)))
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("RateLimited", True)
    assert error.retry_after == pytest.approx(3600, abs=5)
    assert len(server.requests) == 1


def test_a_burst_of_server_errors_passes(fetches, server, answer):
    server.script += [answer.reply(503), answer.reply(502), answer.reply(500), answer.reply(429)]
    fetches.run(patience=Patience(attempts=5, first_wait=0.0))
    assert fetches.target.read_bytes() == server.content
    assert fetches.counted("sdo_fetch_failed_attempts_total", reason="ServerError") == 3


def test_no_connection_is_retryable(fetches):
    error = failure(fetches, source={"http": {"url": "http://127.0.0.1:1/model.safetensors"}})
    assert (error.reason, error.retryable) == ("ConnectionFailed", True)


def test_an_answer_that_is_not_http_is_retryable(fetches, server):
    def speak_otherwise(handler):
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        handler.close_connection = True

    server.script += [speak_otherwise] * 3
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("ServerError", True)


def test_a_redirect_is_followed_and_the_file_keeps_the_name_of_its_address(fetches, server, answer):
    server.script.append(answer.reply(302, Location=f"{server.address}/cdn/blob?signature=secret"))
    fetches.run()
    assert fetches.target.read_bytes() == server.content
    assert "secret" not in fetches.entries()[0].source


def test_a_circle_of_redirects_is_refused(fetches, server, answer):
    server.script += [answer.reply(302, Location=server.url)] * 20
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("SourceRefused", False)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_a_redirect_out_of_the_web_is_refused(fetches, server, answer, target):
    server.script.append(answer.reply(302, Location=target))
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("SourceRefused", False)


def test_a_compressed_body_is_refused(fetches, server, answer):
    server.script.append(answer.serve(headers={"Content-Encoding": "gzip"}))
    error = failure(fetches)
    assert error.reason == "SourceRefused" and "gzip" in error.message


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n"
NOT_A_MODEL = {
    "a web page": (b"<!doctype html><title>Sign in</title>" + b" " * 2000, "web page"),
    "a short web page": (b"<html>", "web page"),
    "an LFS pointer": (LFS, "Git LFS pointer"),
    "a pickle": (b"PK\x03\x04" + bytes(5000), "pickle"),
    "nothing": (b"", "ends after 0 bytes"),
    "a huge header": (b"\xff\xff\xff\xff\xff\xff\xff\x7f{" + bytes(5000), "at most"),
}


@pytest.mark.parametrize(("content", "says"), NOT_A_MODEL.values(), ids=NOT_A_MODEL.keys())
def test_what_is_no_safetensors_file_is_refused_for_good(fetches, server, content, says):
    server.content = content
    # An empty file has no bytes to serve from; every other is served as a file would be.
    if not content:
        server.script.append(lambda handler: handler.head(200, {"Content-Length": 0}))
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("FormatRefused", False)
    assert says in error.message
    assert fetches.visible() == [] and fetches.left() == []


def test_a_header_longer_than_the_first_piece_is_fetched_before_a_byte_is_stored(fetches, server, made):
    server.content = made.checkpoint(metadata=200_000)
    stored, good = [], server.otherwise

    def note(handler):
        stored.append(fetches.part.stat().st_size)
        good(handler)

    server.otherwise = note
    fetches.run()
    assert fetches.target.read_bytes() == server.content
    assert stored[:2] == [0, 0] and server.ranges()[1].startswith("bytes=65536-")
    assert sum(server.served) == len(server.content)


def test_overlapping_tensors_are_refused(fetches, server, made):
    one = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    other = {"dtype": "U8", "shape": [8], "data_offsets": [4, 12]}
    server.content = made.with_header(json.dumps({"a": one, "b": other}).encode(), bytes(12))
    error = failure(fetches)
    assert error.reason == "FormatRefused" and "overlaps" in error.message


@pytest.mark.parametrize("more", [1, 9_000_000])
def test_bytes_behind_the_file_are_refused_after_its_header(fetches, server, more):
    promised = len(server.content)
    server.content += bytes(more)
    error = failure(fetches)
    assert error.reason == "FormatRefused" and f"promises {promised}" in error.message
    assert not fetches.part.exists()
    if more > 1:
        server.wait_idle()
        assert sum(server.served) < len(server.content)


WRONG = [
    ({"lora_unet_a.lora_down.weight": (9_000_000,)}, "Auto", "TypeMismatch", "LoRA"),
    ({"layers.0.weight": (9_000_000,)}, "Auto", "TypeMismatch", "no type"),
    ({"model.diffusion_model.out.weight": (9_000_000,)}, "Auto", "TypeMismatch", "lacks the autoencoder"),
    (None, "SDXL", "FamilyMismatch", "of SD15"),
]


@pytest.mark.parametrize(("shapes", "family", "reason", "says"), WRONG)
def test_a_wrong_model_is_refused_after_its_header(fetches, server, made, shapes, family, reason, says):
    server.content = made.safetensors(shapes) if shapes else made.checkpoint(size=9_000_000)
    error = failure(fetches, family=family)
    assert (error.reason, error.retryable) == (reason, False)
    assert says in error.message
    assert fetches.visible() == []
    server.wait_idle()
    # What the server got rid of went into the sockets' buffers before the connection was closed.
    assert sum(server.served) < len(server.content)


def test_a_wrong_hash_is_refused_for_good_and_nothing_is_kept(fetches, server, made):
    error = failure(fetches, sha256="0" * 64)
    assert (error.reason, error.retryable) == ("HashMismatch", False)
    assert made.sha256(server.content) in error.message and "0" * 64 in error.message
    assert fetches.visible() == [] and fetches.left() == [] and fetches.entries() == []


def test_a_file_larger_than_the_volume_is_refused_before_its_bytes(fetches, server, answer, made):
    document = json.loads(made.checkpoint()[8:].partition(b"}}")[0] + b"}}")
    begin = document["padding"]["data_offsets"][0]
    document["padding"] = {"dtype": "U8", "shape": [10**17], "data_offsets": [begin, begin + 10**17]}
    raw = json.dumps(document).encode()
    server.content = made.with_header(raw, bytes(100_000))
    total = 8 + len(raw) + begin + 10**17
    server.script.append(answer.serve(headers={"Content-Range": f"bytes 0-65535/{total}"}))
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("NoSpace", True)
    assert len(server.requests) == 1
    assert "spec.storage.size" in error.message
    assert fetches.left() == []


def test_hugging_face_addresses_and_the_commit_a_branch_stood_for(fetches, server, answer):
    source = {"huggingFace": {"repo": "org/name", "revision": "refs/pr/1", "path": "sub/model.safetensors"}}
    redirect = answer.reply(302, Location=f"{server.address}/cdn/blob", X_Repo_Commit="4f1c0de")
    server.script.append(redirect)
    fetches.run(source=source)
    assert server.requests[0][0] == "/hub/org/name/resolve/refs%2Fpr%2F1/sub/model.safetensors"
    (entry,) = fetches.entries()
    assert entry.source == "huggingFace:org/name/sub/model.safetensors@refs/pr/1 (version 4f1c0de)"
    # The same branch again: the file is there.
    server.requests.clear()
    fetches.run(source=source)
    assert server.requests == []


def test_a_closed_repository_is_explained(fetches, server, answer):
    server.script.append(answer.reply(401))
    source = {"huggingFace": {"repo": "org/name", "revision": "main", "path": "model.safetensors"}}
    assert "private or gated" in failure(fetches, source=source).message
