"""Several ranges of one file at once, and sources that serve none, or lie about them."""

import threading
import time

import pytest

from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import SEGMENT_BYTES
from sd_operator.fetch.patience import Patience

MIB = 1024 * 1024


@pytest.fixture
def large(server, made):
    """A file of three segments and a bit."""
    server.content = made.checkpoint(size=3 * SEGMENT_BYTES + 12345)
    return server.content


def test_ranges_come_at_once_and_every_byte_once(fetches, server, large):
    meeting = threading.Barrier(3)
    good, met = server.otherwise, []

    def meet(handler):
        # The first question comes alone; then every connection must be open before one is served.
        if handler.number in (1, 2, 3):
            met.append(meeting.wait(10))
        good(handler)

    server.otherwise = meet
    found = fetches.of(connections=3).run()
    assert fetches.target.read_bytes() == large and found.size == len(large)
    assert len(met) == 3
    assert sum(server.served) == len(large)


def test_small_files_cost_one_request(fetches, server):
    fetches.of(connections=4).run()
    assert len(server.requests) == 1


def test_a_source_without_ranges_sends_the_file_in_one_answer(fetches, server, answer, large):
    server.otherwise = answer.serve(ranges=False)
    fetches.of(connections=4).run()
    assert fetches.target.read_bytes() == large
    assert len(server.requests) == 1 and sum(server.served) == len(large)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_the_file_comes_in_one_answer(fetches, server, large, etag):
    server.etag = etag
    fetches.of(connections=4).run()
    assert fetches.target.read_bytes() == large
    assert server.ranges()[1:] == [None]


LIES = {
    "another start": {"Content-Range": "bytes 7-65542/100000"},
    "no range": {"Content-Range": None},
    "no total": {"Content-Range": "bytes 0-65535/*"},
    "nonsense": {"Content-Range": "items 1-2/3"},
}


@pytest.mark.parametrize("headers", LIES.values(), ids=LIES.keys())
def test_a_source_that_lies_about_ranges_is_asked_for_the_whole(fetches, server, answer, large, headers):
    server.script.append(answer.serve(headers=headers))
    fetches.of(connections=4).run()
    assert fetches.target.read_bytes() == large
    assert server.ranges()[1:] == [None]


def test_a_size_told_wrongly_with_ranges_is_asked_for_without(fetches, server, answer, large):
    server.script.append(answer.serve(headers={"Content-Range": f"bytes 0-65535/{len(large) + 1000}"}))
    fetches.of(connections=4).run()
    assert fetches.target.read_bytes() == large
    assert server.ranges()[1:] == [None]


def test_a_source_that_refuses_the_first_range_is_asked_for_the_whole(fetches, server, answer, large):
    server.script.append(answer.reply(416))
    fetches.run()
    assert fetches.target.read_bytes() == large


def test_a_connection_that_fails_is_made_up_for_by_the_others(fetches, server, answer, large):
    server.script += [answer.serve(), answer.serve(cut=1 * MIB), answer.reply(503), answer.serve()]
    fetches.of(connections=3).run()
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large)


def test_a_source_that_bears_one_connection_is_fetched_by_one(fetches, server, answer, large):
    good, turn = server.otherwise, threading.Lock()

    def one_at_a_time(handler):
        if not turn.acquire(blocking=False):
            answer.reply(429, Retry_After=600)(handler)
            return
        try:
            good(handler)
        finally:
            turn.release()

    server.otherwise = one_at_a_time
    fetches.of(connections=4).run()
    assert fetches.target.read_bytes() == large


@pytest.mark.parametrize("more", [5, -5])
def test_a_range_with_a_wrong_length_costs_nothing_but_its_connection(fetches, server, answer, large, more):
    length = SEGMENT_BYTES - 65536 + more
    server.script += [answer.serve(), answer.serve(headers={"Content-Length": length}, cut=length)]
    fetches.of(connections=2).run()
    assert fetches.target.read_bytes() == large


def test_other_bytes_than_asked_for_are_not_taken(fetches, server, answer, large):
    end = len(large) - 1
    elsewhere = answer.serve(headers={"Content-Range": f"bytes 7-{end}/{len(large)}"})
    whole = answer.serve(ranges=False)
    server.script += [answer.serve(), elsewhere, whole]
    fetches.of(connections=2).run()
    assert fetches.target.read_bytes() == large


def test_a_file_that_changes_under_the_ranges_is_never_mixed(fetches, server, answer, made, large):
    new = made.checkpoint(size=3 * SEGMENT_BYTES)
    good = server.otherwise

    def change(handler):
        if handler.number == 2:
            server.content, server.etag = new, '"two"'
        good(handler)

    server.otherwise = change
    fetching = fetches.of(connections=2)
    assert fetching.run().sha256 == made.sha256(new)
    assert fetching.counted("sdo_fetch_refetched_bytes_total") >= 65536


def test_a_source_whose_etag_is_another_each_time_is_fetched_in_one_answer(fetches, server, large):
    good = server.otherwise

    def fickle(handler):
        server.etag = f'"{handler.number}"'
        good(handler)

    server.otherwise = fickle
    fetches.run(patience=Patience(attempts=5, first_wait=0.0, progress_bytes=1))
    assert fetches.target.read_bytes() == large


def test_ranges_are_asked_for_where_the_redirect_led(fetches, server, answer, large):
    server.script.append(answer.reply(302, Location=f"{server.address}/cdn/blob?signature=1"))
    fetches.of(connections=2).run()
    paths = [path for path, _ in server.requests]
    assert paths[0] == "/files/model.safetensors"
    assert set(paths[1:]) == {"/cdn/blob?signature=1"}


@pytest.mark.parametrize("status", [401, 403, 410])
def test_an_address_that_expired_is_asked_for_anew(fetches, server, answer, large, status):
    def redirect(number):
        return answer.reply(302, Location=f"{server.address}/cdn/{number}")

    server.script += [redirect(1), answer.serve(), answer.serve(), answer.reply(status), redirect(2)]
    fetches.run()
    assert fetches.target.read_bytes() == large
    assert [path for path, _ in server.requests][-1] == "/cdn/2"
    assert sum(server.served) == len(large)


def test_a_slow_connection_is_given_up_for_another(fetches, server, answer, large):
    def trickle(handler):
        handler.head(206, {"Content-Range": f"bytes 65536-{SEGMENT_BYTES - 1}/{len(large)}", "ETag": '"one"'})
        for place in range(65536, 65736):
            if server.go_on.wait(0.02):
                break
            handler.body(large[place : place + 1])
        handler.close_connection = True

    server.script += [answer.serve(), trickle]
    begun = time.monotonic()
    patience = Patience(attempts=3, first_wait=0.0, progress_bytes=1, slowest_rate=1000, slow_seconds=0.3)
    fetches.run(patience=patience)
    assert fetches.target.read_bytes() == large
    assert time.monotonic() - begun < 3
    assert fetches.counted("sdo_fetch_failed_attempts_total", reason="Timeout") == 1


def test_what_one_connection_brings_slowly_another_takes_over(fetches, server, answer, large):
    """Not slow enough to be given up, but much slower than the others, which have nothing left to do."""
    good, slow = server.otherwise, []

    def one_is_slow(handler):
        if handler.number != 1:
            good(handler)
            return
        start, end = handler.asked
        slow.append(start)
        handler.head(
            206,
            {
                "Content-Range": f"bytes {start}-{end}/{len(large)}",
                "Content-Length": end + 1 - start,
                "ETag": '"one"',
            },
        )
        for place in range(start, end, 4096):
            if server.go_on.wait(0.05):
                break
            handler.body(large[place : place + 4096])
        handler.close_connection = True

    server.otherwise = one_is_slow
    begun = time.monotonic()
    fetches.of(connections=2).run()
    assert fetches.target.read_bytes() == large
    assert 2 < time.monotonic() - begun < 10
    # The rest was asked for again from where the slow one was.
    (again,) = (
        each for each in server.ranges()[2:] if int(each.partition("=")[2].partition("-")[0]) < SEGMENT_BYTES
    )
    assert again != server.ranges()[1] and again.endswith(f"-{SEGMENT_BYTES - 1}")
    server.go_on.set()


def test_a_source_that_is_always_slow_is_told_as_a_timeout(fetches, server):
    def trickle(handler):
        handler.head(200, {"Content-Length": len(server.content)})
        for place in range(len(server.content)):
            if server.go_on.wait(0.02):
                break
            handler.body(server.content[place : place + 1])
        handler.close_connection = True

    server.otherwise = trickle
    patience = Patience(attempts=2, first_wait=0.0, slowest_rate=1000, slow_seconds=0.2)
    with pytest.raises(FetchError) as caught:
        fetches.run(patience=patience)
    assert (caught.value.reason, caught.value.retryable) == ("Timeout", True)
    server.go_on.set()


def test_more_bytes_than_the_header_promises_are_refused_when_they_come(fetches, server, answer, made):
    server.content = made.checkpoint(size=200_000) + b"more"
    server.otherwise = answer.serve(
        ranges=False, headers={"Content-Length": None, "Connection": "close"}, cut=10**9
    )
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "FormatRefused" and "promises" in caught.value.message
    assert fetches.left() == []
