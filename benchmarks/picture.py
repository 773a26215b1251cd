"""Measures a whole picture: seconds of `jaxnst.stylize`, with compilation and without."""

from __future__ import annotations

import statistics
from typing import Any

import jaxnst
from benchmarks.measure import PAIRS, timed
from jaxnst.config.presets import PLAIN


def measure(size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Measures seconds of the first picture of a process, of later pictures, and of a step."""
    content, style = PAIRS["astronaut, wave"]
    config = PLAIN.replace(size=size, steps=steps)
    first, *later = [
        timed(lambda: jaxnst.stylize(content, style, config=config, progress=False))
        for _ in range(rounds + 1)
    ]
    again = statistics.median(later)
    print(f"{steps} steps at {size}: {first:.2f} s, {again:.2f} s without compilation", flush=True)
    return {
        "size": size,
        "steps": steps,
        "first_seconds": round(first, 3),
        "seconds": round(again, 3),
        "spread": [round(min(later), 3), round(max(later), 3)],
        "milliseconds_a_step": round(1000 * again / steps, 2),
        "rounds": rounds,
    }
