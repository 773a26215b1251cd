"""Measures time to quality: seconds of a whole process until jaxnst reaches the loss of `pastiche`.

Both programs read the same files at their final size. `pastiche` runs a number of steps. jaxnst stops at the
first picture whose loss is as low. `jaxnst.evaluate` judges both pictures, in float32. jaxnst finds its
compiled programs on disk, as the command does from its second run on.

There are two races. `pastiche` optimises without bounds and clips the picture to [0, 1] when it saves it,
which multiplies its loss; jaxnst stays within [0, 1] at every step. The goal of the first race is the loss of
the saved picture. In the second, jaxnst has no bounds either, and the goal is the last loss that `pastiche`
prints.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import jaxnst
from benchmarks.measure import PAIRS, Completed, process, ratio
from benchmarks.peer import CONFIG
from jaxnst.cli.output import cache_compiled_programs

KINDS: dict[str, dict[str, Any]] = {
    "saved": {"clamp": True, "scale_steps": (40, 1000)},
    "unbounded": {"clamp": False, "scale_steps": (80, 1000)},
}
"""Settings of jaxnst in each race."""


def write_pictures(folder: Path, pair: str, size: int) -> tuple[Path, Path]:
    """Writes both pictures at their final size, so that no program resamples them; returns their paths."""
    from jaxnst.io import images, save

    paths = []
    for name, path in zip(("content", "style"), PAIRS[pair], strict=True):
        array = images.read_image(path, name)
        small = images.resize(array, images.fit_size((array.shape[0], array.shape[1]), size))
        save.save_image(folder / f"{name}.png", small, {})
        paths.append(folder / f"{name}.png")
    return paths[0], paths[1]


def measure(size: int, steps: list[int], rounds: int) -> list[dict[str, Any]]:
    """Runs both races for each pair and number of pastiche's steps; returns losses, seconds and ratios."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pair in PAIRS:
            content, style = write_pictures(folder, pair, size)
            for count in steps:
                row = _measure(folder, content, style, size, count, rounds)
                rows.append({"pair": pair, "size": size, "pastiche_steps": count} | row)
                print(
                    f"{pair:18} {count} steps of pastiche: {row['pastiche_seconds']:.0f} s; jaxnst: "
                    f"{row['saved']['seconds']:.0f} s, {row['saved']['ratio']:.2f} times as long; without "
                    f"bounds {row['unbounded']['ratio']:.2f} times as long",
                    flush=True,
                )
    return rows


def _measure(folder: Path, content: Path, style: Path, size: int, steps: int, rounds: int) -> dict[str, Any]:
    theirs, ours = folder / "pastiche.png", folder / "jaxnst.png"
    command = [sys.executable, "-m", "pastiche", "-c", content, "-s", style, "-o", theirs, "--seed", 0]
    command += ["--size", size, "--style-size", size, "--num-steps", steps, "--info-step", 10]

    def loss_of(picture: Path) -> float:
        return jaxnst.evaluate(picture, content, style, CONFIG.replace(size=size))["total"]

    def race(goal: float, kind: str) -> Completed:
        arguments = [content, style, ours, str(goal), str(size), kind]
        return process(
            [sys.executable, "-m", "benchmarks.quality", *arguments], JAXNST_CACHE=str(folder / "cache")
        )

    for kind in KINDS:
        race(math.inf, kind)  # compiles everything: it stops after one step at the last size

    their_seconds: list[float] = []
    our_seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    losses: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    steps_done: dict[str, int] = {}
    for _ in range(rounds):
        done = process(command)
        their_seconds.append(done.seconds)
        curves["pastiche"] = _curve(done.output)
        goals = {"saved": loss_of(theirs), "unbounded": curves["pastiche"][-1][1]}
        for kind, goal in goals.items():
            ended = race(goal, kind)
            our_seconds[kind].append(ended.seconds)
            curves[f"jaxnst, {kind}"] = _curve(ended.output)
            steps_done[kind] = int(ended.output.splitlines()[-1].split()[0])
            losses |= {f"pastiche, {kind}": goal, f"jaxnst, {kind}": curves[f"jaxnst, {kind}"][-1][1]}
            if kind == "saved":
                losses["jaxnst, saved"] = loss_of(ours)
            if losses[f"jaxnst, {kind}"] > goal:
                raise RuntimeError(f"jaxnst stopped above the loss of pastiche: {losses}")
    return {
        "pastiche_seconds": round(statistics.median(their_seconds), 1),
        **{
            kind: {"seconds": round(statistics.median(seconds), 1), "steps": steps_done[kind]}
            | ratio(seconds, their_seconds)
            for kind, seconds in our_seconds.items()
        },
        "losses": losses,
        "curves": curves,
    }


def _curve(output: str) -> list[tuple[float, float]]:
    """Reads seconds and losses from lines with step, seconds and loss."""
    lines = re.findall(r"^\d+ +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    return [(float(seconds), float(loss)) for seconds, loss in lines]


def run_until(content: str, style: str, out: str, goal: float, size: int, kind: str) -> None:
    """Runs jaxnst coarse to fine until it reaches a loss; the process of a race does nothing else."""
    began = psutil.Process().create_time()
    cache_compiled_programs()

    def reached(progress: jaxnst.Progress) -> bool:
        total = progress.losses["total"]
        # The loss is that of the picture before this step. The margin is for the rare step that makes the
        # picture slightly worse, and for rounding to 8 bits.
        last = max(progress.size) == size and total <= 0.995 * goal
        if last or progress.step % 5 == 0:
            print(f"{progress.step} {time.time() - began:.1f} {total:.2f}")
        return not last

    config = CONFIG.replace(size=size, start_size=size // 2, **KINDS[kind])
    jaxnst.stylize(content, style, config=config, progress=False, callback=reached).save(out)


if __name__ == "__main__":
    run_until(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
