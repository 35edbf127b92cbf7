"""What plugins cost: `python -m benchmarks.plugins`, or `make bench-plugins`.

Every module of every own plugin on a photograph of 512 pixels a side, by turns: over the plugin contract (its
supervised process, a Unix socket, the runtime's own client), as a function called in this process, and over
HTTP as sd-webui-controlnet's `/detect` carries pictures (TCP, PNG in base64 in JSON). Then the sizes of the
images, where buildah has them. The exit status is 1 where the contract adds more than its target to a run,
where that was not measured, and where a run failed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import skimage.data
from PIL import Image

from benchmarks import plugin_doors as doors
from benchmarks import plugin_images, table
from sd_plugin import loading
from sd_plugin.errors import PluginError
from sd_plugin.module import Module, Pixels
from sd_runtime.errors import SdError
from sd_runtime.plugins import Module as Handle
from sd_runtime.plugins import Plugins
from sd_runtime.plugins.states import Kind

#: Milliseconds that the contract may add to a run on 512 px.
MOST_OVERHEAD = 5.0
#: It does next to nothing with a picture, so what it takes is the way there and back.
IDENTITY = "invert"
BACK_TO_BACK = 100
#: That a plugin may take to look into its files.
_LOOKING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of a module, in milliseconds; `note` in their place where it could not be measured."""

    plugin: str
    module: str
    contract: float = 0.0
    own: float = 0.0
    called: float = 0.0
    detect: float = 0.0
    times: int = 0
    note: str = ""
    has_failed: bool = False
    #: Of the identity: what the contract, and `/detect`, add to its own time in runs one right after another.
    added: tuple[float, float] | None = None


def main() -> int:
    """0 where every run was as it should be, and the contract adds no more than its target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plugins", default=",".join(loading.known()), help="some of them")
    parser.add_argument("--size", type=int, default=512, help="pixels of a side of the photograph")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="for each module, at least one run of each"
    )
    parser.add_argument("--output", type=Path, help="a file for the tables")
    given = parser.parse_args()
    names = given.plugins.split(",")
    if unknown := [name for name in names if name not in loading.known()]:
        parser.error(f"--plugins: {', '.join(unknown)}: allowed are {', '.join(loading.known())}")
    astronaut = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    photograph = Image.fromarray(astronaut).resize((given.size, given.size))
    image: Pixels = np.asarray(photograph)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for name in names for row in _measure(name, image, Path(folder), given.seconds)]
    text = _render(rows, given.size)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
    return int(bool(faults(rows)))


def faults(rows: Sequence[Row]) -> list[str]:
    """Sentences on why the figures are not as they should be; none where they are."""
    added = [row.added[0] for row in rows if row.added is not None]
    told = [f"{row.plugin}, {row.module}: {row.note}" for row in rows if row.has_failed]
    if not added:
        told.append(f"what the contract adds was not measured, for which {IDENTITY} has to be run")
    told += [
        f"the contract adds {each:.1f} ms, more than {MOST_OVERHEAD:g}"
        for each in added
        if not each <= MOST_OVERHEAD
    ]
    return told


def _measure(package: str, image: Pixels, folder: Path, seconds: float) -> list[Row]:
    """A row for each module of the plugin of this package."""
    print(f"measuring {package} …", file=sys.stderr, flush=True)
    environment = doors.environment(package, folder)
    here = doors.load(package, environment)
    with (
        doors.contract(package, here.name, folder, environment) as client,
        doors.detect(package, environment) as detect,
    ):
        (state,) = client.states()
        known = _known(client, here.kind)
        return [
            Row(state.name, each.description.name, note=known[each.description.name].state.reason)
            if not known[each.description.name].state.available
            else _measure_module(each, known[each.description.name], image, client, detect, seconds)
            for each in here.modules
        ]


def _known(client: Plugins, kind: Kind) -> Mapping[str, Handle]:
    """The plugin's modules, once one can be used: it answers before it has looked into its files."""
    until = time.monotonic() + _LOOKING_SECONDS
    known = client.modules(kind)
    while not any(each.state.available for each in known.values()) and time.monotonic() < until:
        time.sleep(0.1)
        known = client.modules(kind)
    return known


def _measure_module(
    here: Module, there: Handle, image: Pixels, client: Plugins, detect: doors.Detect, seconds: float
) -> Row:
    defaults = {each.name: each.default for each in there.state.parameters}
    own: list[float] = []

    def by_contract() -> None:
        own.append(1000 * float(client.run(there, image, None, defaults).info["seconds"]))

    ways: dict[str, Callable[[], Any]] = {
        "contract": by_contract,
        "called": lambda: here.run(image.copy(), None, doors.whole(here, defaults)),
        "detect": lambda: detect.run(there.state.name, image, defaults),
    }
    try:
        for way in ways.values():  # what is loaded at the first use
            way()
        added = _added(ways, own) if there.state.name == IDENTITY else None
        own.clear()
        taken = _by_turns(ways, seconds)
    except (SdError, PluginError, httpx.HTTPError) as error:
        return Row(there.plugin, there.state.name, note=f"failed: {error}", has_failed=True)
    medians = {way: statistics.median(found) for way, found in taken.items()}
    return Row(
        there.plugin,
        there.state.name,
        contract=medians["contract"],
        own=statistics.median(own),
        called=medians["called"],
        detect=medians["detect"],
        times=len(own),
        added=added,
    )


def _added(ways: Mapping[str, Callable[[], Any]], own: list[float]) -> tuple[float, float]:
    """Milliseconds that the contract and `/detect` add to a module's own time, back to back."""
    own.clear()
    contract = statistics.median(_timed(ways["contract"]) for _ in range(BACK_TO_BACK))
    detect = statistics.median(_timed(ways["detect"]) for _ in range(BACK_TO_BACK // 4))
    itself = statistics.median(own)
    return contract - itself, detect - itself


def _timed(way: Callable[[], Any]) -> float:
    began = time.perf_counter()
    way()
    return 1000 * (time.perf_counter() - began)


def _by_turns(ways: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each way, one after the other until the time is up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    until = time.perf_counter() + seconds
    while not taken["contract"] or time.perf_counter() < until:
        for name, way in ways.items():
            taken[name].append(_timed(way))
    return taken


def _render(rows: list[Row], size: int) -> str:
    measured = [row for row in rows if not row.note]
    lines = [
        "# Plugins",
        "",
        table.provenance_of(("runtime", "modelfiles")),
        "",
        f"## A photograph of {size}x{size}, by module (median milliseconds, by turns)",
        "",
        "| plugin | module | over the contract | of these, the module itself | on top | as a function here "
        "| over HTTP, base64 JSON | runs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.plugin} | {row.module} | {row.contract:.1f} | {row.own:.1f} "
            f"| {row.contract - row.own:.1f} | {row.called:.1f} | {row.detect:.1f} | {row.times} |"
            for row in measured
        ),
        "",
        *_left_out(rows),
        *_verdict(measured),
        *(f"**Not as it should be: {each}.**" for each in faults(rows)),
        *plugin_images.lines(),
    ]
    return "\n".join(lines)


def _left_out(rows: list[Row]) -> list[str]:
    notes = {row.note: [each.module for each in rows if each.note == row.note] for row in rows if row.note}
    return [line for note, modules in notes.items() for line in (f"Not {', '.join(modules)}: {note}.", "")]


def _verdict(measured: list[Row]) -> list[str]:
    return [
        f"What the contract adds to {row.module}, which does next to nothing, in {BACK_TO_BACK} runs in a"
        f" row: {row.added[0]:.1f} ms (target: at most {MOST_OVERHEAD:g}); HTTP with base64 JSON adds"
        f" {row.added[1]:.1f}. In the table other work has emptied the processor's caches in between."
        for row in measured
        if row.added is not None
    ]


if __name__ == "__main__":
    sys.exit(main())
