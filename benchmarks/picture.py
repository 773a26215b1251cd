"""A whole picture: seconds of `jaxnst.stylize`, the first of its size in a process and those that follow."""

from __future__ import annotations

import statistics
from typing import Any

import jaxnst
from benchmarks.measure import PAIRS, timed


def measure(size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds at this size and number of steps, and of each step."""
    content, style = PAIRS["astronaut, wave"]
    first, *others = [
        timed(lambda: jaxnst.stylize(content, style, size=size, steps=steps, progress=False))
        for _ in range(rounds + 1)
    ]
    again = statistics.median(others)
    print(f"{steps} steps at {size}: {first:.2f} s, once compiled {again:.2f} s", flush=True)
    return {
        "size": size,
        "steps": steps,
        "first_seconds": round(first, 3),
        "seconds": round(again, 3),
        "spread": [round(min(others), 3), round(max(others), 3)],
        "milliseconds_a_step": round(1000 * again / steps, 2),
        "rounds": rounds,
    }
