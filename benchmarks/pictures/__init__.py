"""The parts of `benchmarks.runtime`: each measures one thing of the runtime beside its alternative."""
