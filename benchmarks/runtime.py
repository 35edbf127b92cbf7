"""What the runtime costs beside its alternatives: `python -m benchmarks.runtime`.

`--parts` picks some of it; `--output FILE` also writes the tables there. Everything needs no cluster and no
network; the full-size parts take about 9 GB of memory and 4 GB of disk. It is measured on the device that the
runtime itself chooses: a GPU where there is one. `mixed-full-size` and `memory` need one, and are left out
without it.
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import table
from benchmarks.pictures import card_memory, full_size, hot_adding, http, mixed, overhead, rig
from benchmarks.pictures.section import Section

PARTS: dict[str, Callable[[], Section]] = {
    "overhead": overhead.measure,
    "paired": full_size.measure_paired,
    "mixed": mixed.measure,
    "loading": full_size.measure_loading,
    "lora": hot_adding.measure,
    "http": http.measure,
    "mixed-full-size": mixed.measure_full_size,
    "memory": card_memory.measure,
}
#: On a processor the one takes hours, and the other means nothing.
OF_A_GPU = ("mixed-full-size", "memory")


def main() -> int:
    """0 when every part was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = [name for name in PARTS if name not in OF_A_GPU or torch.cuda.is_available()]
    parser.add_argument("--parts", default=",".join(default), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="a file for the tables")
    given = parser.parse_args()
    wanted = given.parts.split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"--parts: {', '.join(unknown)}: allowed are {', '.join(PARTS)}")
    if set(wanted) & set(OF_A_GPU) and not torch.cuda.is_available():
        parser.error(f"--parts: {' and '.join(OF_A_GPU)} need a CUDA device, and torch finds none")
    texts = [f"# The runtime\n\n{table.provenance_of(('runtime', 'modelfiles'))} {rig.device_in_words()}"]
    for name in wanted:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        text = _measure(name).markdown()
        print(text + "\n", flush=True)
        texts.append(text)
    if given.output:
        given.output.write_text("\n\n".join(texts) + "\n")
    return 0


def _measure(name: str) -> Section:
    """In a process of its own: threads that another part has computed with would stay, and where an OpenMP
    runtime counts more of them than there are processors it waits more slowly for all."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(PARTS[name]).result()


if __name__ == "__main__":
    sys.exit(main())
