"""Large pictures: time and memory of loss and gradient, whole and in tiles, each in a process of its own.

`python -m benchmarks.scale --out results.json` measures, prints and draws.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation import peak_of_this_process
from benchmarks.measure import known, process, timed, write
from benchmarks.peer import jaxnst_evaluation
from jaxnst.saving import check_file


def gradient(size: int, tile: int | None, rounds: int) -> dict[str, float]:
    """Seconds of one evaluation in this process, after one that does not count, and its peak memory in bytes.

    Targets are made of the same tiles; style and content are as large as the picture.
    """
    evaluate = jaxnst_evaluation(size, tile=tile)
    evaluate()
    seconds = statistics.median(timed(evaluate) for _ in range(rounds))
    return {"seconds": round(seconds, 3), "peak_bytes": peak_of_this_process()}


def measure(sizes: list[int], largest_whole: int, tile: int, rounds: int) -> dict[str, Any]:
    """Both ways at each size, and the exponents of time over the number of pixels."""
    rows = []
    for size in sizes:
        for side in (None, tile) if size <= largest_whole else (tile,):
            arguments = [str(size), str(side or 0), str(rounds if size <= 2048 else 1)]
            done = process([sys.executable, "-m", "benchmarks.scale", "--gradient", *arguments])
            rows.append({"size": size, "tile": side, **json.loads(done.output.splitlines()[-1])})
            print(
                f"{size}x{size}, tile {side}: {rows[-1]['seconds']:.1f} s, "
                f"{rows[-1]['peak_bytes'] / 1e9:.2f} GB",
                flush=True,
            )
    exponents = {}
    for name, side in (("whole", None), ("tiles", tile)):
        of = [row for row in rows if row["tile"] == side]
        if len(of) > 1:
            pixels = np.log([row["size"] ** 2 for row in of])
            slope = np.polyfit(pixels, np.log([row["seconds"] for row in of]), 1)[0]
            exponents[name] = round(float(slope), 3)
    print(f"time grows with pixels to the power {exponents}")
    return {"rows": rows, "exponents": exponents}


def main() -> None:
    """Measure all, or in a process of its own one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--gradient", nargs=3, type=int, metavar=("SIZE", "TILE", "ROUNDS"))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 2048, 4096])
    parser.add_argument("--largest-whole", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=896)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.gradient:
        size, tile, rounds = options.gradient
        print(json.dumps(gradient(size, tile or None, rounds)))
        return
    if options.out is None:
        parser.error("--out is needed")
    check_file(options.out, "out")
    results = known(options.out)
    results["gradient"] = measure(options.sizes, options.largest_whole, options.tile, options.rounds)
    write(options.out, results)


if __name__ == "__main__":
    main()
