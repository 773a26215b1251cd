"""Measures start-up: the imports, and the command until its first step with and without cached programs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import PAIRS, in_turn, process

IMPORTS = {
    "import jax": "import jax",
    "import jax, jaxnst": "import jax, jaxnst",
    "import jax, jaxnst; jaxnst.stylize": "import jax, jaxnst; jaxnst.stylize",
}


def measure(rounds: int) -> dict[str, Any]:
    """Measures the imports and the first step of the command; returns medians of seconds."""
    imports = in_turn(
        {name: lambda code=code: process([sys.executable, "-c", code]) for name, code in IMPORTS.items()},
        rounds,
    )
    base = imports["import jax"]
    beyond = {
        name: round(statistics.median(a - b for a, b in zip(seconds, base, strict=True)), 3)
        for name, seconds in imports.items()
        if name != "import jax"
    }
    content, style = PAIRS["astronaut, wave"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jaxnst", "stylize", content, style]
        command += ["--verbose", "--out", Path(folder) / "out.png"]
        cold = [_first_step(command, f"{folder}/cold-{index}") for index in range(min(rounds, 3))]
        cached = [_first_step(command, f"{folder}/cold-0") for _ in range(rounds)]
    results = {
        "seconds": {name: round(statistics.median(seconds), 3) for name, seconds in imports.items()},
        "beyond_jax": beyond,
        "first_step": {
            "cold": round(statistics.median(cold), 2),
            "cached": round(statistics.median(cached), 2),
            "cached_spread": [round(min(cached), 2), round(max(cached), 2)],
        },
        "rounds": rounds,
    }
    for name, seconds in beyond.items():
        print(f"{name}: {seconds:.2f} s more than import jax")
    first_step = results["first_step"]
    print(
        f"first step of the command: after {first_step['cold']} s, with cached programs after "
        f"{first_step['cached']} s",
        flush=True,
    )
    return results


def _first_step(command: Sequence[str | Path], cache: str) -> float:
    """Measures seconds from the start of the process until the command reports its first step."""
    began = time.perf_counter()
    environment = {**os.environ, "JAXNST_CACHE": cache}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        seconds = [time.perf_counter() - began for line in running.stderr if "first step" in line]
    if running.returncode or not seconds:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit status {running.returncode}, or no first step was reported"
        )
    return seconds[0]
