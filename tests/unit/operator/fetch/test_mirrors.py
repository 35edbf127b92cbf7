"""Mirrors in their order, and what they may share."""

import pytest

from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import SEGMENT_BYTES


@pytest.fixture
def sources(fetches):
    return [fetches.at("one/model.safetensors"), fetches.at("two/mirror.safetensors")]


def by_path(**answers):
    """An answer that depends on the first part of the path."""

    def answer(handler):
        answers[handler.path.split("/")[1]](handler)

    return answer


def failure(fetches, **changes):
    with pytest.raises(FetchError) as caught:
        fetches.run(**changes)
    return caught.value


def asked(server):
    return [path.split("/")[1] for path, _ in server.requests]


FAULTS = {
    "for good": ({"status": 404}, 1),
    "for long": ({"status": 503}, 3),
    "and wants to be left alone": ({"status": 429, "Retry_After": 3600}, 1),
    "with something else": ({"status": 200, "body": b"<html>" + bytes(600)}, 1),
}


@pytest.mark.parametrize(("fault", "times"), FAULTS.values(), ids=FAULTS.keys())
def test_the_mirror_is_asked_when_the_source_fails(fetches, server, answer, sources, fault, times):
    server.otherwise = by_path(one=answer.reply(**fault), two=answer.serve())
    found = fetches.run(sources=sources)
    assert asked(server) == ["one"] * times + ["two"]
    # The file has one name wherever it comes from; where that was is on record.
    assert found.path == "models/Stable-diffusion/model.safetensors"
    assert found.source == sources[1]["http"]["url"] == fetches.entries()[0].source


def test_a_mirror_is_left_alone_while_the_source_serves(fetches, server, sources):
    fetches.run(sources=sources)
    assert asked(server) == ["one"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "HashMismatch"),
        ({"family": "SDXL"}, "FamilyMismatch"),
        ({"type": "LoRA"}, "TypeMismatch"),
    ],
)
def test_a_wrong_file_is_looked_for_at_the_mirror_too(fetches, server, sources, changes, reason):
    error = failure(fetches, sources=sources, **changes)
    assert asked(server) == ["one", "two"]
    assert (error.reason, error.retryable) == (reason, False)
    assert "the mirrors failed, too" in error.message


def test_when_all_fail_the_first_is_the_verdict_and_all_are_told(fetches, server, answer, sources):
    server.otherwise = by_path(one=answer.reply(404), two=answer.reply(503))
    error = failure(fetches, sources=sources)
    assert (error.reason, error.retryable) == ("NotFound", True)
    assert "404" in error.message and "ServerError" in error.message and "503" in error.message


def test_what_is_no_sources_fault_ends_it(fetches, server, sources):
    fetches.target.parent.mkdir(parents=True)
    fetches.target.write_bytes(b"mine")
    assert failure(fetches, sources=sources).reason == "PathConflict"
    assert server.requests == []


def test_a_file_from_a_mirror_is_known_again(fetches, server, answer, sources):
    server.otherwise = by_path(one=answer.reply(404), two=answer.serve())
    first = fetches.run(sources=sources)
    server.requests.clear()
    assert fetches.run(sources=sources) == first
    assert server.requests == []


@pytest.fixture
def large(server, made):
    server.content = made.checkpoint(size=2 * SEGMENT_BYTES)
    return server.content


def cut_at(answer, count):
    """A source that serves the first question and then breaks off for good."""
    answers = [answer.serve(), answer.serve(cut=count)]
    return lambda handler: (answers.pop(0) if answers else answer.reply(404))(handler)


def test_bytes_of_one_source_serve_another_that_promises_the_same(
    fetches, server, answer, made, sources, large
):
    server.otherwise = by_path(one=cut_at(answer, 1_000_000), two=answer.serve())
    fetches.run(sources=sources, sha256=made.sha256(large))
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large)
    first = server.requests[asked(server).index("two")][1]
    # Its own etag is not known yet, and that of the other means nothing to it.
    assert first["Range"].startswith("bytes=1065536-") and "If-Range" not in first


def test_bytes_of_one_source_are_nothing_to_another_without_a_promise(
    fetches, server, answer, sources, large
):
    server.otherwise = by_path(one=cut_at(answer, 1_000_000), two=answer.serve())
    fetches.run(sources=sources)
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large) + 1_065_536
    assert fetches.counted("sdo_fetch_refetched_bytes_total") == 1_065_536


def test_the_bytes_of_a_source_are_kept_while_its_mirror_has_none(fetches, server, answer, sources, large):
    server.otherwise = by_path(one=cut_at(answer, 1_000_000), two=answer.reply(503))
    assert failure(fetches, sources=sources).retryable
    assert fetches.arrived() == 1_065_536


def test_a_mirror_is_not_blamed_for_what_the_source_sent(fetches, server, answer, made, sources, large):
    """The source's bytes were bad, the mirror's are good: mixed they do not keep the promise."""
    bad = bytearray(large)
    bad[600_000] ^= 1

    def spoil(handler):
        server.content = bytes(bad)
        try:
            begin(handler)
        finally:
            server.content = large

    begin = cut_at(answer, 1_000_000)
    server.otherwise = by_path(one=spoil, two=answer.serve())
    fetches.run(sources=sources, sha256=made.sha256(large))
    assert fetches.target.read_bytes() == large


def test_a_mirror_of_another_size_does_not_go_on(fetches, server, answer, made, sources, large):
    def longer(handler):
        server.content = large + b"more"
        try:
            answer.serve()(handler)
        finally:
            server.content = large

    server.otherwise = by_path(one=cut_at(answer, 1_000_000), two=longer)
    assert failure(fetches, sources=sources, sha256=made.sha256(large)).reason == "NotFound"
    assert fetches.visible() == []
