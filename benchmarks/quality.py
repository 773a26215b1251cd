"""Time to quality: seconds, of whole processes, until the loss that `pastiche` has after some steps.

Both are given the same files at their final size. `pastiche` runs its steps; jaxnst stops at the first
picture whose loss is as low. Both pictures are then judged by `jaxnst.evaluate`, in float32. jaxnst finds its
compiled programs on disk, as the command does from the second time on.

`pastiche` optimises without bounds and cuts off what is outside [0, 1] when it saves, which
multiplies its loss; jaxnst keeps to the range from the start. So there is a second race, without bounds, to
the loss that `pastiche` itself prints last.
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
from benchmarks.measure import PAIRS, Ended, process, ratio
from benchmarks.peer import CONFIG
from jaxnst.run.compiled import cache_compiled_programs

KINDS: dict[str, dict[str, Any]] = {
    "saved": {"clamp": True, "scale_steps": (40, 1000)},
    "unbounded": {"clamp": False, "scale_steps": (80, 1000)},
}
"""Both races' settings."""


def prepare(folder: Path, pair: str, size: int) -> tuple[Path, Path]:
    """Both pictures at the size at which they are used, so that no program's resampling counts."""
    from jaxnst.io import images
    from jaxnst.io import save as saving

    paths = []
    for name, path in zip(("content", "style"), PAIRS[pair], strict=True):
        array = images.read_image(path, name)
        small = images.resize(array, images.fit_size((array.shape[0], array.shape[1]), size))
        saving.save_image(folder / f"{name}.png", small, {})
        paths.append(folder / f"{name}.png")
    return paths[0], paths[1]


def measure(size: int, steps: list[int], rounds: int) -> list[dict[str, Any]]:
    """For each pair and number of pastiche's steps: the loss, both times and their ratio."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pair in PAIRS:
            content, style = prepare(folder, pair, size)
            for count in steps:
                row = _measure(folder, content, style, size, count, rounds)
                found.append({"pair": pair, "size": size, "pastiche_steps": count} | row)
                print(
                    f"{pair:18} {count} steps of pastiche: {row['pastiche_seconds']:.0f} s; jaxnst "
                    f"{row['saved']['seconds']:.0f} s, {row['saved']['ratio']:.2f} of it; without bounds "
                    f"{row['unbounded']['ratio']:.2f}",
                    flush=True,
                )
    return found


def _measure(folder: Path, content: Path, style: Path, size: int, steps: int, rounds: int) -> dict[str, Any]:
    theirs, ours = folder / "pastiche.png", folder / "jaxnst.png"
    command = [sys.executable, "-m", "pastiche", "-c", content, "-s", style, "-o", theirs, "--seed", 0]
    command += ["--size", size, "--style-size", size, "--num-steps", steps, "--info-step", 10]

    def loss_of(picture: Path) -> float:
        return jaxnst.evaluate(picture, content, style, CONFIG.replace(size=size))["total"]

    def race(goal: float, kind: str) -> Ended:
        arguments = [content, style, ours, str(goal), str(size), kind]
        return process(
            [sys.executable, "-m", "benchmarks.quality", *arguments], JAXNST_CACHE=str(folder / "cache")
        )

    for kind in KINDS:
        race(math.inf, kind)  # one step at the last size: everything gets compiled

    theirs_took: list[float] = []
    ours_took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    losses: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    steps_taken: dict[str, int] = {}
    for _ in range(rounds):
        done = process(command)
        theirs_took.append(done.seconds)
        curves["pastiche"] = _curve(done.output)
        goals = {"saved": loss_of(theirs), "unbounded": curves["pastiche"][-1][1]}
        for kind, goal in goals.items():
            also = race(goal, kind)
            ours_took[kind].append(also.seconds)
            curves[f"jaxnst, {kind}"] = _curve(also.output)
            steps_taken[kind] = int(also.output.splitlines()[-1].split()[0])
            losses |= {f"pastiche, {kind}": goal, f"jaxnst, {kind}": curves[f"jaxnst, {kind}"][-1][1]}
            if kind == "saved":
                losses["jaxnst, saved"] = loss_of(ours)
            if losses[f"jaxnst, {kind}"] > goal:
                raise RuntimeError(f"jaxnst stopped at {losses}")
    return {
        "pastiche_seconds": round(statistics.median(theirs_took), 1),
        **{
            kind: {"seconds": round(statistics.median(taken), 1), "steps": steps_taken[kind]}
            | ratio(taken, theirs_took)
            for kind, taken in ours_took.items()
        },
        "losses": losses,
        "curves": curves,
    }


def _curve(output: str) -> list[tuple[float, float]]:
    """Seconds and losses, from lines of step, seconds, loss."""
    lines = re.findall(r"^\d+ +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    return [(float(seconds), float(loss)) for seconds, loss in lines]


def run_until(content: str, style: str, out: str, goal: float, size: int, kind: str) -> None:
    """What the process of jaxnst does: coarse to fine, until the loss is reached."""
    began = psutil.Process().create_time()
    cache_compiled_programs()

    def reached(progress: jaxnst.Progress) -> bool:
        total = progress.losses["total"]
        # Of the picture before this step, of which the one after it is better but for a hair; and rounding to
        # 8 bits costs something.
        last = max(progress.size) == size and total <= 0.995 * goal
        if last or progress.step % 5 == 0:
            print(f"{progress.step} {time.time() - began:.1f} {total:.2f}")
        return not last

    config = CONFIG.replace(size=size, start_size=size // 2, **KINDS[kind])
    jaxnst.stylize(content, style, config=config, progress=False, callback=reached).save(out)


if __name__ == "__main__":
    run_until(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
