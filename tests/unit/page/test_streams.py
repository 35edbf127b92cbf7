"""Answers without an end have a bound, for all and for each session."""

from contextlib import ExitStack

from sd_page.streams import MOST, Share
from sd_runtime.serving import SPARE_CONNECTIONS


def test_a_place_is_free_again_once_it_is_left() -> None:
    share = Share(most=2, of_session=2)
    with share.place("a") as first, share.place("b") as second:
        assert (first, second) == (None, None)
        with share.place("c") as third:
            assert third is not None
            assert "2 times" in third
    with share.place("c") as wrong:
        assert wrong is None


def test_one_session_does_not_take_all_places() -> None:
    share = Share(most=8, of_session=2)
    with share.place("a"), share.place("a"):
        with share.place("a") as wrong:
            assert wrong is not None
            assert "this session" in wrong
        with share.place("b") as wrong:
            assert wrong is None


def test_who_was_refused_leaves_no_trace() -> None:
    share = Share(most=1, of_session=1)
    with ExitStack() as held:
        held.enter_context(share.place("a"))
        for _ in range(3):
            with share.place("b"):
                assert share.is_full
    assert not share.is_full


def test_pages_leave_the_interface_connections_of_its_own() -> None:
    """Of each kind of stream as many."""
    assert 2 * MOST <= SPARE_CONNECTIONS - 128
