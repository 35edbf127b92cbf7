"""The picture that a checkpoint must make before it is served."""

from sd_runtime.engine.work import Decode, Encode, Evaluate
from sd_runtime.tasks import warm_up
from tests.unit.runtime.tasks.bench import Bench


def test_it_needs_both_texts_the_network_and_the_decoder():
    engine = Bench()
    assert engine.run(warm_up.picture()).pixels.shape == (64, 64, 3)
    assert [text.negative for text in engine.of(Encode)] == [False, True]
    assert all(ask.uncond is not None for ask in engine.of(Evaluate))
    assert len(engine.of(Decode)) == 1
