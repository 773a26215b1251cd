"""Time to quality: seconds, of whole processes, until the loss that `pastiche` has after some steps.

Both are given the same files at their final size. `pastiche` runs its steps; jaxnst stops at the first
picture whose loss is as low. Both pictures are then judged by `jaxnst.evaluate`, in float32.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import PAIRS, process
from benchmarks.peer import CONFIG


def prepare(folder: Path, pair: str, size: int) -> tuple[Path, Path]:
    """Both pictures at the size at which they are used, so that no program's resampling counts."""
    from jaxnst import images, saving

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
                    f"{row['jaxnst_seconds']:.0f} s, {row['ratio']:.2f} of it",
                    flush=True,
                )
    return found


def _measure(folder: Path, content: Path, style: Path, size: int, steps: int, rounds: int) -> dict[str, Any]:
    import jaxnst

    theirs, ours = folder / "pastiche.png", folder / "jaxnst.png"
    command = [sys.executable, "-m", "pastiche", "-c", content, "-s", style, "-o", theirs, "--seed", 0]
    command += ["--size", size, "--style-size", size, "--num-steps", steps, "--info-step", 10]
    seconds, ratios, curves = [], [], {}
    goal = reached = math.nan
    for _ in range(rounds):
        done = process(command)
        goal = jaxnst.evaluate(theirs, content, style, CONFIG.replace(size=size))["total"]
        also = process(
            [sys.executable, "-m", "benchmarks.quality", content, style, ours, str(goal), str(size)]
        )
        reached = jaxnst.evaluate(ours, content, style, CONFIG.replace(size=size))["total"]
        if reached > goal:
            raise RuntimeError(f"jaxnst stopped at {reached}, above {goal}")
        seconds.append((also.seconds, done.seconds))
        ratios.append(also.seconds / done.seconds)
        curves = {"pastiche": _curve(done.output), "jaxnst": _curve(also.output)}
    return {
        "loss": goal,
        "jaxnst_loss": reached,
        "jaxnst_seconds": round(statistics.median(of for of, _ in seconds), 1),
        "pastiche_seconds": round(statistics.median(of for _, of in seconds), 1),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "rounds": rounds,
        "curves": curves,
    }


def _curve(output: str) -> list[tuple[float, float]]:
    """Seconds and losses, from lines of step, seconds, loss."""
    lines = re.findall(r"^\d+ +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    return [(float(seconds), float(loss)) for seconds, loss in lines]


def run_until(content: str, style: str, out: str, goal: float, size: int) -> None:
    """What the process of jaxnst does: coarse to fine, until the loss is reached."""
    import time

    import psutil

    import jaxnst

    began = psutil.Process().create_time()

    def reached(progress: jaxnst.Progress) -> bool:
        total = progress.losses["total"]
        if progress.step % 10 == 0:
            print(f"{progress.step} {time.time() - began:.1f} {total:.2f}")
        # Of the picture before this step, of which the one after it is better but for a hair; and rounding to
        # 8 bits costs something.
        return max(progress.size) < size or total > 0.995 * goal

    config = CONFIG.replace(
        size=size, start_size=size // 2, scale_steps=(80, 1000), max_step=0.0, clamp=False
    )
    jaxnst.stylize(content, style, config=config, progress=False, callback=reached).save(out)


if __name__ == "__main__":
    run_until(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
