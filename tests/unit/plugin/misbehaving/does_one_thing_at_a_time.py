"""Answers nothing else while it computes."""

import time

from breakers import example

_made = example()
app = _made.app


async def _here(call, *given, cancellable):
    if len(given[0]) > 1_000_000:
        time.sleep(2.2)
    return call(*given)


_made.to_process.run_sync = _here
