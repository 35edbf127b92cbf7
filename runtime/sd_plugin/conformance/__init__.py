"""The conformance command: asks whatever listens on a socket for everything that the contract demands and
that can be seen from outside, and tells of each demand in one line whether it is met.

Knows the contract and nothing of how a plugin is made.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from sd_plugin import listening
from sd_plugin.conformance import describing, enduring, refusing, running
from sd_plugin.conformance.demand import Broken, Demand, NotTried
from sd_plugin.conformance.probe import NoAnswer, Probe

#: Demands in a row that got no answer, after which the rest is not tried: each costs a deadline.
_MOST_SILENT = 3
#: Seconds beyond a run's deadline in which it must be answered all the same.
PATIENCE_SECONDS = 10.0


def check(socket: Path, out: TextIO, *, patience: float = PATIENCE_SECONDS) -> int:
    """Writes a line for each demand; 1 if any is not met, else 0."""
    if not listening.is_served(socket):
        out.write(f"FAIL  a process listens on {socket}: nobody does\n")
        return 1
    with Probe(socket, patience) as probe:
        report = _Report(out)
        report.tell(describing.DEMANDS, lambda demand: demand.check(probe))
        if probe.description is not None:
            for room in (running, refusing, enduring):
                report.tell(room.demands(probe.description), lambda demand: demand.check(probe))
    out.write(f"{report.met} met, {report.broken} not met, {report.not_tried} not tried\n")
    return 1 if report.broken else 0


class _Report:
    """The lines, and how many of each kind there are."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.met = self.broken = self.not_tried = 0
        self._silent = 0

    def tell(self, demands: Iterable[Demand], check: Callable[[Demand], None]) -> None:
        for demand in demands:
            self._out.write(f"{self._line(demand, check)}\n")
            self._out.flush()

    def _line(self, demand: Demand, check: Callable[[Demand], None]) -> str:
        try:
            if self._silent >= _MOST_SILENT:
                raise NotTried("it has stopped answering")
            check(demand)
        except NotTried as why:
            self.not_tried += 1
            return f"-     {demand.sentence}: not tried: {why}"
        except Broken as why:
            self.broken += 1
            self._silent = self._silent + 1 if isinstance(why, NoAnswer) else 0
            return f"FAIL  {demand.sentence}: {why}"
        self.met += 1
        self._silent = 0
        return f"ok    {demand.sentence}"
