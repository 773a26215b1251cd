"""How things are timed here, and what is written beside the numbers.

The machines are shared: programs take turns, A B A B ..., and what is compared is the median of the rounds'
ratios.
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
    """Wall-clock seconds."""
    began = time.perf_counter()
    program()
    return time.perf_counter() - began


def in_turn(programs: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each in each round, after `warm` rounds that do not count."""
    for _ in range(warm):
        for program in programs.values():
            program()
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            taken[name].append(timed(program))
    return taken


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Median and spread of ours to theirs, round by round."""
    found = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "ratio": round(statistics.median(found), 3),
        "spread": [round(found[0], 3), round(found[-1], 3)],
        "rounds": len(found),
    }


class Ended(NamedTuple):
    """A process that has ended well.

    Attributes:
      seconds: wall-clock.
      output: standard output.
    """

    seconds: float
    output: str


def process(command: Sequence[str | Path], **environment: str) -> Ended:
    """Run a whole process.

    Raises:
      RuntimeError: it ended badly, with what it said.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return Ended(seconds, done.stdout)


def about(*packages: str) -> dict[str, Any]:
    """The machine and the versions."""
    import jax

    return {
        "device": str(jax.devices()[0].device_kind),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {
            name: importlib.metadata.version(name) for name in ("jaxnst", "jax", "numpy", *packages)
        },
    }


def known(out: Path, *packages: str) -> dict[str, Any]:
    """Results that `write` has left there, if they are of this machine and these versions."""
    if not out.exists():
        return {}
    report = json.loads(out.read_text())
    return report["results"] if report == about(*packages) | {"results": report["results"]} else {}


def write(out: Path, results: Any, *packages: str) -> None:
    """JSON, with what it was measured on."""
    report = about(*packages) | {"results": results}
    write_whole(out, (json.dumps(report, indent=2) + "\n").encode())
