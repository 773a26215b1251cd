"""Times programs, and writes results together with the machine and the versions.

The machines are shared with others, so programs take turns, A B A B ..., and the median of the rounds' ratios
is what counts.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnst.io.save import write_whole

EXAMPLES = Path(__file__).parent.parent / "examples"
PAIRS = {
    "astronaut, wave": (EXAMPLES / "astronaut.jpg", EXAMPLES / "great_wave.jpg"),
    "chelsea, street": (EXAMPLES / "chelsea.jpg", EXAMPLES / "village_street_in_auvers.jpg"),
    "astronaut, street": (EXAMPLES / "astronaut.jpg", EXAMPLES / "village_street_in_auvers.jpg"),
}


def timed(program: Callable[[], Any]) -> float:
    """Runs a program once; returns wall-clock seconds."""
    began = time.perf_counter()
    program()
    return time.perf_counter() - began


def in_turn(programs: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Times programs that take turns; returns the seconds of each round, without the first `warm` rounds."""
    for _ in range(warm):
        for program in programs.values():
            program()
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            seconds[name].append(timed(program))
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Computes median and spread of the ratios of `ours` to `theirs`, round by round."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "rounds": len(ratios),
    }


class Completed(NamedTuple):
    """Describes a process that has succeeded.

    Attributes:
      seconds: wall-clock time from start to end.
      output: what it wrote to standard output.
    """

    seconds: float
    output: str


def process(command: Sequence[str | Path], **environment: str) -> Completed:
    """Runs a process to its end.

    Args:
      command: program and arguments.
      environment: variables that are set in addition.

    Raises:
      RuntimeError: the process failed; the message has the end of its standard error.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return Completed(seconds, done.stdout)


def about(*packages: str) -> dict[str, Any]:
    """Describes the machine and the versions of packages."""
    import jax

    return {
        "device": str(jax.devices()[0].device_kind),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {
            name: importlib.metadata.version(name) for name in ("jaxnst", "jax", "numpy", *packages)
        },
    }


def previous_results(out: Path, *packages: str) -> dict[str, Any]:
    """Reads the results that `write` has written to a file; empty if machine or versions differ."""
    if not out.exists():
        return {}
    report = json.loads(out.read_text())
    return report["results"] if report == about(*packages) | {"results": report["results"]} else {}


def write(out: Path, results: Any, *packages: str) -> None:
    """Writes results as JSON, with the machine and the versions."""
    report = about(*packages) | {"results": results}
    write_whole(out, (json.dumps(report, indent=2) + "\n").encode())
