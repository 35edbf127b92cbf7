"""Going on with what an earlier attempt, process or node left, and knowing when not to."""

import os

import pytest

from sd_operator.fetch import partial
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.journal import SEGMENT_BYTES, Journal, Span
from sd_operator.fetch.partial import Withdrawn
from sd_operator.fetch.patience import Patience

PIECE = 65536  # that is asked for first


@pytest.fixture
def large(server, made):
    """A file of two segments and a bit."""
    server.content = made.checkpoint(size=2 * SEGMENT_BYTES + 12345)
    return server.content


def fill(left, content, *spans):
    """Write these bytes of the file, as a fetch that was killed had done."""
    writer = left.writer()
    for span in spans:
        writer.write(span.start, content[span.start : span.end])


@pytest.mark.parametrize("cut", [0, 3, 100_000, SEGMENT_BYTES - PIECE - 1])
def test_a_range_cut_short_is_gone_on_with(fetches, server, answer, large, cut):
    server.script += [answer.serve(), answer.serve(cut=cut)]
    fetches.run()
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large)
    assert f"bytes={PIECE + cut}-" in "".join(filter(None, server.ranges()[2:]))


def test_an_answer_without_ranges_cut_short_is_gone_on_with(fetches, server, answer, large):
    server.script.append(answer.serve(ranges=False, cut=1_000_000))
    fetches.run()
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large)
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert fetches.counted("sdo_fetch_resumes_total") == 1


@pytest.mark.parametrize("cut", [3, 300, 520, 1_000_000])
def test_a_body_that_ends_early_without_a_length_is_noticed(fetches, server, answer, large, cut):
    ending = {"Content-Length": None, "Connection": "close"}
    server.script.append(answer.serve(ranges=False, headers=ending, cut=cut))
    fetches.run()
    assert fetches.target.read_bytes() == large


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_gone_on_with(fetches, server, answer, large, etag):
    server.etag = etag
    server.script.append(answer.serve(ranges=False, cut=1_000_000))
    fetches.run()
    assert fetches.target.read_bytes() == large
    assert server.ranges() == [f"bytes=0-{PIECE - 1}", f"bytes=0-{PIECE - 1}", None]
    assert fetches.counted("sdo_fetch_refetched_bytes_total") == 1_000_000


def test_a_file_that_changed_between_attempts_is_never_mixed(fetches, server, answer, made, large):
    new = made.checkpoint(size=SEGMENT_BYTES)

    def cut_then_change(handler):
        answer.serve(cut=200_000)(handler)
        server.content, server.etag = new, '"two"'

    server.script += [answer.serve(), cut_then_change]
    assert fetches.run().sha256 == made.sha256(new)
    assert fetches.counted("sdo_fetch_refetched_bytes_total") == PIECE + 200_000


def test_a_source_that_ignores_if_range_does_not_mix_files_either(fetches, server, answer, made, large):
    new = made.checkpoint(size=SEGMENT_BYTES)

    def ignore(handler):
        del handler.headers["If-Range"]
        answer.serve()(handler)

    def cut_then_change(handler):
        answer.serve(cut=200_000)(handler)
        server.content, server.etag = new, '"two"'

    server.script += [answer.serve(), cut_then_change, ignore]
    assert fetches.run().sha256 == made.sha256(new)


def test_a_refused_range_starts_over(fetches, server, answer, large):
    server.script += [answer.serve(), answer.serve(cut=2000), answer.reply(416)]
    fetches.run()
    assert fetches.target.read_bytes() == large


def test_progress_is_not_counted_as_failure_but_starting_over_is(fetches, server, answer, large):
    server.script += [answer.serve()] + [answer.serve(cut=5_000_000), answer.serve()] * 5
    fetches.run()
    fetches.target.unlink()
    server.requests.clear()
    server.served.clear()
    server.etag = None
    server.otherwise = answer.serve(ranges=False, cut=500_000)
    with pytest.raises(FetchError) as caught:
        fetches.run()
    assert caught.value.reason == "Truncated"
    assert server.ranges().count(f"bytes=0-{PIECE - 1}") == 4  # one made progress, three in a row did not


def test_what_a_killed_process_wrote_is_gone_on_with(fetches, server, large):
    spans = Span(0, 1_000_000), Span(SEGMENT_BYTES, SEGMENT_BYTES + 777)
    with fetches.left_partial() as left:
        fill(left, large, *spans)
    fetches.of(connections=3).run()
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large) - 1_000_777


def test_after_a_crash_of_the_node_only_synced_bytes_are_believed(fetches, server, large):
    with fetches.left_partial() as left:
        fill(left, large, Span(0, 1_000_000), Span(SEGMENT_BYTES, SEGMENT_BYTES + 777))
        left.sync()
        # What a crash makes of bytes that were not synced.
        fill(left, bytes(2_000_000), Span(1_000_000, 1_500_000))
    fetches.change_notes(boot_id="another boot")
    fetches.run()
    assert server.ranges()[0].startswith("bytes=1000000-")
    assert fetches.target.read_bytes() == large
    assert sum(server.served) == len(large) - 1_000_777


def test_a_whole_partial_file_needs_no_request(fetches, server):
    with fetches.left_partial() as left:
        fill(left, server.content, Span(0, len(server.content)))
    fetches.run()
    assert server.requests == []
    assert fetches.target.read_bytes() == server.content


def test_a_source_is_asked_before_it_is_blamed_for_what_was_here(fetches, server, made):
    """Bytes of an older file, whole but for its verification, when the wanted one has taken its place."""
    with fetches.left_partial() as left:
        fill(left, server.content, Span(0, len(server.content)))
    server.content = made.checkpoint(size=9000)
    assert fetches.run(sha256=made.sha256(server.content)).size == len(server.content)


def test_the_beginning_that_is_here_is_judged_anew(fetches, server, large):
    with fetches.left_partial() as left:
        fill(left, large, Span(0, 1_000_000))
    with pytest.raises(FetchError) as caught:
        fetches.run(family="SDXL")
    assert caught.value.reason == "FamilyMismatch"
    assert sum(server.served) <= PIECE


def test_a_beginning_too_short_to_be_judged_is_fetched_anew(fetches, server, large):
    with fetches.left_partial() as left:
        fill(left, large, Span(0, 100))
    fetches.run()
    assert fetches.target.read_bytes() == large


def test_a_partial_file_of_another_source_is_not_gone_on_with(fetches, server):
    with fetches.left_partial(identity="https://elsewhere/model.safetensors") as left:
        fill(left, b"x" * 1000, Span(0, 1000))
    fetches.run()
    assert server.ranges()[0].startswith("bytes=0-")
    assert fetches.target.read_bytes() == server.content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"identity": 1, "more": 2}',
        '{"synced": [[5, 2]]}',
        '{"synced": [1]}',
        '{"etag": 1}',
    ],
)
def test_notes_that_cannot_be_read_cost_the_download_and_no_more(fetches, server, text):
    with fetches.left_partial() as left:
        fill(left, b"x" * 100, Span(0, 100))
    fetches.part.with_suffix(".json").write_text(text)
    fetches.run()
    assert fetches.target.read_bytes() == server.content


@pytest.mark.parametrize("raw", [b"", b"\0", b"\xff" * 9, b"\xff\xff\xff\xff" * 40])
def test_a_journal_that_lies_is_believed_no_further_than_the_file_goes(fetches, server, large, raw):
    with fetches.left_partial() as left:
        fill(left, large, Span(0, 100_000))
    fetches.part.with_suffix(".journal").write_bytes(raw)
    fetches.run()
    assert fetches.target.read_bytes() == large


def test_bytes_that_could_not_be_made_durable_are_not_believed(fetches, large):
    with fetches.left_partial() as left:
        fill(left, large, Span(0, 5000))
        left.sync()
        fill(left, large, Span(5000, 9000))
        os.close(left._descriptor)  # as good as a disk that fails
        with pytest.raises(OSError):
            left.sync()
        assert left.present == 5000
        left._descriptor = os.open(left.path, os.O_RDWR)


def test_nobody_writes_after_the_right_to_it_was_withdrawn(fetches, large):
    with fetches.left_partial() as left:
        writer = left.writer()
        writer.write(0, large[:10])
        writer.withdraw()
        with pytest.raises(Withdrawn):
            writer.write(10, large[10:20])
        left.writer().write(10, large[10:20])
        assert left.present == 20


def test_keys_of_long_names_fit_a_file_name_and_differ():
    one, other = "a" * 250 + "b", "a" * 250 + "c"
    keys = {partial.key_of(one, "f" * 63), partial.key_of(other, "f" * 63)}
    assert len(keys) == 2 and all(len(key) < 220 for key in keys)


@pytest.fixture
def journal(tmp_path):
    found = Journal(tmp_path / "journal")
    yield found
    found.close()


def test_a_journal_knows_what_is_there_and_what_is_missing(journal):
    size = SEGMENT_BYTES
    journal.advance(Span(0, 10))
    journal.advance(Span(size, 2 * size + 5))  # over a border
    assert journal.frontier() == 10
    assert journal.present == 10 + size + 5
    assert journal.spans() == [Span(0, 10), Span(size, 2 * size + 5)]
    assert journal.missing(3 * size + 1) == [
        Span(10, size),
        Span(2 * size + 5, 3 * size),
        Span(3 * size, 3 * size + 1),
    ]
    journal.advance(Span(10, size))
    assert journal.frontier() == 2 * size + 5
    assert journal.spans() == [Span(0, 2 * size + 5)]


def test_a_journal_counts_no_byte_twice_and_no_gap(journal):
    journal.advance(Span(0, 10))
    journal.advance(Span(5, 12))
    journal.advance(Span(20, 30))
    assert journal.spans() == [Span(0, 12)] and journal.present == 12


def test_patience_is_not_fooled_by_a_file_that_starts_over(fetches, server, answer, large):
    server.etag = None
    server.otherwise = answer.serve(ranges=False, cut=1_000_000)
    with pytest.raises(FetchError) as caught:
        fetches.run(patience=Patience(attempts=2, first_wait=0.0))
    assert (caught.value.reason, caught.value.retryable) == ("Truncated", True)
