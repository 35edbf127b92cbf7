"""Seeds of a request."""

from random import Random

from sd_runtime.jobs import seeds


def test_a_given_seed_stays_and_minus_one_is_drawn_from_32_bits():
    assert seeds.fixed(0, Random(1)) == 0
    drawn = {seeds.fixed(-1, Random(number)) for number in range(50)}
    assert len(drawn) == 50
    assert all(0 <= seed < 2**32 for seed in drawn)


def test_picture_i_gets_seed_plus_i():
    assert seeds.consecutive(7, 3) == (7, 8, 9)
