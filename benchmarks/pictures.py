"""Measures the default picture on pairs of one's own, beside pastiche's at equal time and an earlier default.

Each program makes its picture as a user would make it, in a process of its own; those of jaxnst with compiled
programs cached. Pastiche does as many steps as fit into the time that the default took.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import process, write
from jaxnst import metrics

SIZE = 256

PLAIN = """--quality none --start content --edges drop --weighting absolute
    --style-weight 50 --statistic gram --tv-weight 2e6 --tv-norm l1 --laplacian-weight 0"""
PROGRAMS: dict[str, Sequence[str]] = {
    "default": (),
    "strength 0.8": ("--strength", "0.8"),
    "earlier default": PLAIN.split(),
}
"""Options of the commands; the last is the default before there were quality levels."""


def measure(content: str, style: str, name: str, folder: Path, cache: str) -> list[dict[str, Any]]:
    """Makes the pictures of a pair in `folder`, and returns seconds and the four numbers of each."""
    rows = []

    def judge(program: str, out: Path, seconds: float, **more: Any) -> None:
        numbers = metrics.summary(out, content, style)
        row = {"pair": name, "program": program, "seconds": round(seconds, 1), **more}
        rows.append(row | {key: round(value, 3) for key, value in numbers.items()})
        print(rows[-1], flush=True)

    for program, options in PROGRAMS.items():
        out = folder / f"{name}, {program}.png"
        command = [sys.executable, "-m", "jaxnst", "stylize", content, style, "--out", out, *options]
        command += ["--size", str(SIZE), "--quiet"]
        if program == "default":  # whose time counts
            process(command, JAXNST_CACHE=cache)
            out.unlink()
        judge(program, out, process(command, JAXNST_CACHE=cache).seconds)
    goal = rows[0]["seconds"]
    out = folder / f"{name}, pastiche.png"

    def pastiche(steps: int) -> float:
        command = [sys.executable, "-m", "pastiche", "-c", content, "-s", style, "-o", out, "--seed", "0"]
        command += ["--size", SIZE, "--style-size", SIZE, "--num-steps", steps, "--no-verbose"]
        return process(command).seconds

    few, more = pastiche(1), pastiche(11)
    steps = max(1, 1 + math.ceil((goal - few) / ((more - few) / 10)))
    judge("pastiche", out, pastiche(steps), steps=steps)
    return rows


def main() -> None:
    """Reads pairs from a CSV file with the columns name, content and style."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="existing folder for the pictures")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.pairs.open() as file, tempfile.TemporaryDirectory() as cache:
        rows = [
            row
            for pair in csv.DictReader(file)
            for row in measure(pair["content"], pair["style"], pair["name"], arguments.pictures, cache)
        ]
    write(arguments.out, {"pictures": rows})


if __name__ == "__main__":
    main()
