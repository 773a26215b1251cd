"""Cells of a study per minute: as lanes of one program, one after another, and a process each, in turn.

`python -m benchmarks.studies`: the same cells, which differ in learning rate and style weight. One after
another is `jaxnst.stylize` in a loop, which shares the compiled program as well; a process each is the
command, with its programs cached. Compilation is not counted, except that of the first batch, told beside.
`--suite lanes`: seconds for a step of a lane, over the number of lanes.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import jaxnst
from benchmarks.measure import PAIRS, timed, write
from jaxnst.config.config import Config
from jaxnst.run import vectorised as lanes
from jaxnst.run.plan import Pictures, prepare

CONTENT, STYLE = map(str, PAIRS["astronaut, wave"])


def cells(size: int, steps: int, count: int) -> list[Config]:
    """Settings that differ in numbers only."""
    axes = itertools.product((0.4, 0.6, 0.8, 1.0), (1.0, 3.0, 10.0, 30.0))
    base = jaxnst.PRESETS["ranka"].replace(size=size, steps=steps, weights="caffe-unit")
    return [
        base.replace(learning_rate=rate, style_weight=weight).checked()
        for rate, weight in itertools.islice(axes, count)
    ]


def batched(configs: Sequence[Config]) -> None:
    """As a study runs them."""
    plans = lanes.gather(prepare(Pictures(CONTENT, [STYLE]), config) for config in configs)
    for part in range(0, len(plans), lanes.MOST_LANES):
        *_, last = lanes.optimise(plans[part : part + lanes.MOST_LANES])
        _ = last.images


def one_after_another(configs: Sequence[Config]) -> None:
    """In a loop."""
    for config in configs:
        jaxnst.stylize(CONTENT, STYLE, config=config, progress=False)


def a_process_each(configs: Sequence[Config]) -> None:
    """By the command."""
    with tempfile.TemporaryDirectory() as folder:
        for config in configs:
            command = [sys.executable, "-m", "jaxnst", "stylize", CONTENT, STYLE]
            for name in ("size", "steps", "learning_rate", "style_weight", "weights"):
                command += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
            out = ["--out", f"{folder}/out.png", "--preset", "ranka", "--quiet"]
            subprocess.run([*command, *out], check=True)


def measure(size: int, steps: int, count: int, rounds: int) -> dict[str, Any]:
    """Time the ways in turn, after a round that does not count."""
    configs = cells(size, steps, count)
    ways = (batched, one_after_another, a_process_each)
    first = [timed(partial(way, configs if way is batched else configs[:1])) for way in ways]
    taken = [[timed(partial(way, configs)) for way in ways] for _ in range(rounds)]
    per_minute = {
        way.__name__: statistics.median(60 * count / round_[index] for round_ in taken)
        for index, way in enumerate(ways)
    }
    ratios = {
        way.__name__: sorted(round_[index] / round_[0] for round_ in taken)
        for index, way in enumerate(ways)
        if index
    }
    return {
        "size": size,
        "steps": steps,
        "cells": count,
        "cells_per_minute": {name: round(value, 2) for name, value in per_minute.items()},
        "batched_is_faster_by": {name: round(statistics.median(of), 3) for name, of in ratios.items()},
        "spread": {name: [round(of[0], 3), round(of[-1], 3)] for name, of in ratios.items()},
        "first_batch_seconds_with_compilation": round(first[0], 2),
        "rounds": rounds,
    }


def measure_lanes(size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Time a step of 1 to 16 lanes, in turn, without the first, which compiles."""
    taken: dict[int, list[float]] = {count: [] for count in (1, 2, 4, 8, 16)}
    for _ in range(rounds):
        for count, of_count in taken.items():
            plans = lanes.gather(
                prepare(Pictures(CONTENT, [STYLE]), config) for config in cells(size, steps, count)
            )
            times = [time.perf_counter() for _ in lanes.optimise(plans)]
            of_count.append(statistics.median(np.diff(times)) / count)
    seconds_a_lane = {
        count: round(float(statistics.median(of_count)), 4) for count, of_count in taken.items()
    }
    return {"size": size, "seconds_a_step_of_a_lane": seconds_a_lane, "rounds": rounds}


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("cells", "lanes"), default="cells")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("studies.json"))
    options = parser.parse_args()
    results = []
    if options.suite == "lanes":
        for size in options.sizes:
            results.append(measure_lanes(size, options.steps, options.rounds))
            print(results[-1], flush=True)
        write(options.out, results)
        return
    print("size  cells per minute: batched, one after another, a process each; ratios")
    for size in options.sizes:
        results.append(measure(size, options.steps, options.cells, options.rounds))
        last = results[-1]
        rates = ", ".join(f"{rate:.1f}" for rate in last["cells_per_minute"].values())
        ratios = ", ".join(f"{ratio:.2f}" for ratio in last["batched_is_faster_by"].values())
        print(f"{size:4d}  {rates}; {ratios}", flush=True)
    write(options.out, results)


if __name__ == "__main__":
    main()
