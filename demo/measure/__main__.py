"""Measures the shipped files and writes their cards: `python -m demo.measure [MODEL …]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from demo.measure import measuring, pipelines
from demo.measure.scores import SCORES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.measure", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"only these: {', '.join(SCORES)}")
    parser.add_argument("--folder", type=Path, default=pipelines.MODELS)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--companions", type=int, default=96)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.models) - set(SCORES)):
        parser.error(f"no model called {', '.join(unknown)}; there are {', '.join(SCORES)}")
    measuring.measure(
        arguments.folder,
        arguments.models or list(SCORES),
        prompts=arguments.prompts,
        companions=arguments.companions,
    )


if __name__ == "__main__":
    main()
