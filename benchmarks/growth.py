"""Measures how time and memory of an evaluation grow with the number of pixels."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks.evaluation import peak_bytes
from benchmarks.measure import in_turn
from benchmarks.peer import jaxnst_evaluation


def measure(sizes: list[int], rounds: int) -> dict[str, Any]:
    """Measures seconds and bytes at each size, and fits time as a power of the number of pixels."""
    rows = []
    for size in sizes:
        seconds = in_turn({"jaxnst": jaxnst_evaluation(size)}, rounds)["jaxnst"]
        rows.append(
            {"size": size, "seconds": statistics.median(seconds), "peak_bytes": peak_bytes("jaxnst", size)}
        )
        print(f"{size:5d}: {rows[-1]['seconds']:.3f} s, {rows[-1]['peak_bytes'] / 1e9:.2f} GB", flush=True)
    pixels = np.log([row["size"] ** 2 for row in rows])
    exponent = float(np.polyfit(pixels, np.log([row["seconds"] for row in rows]), 1)[0])
    slope = float(np.polyfit([row["size"] ** 2 for row in rows], [row["peak_bytes"] for row in rows], 1)[0])
    print(
        f"time grows with the number of pixels to the power {exponent:.2f}, "
        f"memory by {slope:.0f} bytes per pixel"
    )
    return {"sizes": rows, "exponent_of_time": round(exponent, 3), "bytes_a_pixel": round(slope)}
