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
    assert (found.sha256, found.family) == (made.sha256(server.content), "SD15")
    (entry,) = fetches.entries()
    assert (entry.path, entry.size, entry.sha256) == (found.path, found.size, found.sha256)
    assert (entry.name, entry.type, entry.family, entry.source) == ("base", "Checkpoint", "SD15", server.url)
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


@pytest.mark.parametrize("cut", [0, 3, 100, 3000])
def test_a_body_cut_short_is_gone_on_with(fetches, server, answer, cut):
    server.script.append(answer.serve(cut=cut))
    fetches.run()
    assert fetches.target.read_bytes() == server.content
    assert sum(server.served) == len(server.content)
    assert server.requests[1][1].get("Range") == (f"bytes={cut}-" if cut else None)
    assert server.requests[1][1].get("If-Range") == ('"one"' if cut else None)


def test_a_body_that_ends_early_without_a_length_is_noticed(fetches, server, answer):
    server.script.append(answer.serve(headers={"Content-Length": None, "Connection": "close"}, cut=2000))
    fetches.run()
    assert fetches.target.read_bytes() == server.content
    assert sum(server.served) == len(server.content)


def test_a_length_that_is_too_small_is_tried_again_and_then_truncated(fetches, server):
    whole = server.content
    server.content = whole[:-10]
    error = failure(fetches, patience=Patience(attempts=3, first_wait=0.0))
    assert (error.reason, error.retryable) == ("Truncated", True)
    assert str(len(whole)) in error.message
    assert len(server.requests) == 3
    assert fetches.visible() == []


def test_a_source_without_ranges_starts_over(fetches, server, answer):
    server.script += [answer.serve(cut=2000), answer.serve(ranges=False)]
    fetches.run()
    assert fetches.target.read_bytes() == server.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_gone_on_with(fetches, server, answer, etag):
    server.etag = etag
    server.script.append(answer.serve(cut=2000))
    fetches.run()
    assert "Range" not in server.requests[1][1]
    assert fetches.target.read_bytes() == server.content


def test_a_file_that_changes_between_attempts_is_never_mixed(fetches, server, answer, made):
    new = made.checkpoint(size=5000)

    def cut_then_change(handler):
        answer.serve(cut=2000)(handler)
        server.content, server.etag = new, '"two"'

    server.script.append(cut_then_change)
    assert fetches.run().sha256 == made.sha256(new)


def test_other_bytes_than_asked_for_are_not_taken(fetches, server, answer):
    """A server that ignores If-Range, and goes on with a newer file or somewhere else."""
    whole = server.content

    def newer(handler):
        server.content = whole[:2000] + bytes(len(whole) - 2000)
        answer.serve(headers={"ETag": '"two"'})(handler)
        server.content = whole

    elsewhere = answer.serve(
        headers={"Content-Range": f"bytes 7-{len(server.content) - 1}/{len(server.content)}"}
    )
    server.script += [answer.serve(cut=2000), newer, answer.serve(cut=2000), elsewhere]
    fetches.run(patience=Patience(attempts=9, first_wait=0.0, progress_bytes=1))
    assert fetches.target.read_bytes() == server.content


def test_a_refused_range_starts_over(fetches, server, answer):
    server.script += [answer.serve(cut=2000), answer.reply(416)]
    fetches.run()
    assert "Range" not in server.requests[2][1]
    assert fetches.target.read_bytes() == server.content


def test_progress_is_not_counted_as_failure_but_starting_over_is(fetches, server, answer):
    server.script += [answer.serve(cut=500)] * 6
    fetches.run()
    assert len(server.requests) == 7
    fetches.target.unlink()
    server.requests.clear()
    server.etag = None
    server.script += [answer.serve(cut=500)] * 9
    assert failure(fetches).reason == "Truncated"
    assert len(server.requests) == 4  # one made progress, three in a row did not


STATUSES = [
    (401, "Unauthorized", False, "credentials"),
    (403, "Forbidden", False, "open to everyone"),
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
    (None, "SDXL", "FamilyMismatch", "spec.family is SDXL"),
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


def test_a_file_larger_than_the_volume_is_refused_before_its_bytes(fetches, server, made):
    raw = json.dumps({"a": {"dtype": "U8", "shape": [10**17], "data_offsets": [0, 10**17]}}).encode()
    server.content = made.with_header(raw, bytes(100))
    server.script.append(lambda handler: handler.head(200, {"Content-Length": 10**17 + 8 + len(raw)}))
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("NoSpace", True)
    assert len(server.requests) == 1
    assert "spec.storage.size" in error.message


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
