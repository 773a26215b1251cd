"""What coarse-to-fine work and the parametrisations do to the loss that is reached.

`python -m benchmarks.controls --suite scales`: three pairs at 192 pixels, one scale against several, with as
many steps as take the same time; the yardstick is the loss of the finished picture at full size, in float32.
`--suite parametrisation`: evaluations until the loss that pixels reach after 60.

Time is counted in evaluations at full size, at which one costs as many as its pixels: the machine's own
seconds are recorded beside.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxnst
from benchmarks.measure import PAIRS, write

SIZE, BUDGET = 192, 60
SCALES: dict[str, dict[str, Any]] = {
    "one scale": {},
    "96, a tenth of the time": {"start_size": 96, "share": 0.1},
    "96, a third": {"start_size": 96, "share": 1 / 3},
    "96 136, a third": {"start_size": 96, "scale_factor": 2**0.5, "share": 1 / 3},
}
"""`share` of the time goes to the scales before the last, evenly."""

STARTS = ("content", "noise")

PARAMETRISATIONS: dict[str, dict[str, Any]] = {
    "pixels": {},
    "fourier": {"parametrisation": "fourier"},
    "fourier 0.5": {"parametrisation": "fourier", "fourier_decay": 0.5},
    "decorrelated": {"decorrelate": True},
    "fourier, decorrelated": {"parametrisation": "fourier", "decorrelate": True},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "lbfgs": {},
    "adam": {"optimizer": "adam", "learning_rate": 0.02},
}


def steps_for(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the steps at each scale that a budget of full-size evaluations pays for."""
    fields = {name: value for name, value in settings.items() if name != "share"}
    sides = jaxnst.Config(size=SIZE, **fields).sides
    coarse = [
        round(BUDGET * settings["share"] / (len(sides) - 1) * (SIZE / side) ** 2) for side in sides[:-1]
    ]
    spent = sum(steps * (side / SIZE) ** 2 for steps, side in zip(coarse, sides, strict=False))
    return {**fields, "scale_steps": (*coarse, round(BUDGET - spent))}


def measure_scales(pair: str, start: str) -> list[dict[str, Any]]:
    """Final full-size losses of one pair at every choice of scales."""
    content, painting = PAIRS[pair]
    rows = []
    for name, settings in SCALES.items():
        chosen = {"start": start, **steps_for(settings)}
        began = time.perf_counter()
        result = jaxnst.stylize(content, painting, size=SIZE, progress=False, **chosen)
        seconds = time.perf_counter() - began
        found = jaxnst.evaluate(result.array, content, painting, result.config)
        rows.append(
            {
                "pair": pair,
                "start": start,
                "scales": name,
                "sides": result.config.sides,
                "steps": list(result.config.scale_steps),
                "seconds": round(seconds, 1),
                **found,
                "ratio": found["total"] / rows[0]["total"] if rows else 1.0,
            }
        )
        print(f"{pair:18} {start:10} {name:26} {found['total']:.4g} ({rows[-1]['ratio']:.3f})", flush=True)
    return rows


def measure_parametrisations(
    pair: str, optimizer: str, size: int = 128, steps: int = 100
) -> list[dict[str, Any]]:
    """Evaluations that every parametrisation needs for the loss of pixels after 60, and its last loss."""
    content, painting = PAIRS[pair]
    rows, goal = [], 0.0
    for name, settings in PARAMETRISATIONS.items():
        chosen = {**OPTIMIZERS[optimizer], **settings, "size": size, "steps": steps}
        totals = jaxnst.stylize(content, painting, progress=False, **chosen).history["total"]
        goal = goal or float(totals[60])
        reached = np.flatnonzero(totals <= goal)
        rows.append(
            {
                "pair": pair,
                "optimizer": optimizer,
                "parametrisation": name,
                "goal": goal,
                "evaluations": int(reached[0]) if reached.size else None,
                "last": float(totals[-1]),
                "ratio_of_last": float(totals[-1]) / rows[0]["last"] if rows else 1.0,
            }
        )
        row = rows[-1]
        print(
            f"{pair:18} {optimizer:6} {name:22} {row['evaluations']} {row['ratio_of_last']:.3f}", flush=True
        )
    return rows


def main() -> None:
    """Print rows and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("scales", "parametrisation"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.suite == "scales":
        rows = [row for start in STARTS for pair in PAIRS for row in measure_scales(pair, start)]
    else:
        rows = [row for kind in OPTIMIZERS for pair in PAIRS for row in measure_parametrisations(pair, kind)]
    write(options.out, rows)


if __name__ == "__main__":
    main()
