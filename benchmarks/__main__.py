"""Runs the benchmark, prints numbers and draws a figure.

`python -m benchmarks --suite cpu --out results.json` has six parts: one evaluation against PyTorch, time to
quality against `pastiche`, start-up, a whole picture, many pairs, and growth with the size of the picture. It
needs the extra `bench`. Results are written after each part. The file keeps the results of other parts from
the same machine and versions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import batch, evaluation, growth, picture, quality, startup
from benchmarks.figure import draw
from benchmarks.measure import previous_results, write
from jaxnst.io.save import check_file

PEERS = ("torch", "pastiche")

Part = Callable[[int], Any]
"""Takes the number of rounds and returns results."""

SUITES: dict[str, dict[str, Part]] = {
    "cpu": {
        "evaluation": lambda rounds: evaluation.measure([256, 512, 1024], rounds),
        "quality": lambda rounds: quality.measure(256, [200, 500], max(rounds // 7, 1)),
        "startup": lambda rounds: startup.measure(rounds),
        "picture": lambda rounds: picture.measure(256, 60, max(rounds // 2, 1)),
        "batch": lambda rounds: batch.measure(128, 12, [1, 2, 4, 8, 16], max(rounds // 2, 1)),
        "growth": lambda rounds: growth.measure([128, 256, 512, 1024], rounds),
    },
    "gpu": {
        "evaluation": lambda rounds: evaluation.measure([256, 512, 1024, 2048], rounds),
        "quality": lambda rounds: quality.measure(512, [200, 500], max(rounds // 3, 1)),
        "startup": lambda rounds: startup.measure(rounds),
        "picture": lambda rounds: picture.measure(512, 300, rounds),
        "batch": lambda rounds: batch.measure(256, 60, [1, 2, 4, 8, 16, 32, 64], rounds),
        "growth": lambda rounds: growth.measure([128, 256, 512, 1024, 2048, 4096], rounds),
    },
}


def main() -> None:
    """Runs the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, required=True, help="sizes and steps for a CPU or a GPU")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; the figure has its name and .png")
    parser.add_argument(
        "--parts", nargs="+", choices=SUITES["cpu"], default=list(SUITES["cpu"]), help="default: all"
    )
    parser.add_argument("--rounds", type=int, default=7, help="repetitions of each measurement (default 7)")
    options = parser.parse_args()
    check_file(options.out, "out")
    results = previous_results(options.out, *PEERS)
    for name in options.parts:
        print(f"== {name}", flush=True)
        results[name] = SUITES[options.suite][name](options.rounds)
        write(options.out, results, *PEERS)
    draw(results, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
