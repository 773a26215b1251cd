"""Pairs per minute, for 1, 2, 4, 8 ... pairs as lanes of one program."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.measure import PAIRS
from jaxnst.config.config import DEFAULT_STEPS, Config
from jaxnst.io.images import read_image
from jaxnst.run import vectorised as lanes
from jaxnst.run.plan import Pictures, Plan, prepare


def _plans(config: Config, count: int) -> list[Plan]:
    """Square parts of the example photos, so that they may be lanes of one program."""
    pairs = [
        Pictures(read_image(content)[:300, :300], [read_image(style)]) for content, style in PAIRS.values()
    ]
    return lanes.gather(prepare(of, config) for of in itertools.islice(itertools.cycle(pairs), count))


def measure(size: int, steps: int, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """Pairs per minute at the default number of steps, from the median step, in turn."""
    config = Config(size=size, steps=steps).checked()
    taken: dict[int, list[float]] = {count: [] for count in counts}
    for _, count in itertools.product(range(rounds), counts):
        times = [time.perf_counter() for _ in lanes.optimise(_plans(config, count))]
        taken[count].append(60 * count / (DEFAULT_STEPS * statistics.median(np.diff(times))))
    found = []
    for count, rates in taken.items():
        rate = round(statistics.median(rates), 3)
        found.append({"pairs": count, "size": size, "pairs_per_minute": rate, "rounds": rounds})
        print(f"{count:3d} pairs at {size}: {rate:.2f} a minute", flush=True)
    return found
