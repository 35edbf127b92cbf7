"""Sources that answer oddly in the middle of a download, and what is told of it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from sd_operator.fetch import verdict
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import SEGMENT_BYTES
from sd_operator.fetch.patience import Patience

MIB = 1024 * 1024
PIECE = 65536  # that is asked for first
REQUESTS = 5
PATIENCE = Patience(attempts=REQUESTS, first_wait=0.0)


@pytest.fixture
def large(server, made):
    """A file of two segments and a bit."""
    server.content = made.checkpoint(size=2 * SEGMENT_BYTES + 12345)
    return server.content


def failure(fetches, **changes):
    with pytest.raises(FetchError) as caught:
        fetches.run(**changes)
    return caught.value


def capped(count):
    """A good server that sends no more bytes of a range than so many."""

    def answer(handler):
        start, end = handler.asked
        content = handler.server.content
        piece = content[start : min(end + 1, start + count)]
        handler.head(
            206,
            {
                "Content-Length": len(piece),
                "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(content)}",
                "ETag": handler.server.etag,
            },
        )
        handler.body(piece)

    return answer


# The gate


def test_bytes_from_elsewhere_do_not_pass_for_the_beginning(fetches, server, answer, large):
    """The head that was judged is the old one's, the bytes that would be stored are others."""
    other = b"\x80\x04cos\nsystem\n" + bytes(len(large) - 15)

    def elsewhere(handler):
        end = len(other) - 1
        handler.head(
            206,
            {"Content-Length": end + 1, "ETag": '"two"', "Content-Range": f"bytes 5-{end}/{len(other)}"},
        )
        handler.body(other)

    server.script += [answer.serve(), answer.serve(cut=MIB)]
    server.otherwise = elsewhere
    error = failure(fetches)
    assert (error.reason, error.retryable) == ("ServerError", True)
    assert "asked for the whole" in error.message
    assert fetches.visible() == []


def test_what_is_put_in_place_is_judged_as_it_lies_on_the_disk(fetches, server, answer, large):
    def spoil(handler):
        with fetches.part.open("r+b") as file:
            file.write(b"\x80\x04cos\nsystem\n")
        answer.serve()(handler)

    server.script += [answer.serve(), spoil]
    error = failure(fetches)
    assert error.reason == "FormatRefused"
    assert fetches.visible() == [] and fetches.left() == []


def test_a_range_without_an_etag_is_not_mixed_with_those_of_one(fetches, server, answer, made, large):
    new = bytes(large[:30_000]) + bytes(len(large) - 30_000)

    def changed(handler):
        server.content, server.etag = new, None
        del handler.headers["If-Range"]
        answer.serve()(handler)

    server.script.append(answer.serve())
    server.otherwise = changed
    assert fetches.run(patience=PATIENCE).sha256 == made.sha256(new)


def test_a_download_is_not_gone_on_with_when_the_etag_is_gone(fetches, server, answer, made, large):
    new = bytes(large[:30_000]) + bytes(len(large) - 30_000)

    def ignore(handler):
        del handler.headers["If-Range"]
        answer.serve()(handler)

    def cut_then_change(handler):
        answer.serve(cut=200_000)(handler)
        server.content, server.etag = new, None

    server.script += [answer.serve(), cut_then_change]
    server.otherwise = ignore
    assert fetches.run(patience=PATIENCE).sha256 == made.sha256(new)


# Glitches


def wrong_total(answer, size):
    def tell(handler):
        start, end = handler.asked
        answer.serve(headers={"Content-Range": f"bytes {start}-{end}/{size + 1}"})(handler)

    return tell


@pytest.mark.parametrize("odd", ["no range", "another size"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_odd_answer_about_the_same_file_costs_no_bytes(fetches, server, answer, large, odd, times):
    total = len(large)
    no_range = answer.reply(416, Content_Range=f"bytes */{total}")
    glitch = no_range if odd == "no range" else wrong_total(answer, total)
    server.script += [answer.serve(), answer.serve(cut=2 * MIB), *[glitch] * times]
    fetches.run(patience=PATIENCE)
    assert fetches.target.read_bytes() == large
    # But for what an answer with a wrong size brought.
    assert sum(server.served) <= total + times * PIECE
    assert fetches.counted("sdo_fetch_refetched_bytes_total") == 0


def test_an_odd_answer_to_one_connection_is_made_up_for(fetches, server, answer, large):
    odd = answer.reply(416, Content_Range=f"bytes */{len(large)}")
    server.script += [answer.serve(), odd, answer.serve()]
    fetches.of(connections=2).run()
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large)


def test_a_source_that_answers_oddly_for_ever_is_asked_for_the_whole(fetches, server, answer, large):
    odd, whole = answer.reply(416, Content_Range=f"bytes */{len(large)}"), answer.serve(ranges=False)
    server.script += [answer.serve(), answer.serve(cut=2000)]
    server.otherwise = lambda handler: (odd if handler.asked else whole)(handler)
    fetches.run(patience=PATIENCE)
    assert fetches.target.read_bytes() == large
    assert server.ranges()[-1] is None


# Short answers


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("count", [MIB, 10_000])
def test_a_source_that_sends_a_few_bytes_of_a_range_is_asked_on(fetches, server, made, connections, count):
    server.content = made.checkpoint(size=24 * count)
    server.otherwise = capped(count)
    fetching = fetches.of(connections=connections)
    fetching.run(patience=PATIENCE)
    assert fetches.target.read_bytes() == server.content
    assert sum(server.served) == len(server.content)
    assert fetching.counted("sdo_fetch_failed_attempts_total", reason="Truncated") == 0


def test_a_short_range_that_is_cut_is_still_truncated(fetches, server, answer, large):
    def cut(handler):
        start, _ = handler.asked
        told = {"Content-Range": f"bytes {start}-{start + MIB - 1}/{len(large)}", "Content-Length": None}
        answer.serve(headers={**told, "Connection": "close"}, cut=1000)(handler)

    server.script.append(answer.serve())
    server.otherwise = cut
    assert failure(fetches, patience=Patience(attempts=2, first_wait=0.0)).reason == "Truncated"


def test_answers_of_a_few_bytes_each_are_one_slow_connection(fetches, server, answer, large):
    server.script.append(answer.serve())
    server.otherwise = capped(1)
    patience = Patience(attempts=2, first_wait=0.0, slowest_rate=100_000, slow_seconds=0.2)
    assert failure(fetches, patience=patience).reason == "Timeout"


# Room


def test_what_cannot_be_gone_on_with_does_not_take_room(fetches, server, answer, large):
    server.etag = None
    server.otherwise = answer.serve(ranges=False, cut=MIB)
    assert failure(fetches).reason == "Truncated"
    assert fetches.left() == []


def may_mount():
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs root and the right to mount")
@pytest.mark.parametrize(("megabytes", "says"), [(256, "does not say"), (32, "became full")])
def test_a_body_without_an_end_does_not_fill_the_volume(fetches, server, tmp_path, megabytes, says):
    """A reserve is left where there is room for one; and what came is given up in any case."""
    block = b"PK\x03\x04" + bytes(MIB - 4)

    def endless(handler):
        handler.head(200, {"Connection": "close"})
        with contextlib.suppress(OSError):
            for _ in range(4096):
                handler.wfile.write(block)

    server.otherwise = endless
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs {fetches.root} && "$@"; code=$?; '
    script += f"ls -A {fetches.root}/.sd-operator/partial > {tmp_path}/left; exit $code"
    process = fetches.of(policy="Unsafe").start(
        under=("unshare", "-m", "sh", "-c", script, "sh"), fileName="a.ckpt"
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in log, log
    told = fetches.told()
    assert told["reason"] == "NoSpace" and says in told["message"]
    assert ".part" not in (tmp_path / "left").read_text()


# What is told


def test_a_source_that_wants_to_be_left_alone_is_left_to_the_operator(fetches, server, answer):
    server.script.append(answer.reply(429, Retry_After=3600))
    process = fetches.start()
    _, log = process.communicate(timeout=20)
    assert process.returncode == verdict.EXIT_LATER == 3, log
    told = fetches.told()
    assert (told["reason"], told["retryable"], told["retryAfter"]) == ("RateLimited", True, 3600)


@pytest.mark.parametrize(
    ("retry_after", "retryable", "code"),
    [(None, True, 1), (0.0, True, 1), (9.5, True, 1), (121.0, True, 3), (121.0, False, 2)],
)
def test_a_job_goes_on_only_where_its_next_pod_does_not_come_too_early(retry_after, retryable, code):
    found = FetchError("RateLimited", "", retryable=retryable, retry_after=retry_after)
    assert verdict.exit_code(found) == code


def test_a_verdict_says_when_to_come_back_in_whole_seconds_or_not_at_all():
    def told(retry_after):
        found = FetchError("RateLimited", "x" * 9000, retryable=True, retry_after=retry_after)
        return json.loads(verdict.encode(found)).get("retryAfter")

    assert (told(None), told(0.2), told(3600.0)) == (None, 1, 3600)


@pytest.mark.parametrize(("others", "later"), [(503, None), (404, 3600.0)])
def test_a_source_that_wants_an_hour_does_not_hold_up_its_mirrors(fetches, server, answer, others, later):
    patient, other = answer.reply(429, Retry_After=3600), answer.reply(others)
    server.otherwise = lambda handler: (patient if "/one/" in handler.path else other)(handler)
    error = failure(fetches, sources=[fetches.at("one/a.safetensors"), fetches.at("two/a.safetensors")])
    assert (error.reason, error.retryable, error.retry_after) == ("RateLimited", True, later)


def test_what_nobody_foresaw_has_a_verdict_too(fetches):
    code = (
        "import sys\n"
        "from sd_operator.fetch import process\n"
        "def work(known, stop):\n"
        "    raise RuntimeError('with a secret')\n"
        "sys.exit(process.run(work))\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    env = {**fetches.variables(), "SD_FETCH_VERDICT": str(fetches.verdict), "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1, done.stderr
    told = fetches.told()
    assert (told["reason"], told["retryable"]) == ("ServerError", True)
    assert "RuntimeError" in told["message"] and "secret" not in told["message"]
    assert "nobody foresaw" in done.stderr and "Traceback" in done.stderr


def test_what_an_earlier_fetch_left_is_told_before_the_source_is_asked(fetches, server, answer, large):
    with fetches.left_partial() as left:
        left.writer().write(0, large[: 9 * MIB])
    told = []

    def note(handler):
        told.append(fetches.progress.told())
        answer.serve()(handler)

    server.otherwise = note
    fetches.run()
    assert (told[0]["bytes"], told[0]["totalBytes"], told[0]["phase"]) == (9 * MIB, len(large), "Probing")


def test_progress_goes_back_only_when_the_file_starts_over(fetches, server, answer, large):
    told = []

    def note(handler):
        told.append(fetches.progress.told()["bytes"])
        if handler.number == 2:
            server.etag = '"two"'
        answer.serve(cut=5 * MIB)(handler)

    server.otherwise = note
    fetches.run(patience=PATIENCE)
    assert fetches.target.read_bytes() == large
    # What came of the one file is given up for the other.
    assert (told[0], told[2], told[3]) == (0, PIECE + 5 * MIB, 5 * MIB)
    assert told[3:] == sorted(told[3:])
