"""Measures cells of a study per minute: together, one after another, and in a process each.

`python -m benchmarks.studies` times the same cells, which differ in learning rate and style weight, in turn.
Together: lanes of one program. One after another: `jaxnst.stylize` in a loop, which compiles once too. A
process each: the command, with cached programs. Compilation is not counted; that of the first batch is
reported separately. `--suite lanes` measures the seconds of a step for each lane, by the number of lanes.
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
from jaxnst.batch.engine import run_jobs
from jaxnst.batch.jobs import Job
from jaxnst.config.config import Config
from jaxnst.run import vectorised
from jaxnst.run.hooks import Hook
from jaxnst.run.loop import Progress
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.scale import Scale
from jaxnst.run.state import State

CONTENT, STYLE = map(str, PAIRS["astronaut, wave"])


def cells(size: int, steps: int, count: int) -> list[Config]:
    """Makes settings that differ in numbers only."""
    axes = itertools.product((0.4, 0.6, 0.8, 1.0), (1.0, 3.0, 10.0, 30.0))
    base = jaxnst.PRESETS["ranka"].replace(size=size, steps=steps, weights="caffe-unit")
    return [
        base.replace(learning_rate=rate, style_weight=weight).checked()
        for rate, weight in itertools.islice(axes, count)
    ]


def batched(configs: Sequence[Config]) -> None:
    """Computes them together, as a study does."""
    for _, result in run_jobs([Job(Pictures(CONTENT, [STYLE]), config) for config in configs]):
        if isinstance(result, Exception):
            raise result


def one_after_another(configs: Sequence[Config]) -> None:
    """Computes them in a loop."""
    for config in configs:
        jaxnst.stylize(CONTENT, STYLE, config=config, progress=False)


def a_process_each(configs: Sequence[Config]) -> None:
    """Computes each by the command."""
    with tempfile.TemporaryDirectory() as folder:
        for config in configs:
            command = [sys.executable, "-m", "jaxnst", "stylize", CONTENT, STYLE]
            for name in ("size", "steps", "learning_rate", "style_weight", "weights"):
                command += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
            out = ["--out", f"{folder}/out.png", "--preset", "ranka", "--quiet"]
            subprocess.run([*command, *out], check=True)


def measure(size: int, steps: int, count: int, rounds: int) -> dict[str, Any]:
    """Times the ways in turn, after a round that does not count."""
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
        "batched_is_faster_by": {
            name: round(statistics.median(values), 3) for name, values in ratios.items()
        },
        "spread": {name: [round(values[0], 3), round(values[-1], 3)] for name, values in ratios.items()},
        "first_batch_seconds_with_compilation": round(first[0], 2),
        "rounds": rounds,
    }


class Clock(Hook):
    """Notes the time after each step."""

    def __init__(self) -> None:
        """Creates a clock without times."""
        self.times: list[float] = []

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Notes the time."""
        self.times.append(time.perf_counter())


def measure_lanes(size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Times the steps of 1 to 16 lanes in turn, without the first, which compiles."""
    taken: dict[int, list[float]] = {count: [] for count in (1, 2, 4, 8, 16)}
    for _ in range(rounds):
        for count, seconds in taken.items():
            clock, pictures = Clock(), Pictures(CONTENT, [STYLE])
            vectorised.run_plans([prepare(pictures, config) for config in cells(size, steps, count)], [clock])
            seconds.append(statistics.median(np.diff(clock.times)) / count)
    seconds_a_lane = {count: round(float(statistics.median(seconds)), 4) for count, seconds in taken.items()}
    return {"size": size, "seconds_a_step_of_a_lane": seconds_a_lane, "rounds": rounds}


def main() -> None:
    """Prints a table and writes JSON."""
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
