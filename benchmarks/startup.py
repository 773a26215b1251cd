"""Start-up: what importing costs, and the command until its first step, with and without cached programs."""

from __future__ import annotations

import statistics
import sys
import tempfile
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
        command = [sys.executable, "-m", "jaxnst.cli", "stylize", content, style, "--steps", 1, "--quiet"]
        command += ["--out", Path(folder) / "out.png"]

        def first_step(cache: str) -> float:
            return process(command, JAXNST_CACHE=cache).seconds

        cold = [first_step(f"{folder}/cold-{index}") for index in range(min(rounds, 3))]
        cached = [first_step(f"{folder}/cold-0") for _ in range(rounds)]
    found = {
        "seconds": {name: round(statistics.median(of), 3) for name, of in imports.items()},
        "beyond_jax": beyond,
        "command_of_one_step": {
            "cold": round(statistics.median(cold), 2),
            "cached": round(statistics.median(cached), 2),
            "cached_spread": [round(min(cached), 2), round(max(cached), 2)],
        },
        "rounds": rounds,
    }
    for name, seconds in beyond.items():
        print(f"{name}: {seconds:.2f} s beyond jax")
    of_command = found["command_of_one_step"]
    print(
        f"the command with one step: {of_command['cold']} s cold, {of_command['cached']} s cached", flush=True
    )
    return found
