"""Start-up: what importing costs, and the command until its first step, with and without cached programs."""

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
    """Seconds, medians."""
    imports = in_turn(
        {name: lambda code=code: process([sys.executable, "-c", code]) for name, code in IMPORTS.items()},
        rounds,
    )
    base, *others = imports.values()
    beyond = {
        name: round(statistics.median(a - b for a, b in zip(of, base, strict=True)), 3)
        for name, of in zip(list(IMPORTS)[1:], others, strict=True)
    }
    content, style = PAIRS["astronaut, wave"]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "jaxnst.cli.main",
            "stylize",
            content,
            style,
            "--steps",
            "1",
            "--verbose",
        ]
        command += ["--out", Path(folder) / "out.png"]
        cold = [_first_step(command, f"{folder}/cold-{index}") for index in range(min(rounds, 3))]
        cached = [_first_step(command, f"{folder}/cold-0") for _ in range(rounds)]
    found = {
        "seconds": {name: round(statistics.median(of), 3) for name, of in imports.items()},
        "beyond_jax": beyond,
        "first_step": {
            "cold": round(statistics.median(cold), 2),
            "cached": round(statistics.median(cached), 2),
            "cached_spread": [round(min(cached), 2), round(max(cached), 2)],
        },
        "rounds": rounds,
    }
    for name, seconds in beyond.items():
        print(f"{name}: {seconds:.2f} s beyond jax")
    done = found["first_step"]
    print(
        f"the command's first step is done after {done['cold']} s cold, {done['cached']} s cached", flush=True
    )
    return found


def _first_step(command: Sequence[str | Path], cache: str) -> float:
    """Seconds from the start of the process until its first step is done, as the command says."""
    began = time.perf_counter()
    environment = {**os.environ, "JAXNST_CACHE": cache}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        seconds = [time.perf_counter() - began for line in running.stderr if "first step" in line]
    if running.returncode or not seconds:
        raise RuntimeError(f"{' '.join(map(str, command))}: ended with {running.returncode}")
    return seconds[0]
