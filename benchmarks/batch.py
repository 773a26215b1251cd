"""Measures pairs per minute, for 1, 2, 4, 8 ... pairs as lanes of one program."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.measure import PAIRS
from jaxnst.config.config import Config
from jaxnst.config.presets import PLAIN
from jaxnst.io.images import read_image
from jaxnst.run.loop import Hook, Progress
from jaxnst.run.plan import Pictures, Plan, prepare
from jaxnst.run.vectorised import run_plans


class Times(Hook):
    """Keeps the time at which each step ended."""

    def __init__(self) -> None:
        """Creates an empty list."""
        self.times: list[float] = []

    def __call__(self, progress: Progress, state: Any, scale: Any) -> None:
        """Adds the present time."""
        self.times.append(time.perf_counter())


def step_seconds(plans: list[Plan]) -> float:
    """Measures the median time of a step of several runs at once, without the first step, which compiles."""
    times = Times()
    run_plans(plans, [times])
    return float(statistics.median(np.diff(times.times)))


def _plans(config: Config, count: int) -> list[Plan]:
    """Plans runs for square parts of the example photos, which all can be lanes of one program."""
    pairs = [
        Pictures(read_image(content)[:300, :300], [read_image(style)]) for content, style in PAIRS.values()
    ]
    return [prepare(pictures, config) for pictures in itertools.islice(itertools.cycle(pairs), count)]


def measure(size: int, steps: int, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """Measures pairs per minute at the default number of steps; the numbers of pairs take turns.

    Args:
      size: side of the pictures, in pixels.
      steps: steps that are timed; their median stands for every step of a run.
      counts: numbers of pairs.
      rounds: repetitions.

    Returns:
      One row for each number of pairs.
    """
    config = PLAIN.replace(size=size, steps=steps).checked()
    rates_by_count: dict[int, list[float]] = {count: [] for count in counts}
    for _, count in itertools.product(range(rounds), counts):
        rates_by_count[count].append(60 * count / (PLAIN.steps * step_seconds(_plans(config, count))))
    rows = []
    for count, rates in rates_by_count.items():
        rate = round(statistics.median(rates), 3)
        rows.append({"pairs": count, "size": size, "pairs_per_minute": rate, "rounds": rounds})
        print(f"{count:3d} pairs at {size}: {rate:.2f} per minute", flush=True)
    return rows
