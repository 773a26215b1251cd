"""Measures how coarse-to-fine scales, parametrisations and optimisers change the final loss.

`python -m benchmarks.controls --suite scales` runs three pairs at 192 pixels with one scale and with several
scales, at equal cost. It compares the losses of the finished pictures at full size, in float32.
`--suite parametrisation` counts the evaluations until a run reaches the loss that pixels reach after 60.
`--suite optimizers` compares all optimisers, at their default rates, at 64 pixels after 60 steps.

Cost is counted in evaluations at full size. An evaluation at a smaller size costs the ratio of the numbers of
pixels. Seconds are recorded too.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxnst
from benchmarks.measure import PAIRS, write
from jaxnst.config.build import LEARNING_RATES
from jaxnst.config.presets import PLAIN

SIZE, BUDGET = 192, 60
SCALES: dict[str, dict[str, Any]] = {
    "one scale": {},
    "96, a tenth of the time": {"start_size": 96, "share": 0.1},
    "96, a third": {"start_size": 96, "share": 1 / 3},
    "96 136, a third": {"start_size": 96, "scale_factor": 2**0.5, "share": 1 / 3},
}
"""`share` of the cost goes to the scales before the last, in equal parts."""

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
    """Adds the steps at each scale, whose cost together is `BUDGET`, to the settings."""
    fields = {name: value for name, value in settings.items() if name != "share"}
    sides = PLAIN.replace(size=SIZE, **fields).sides
    coarse = [
        round(BUDGET * settings["share"] / (len(sides) - 1) * (SIZE / side) ** 2) for side in sides[:-1]
    ]
    spent = sum(steps * (side / SIZE) ** 2 for steps, side in zip(coarse, sides, strict=False))
    return {**fields, "scale_steps": (*coarse, round(BUDGET - spent))}


def measure_scales(pair: str, start: str) -> list[dict[str, Any]]:
    """Measures the final losses of a pair at full size, for every entry of `SCALES`."""
    content, painting = PAIRS[pair]
    rows = []
    for name, settings in SCALES.items():
        chosen = {"start": start, **steps_for(settings)}
        began = time.perf_counter()
        result = jaxnst.stylize(content, painting, config=PLAIN, size=SIZE, progress=False, **chosen)
        seconds = time.perf_counter() - began
        losses = jaxnst.evaluate(result.array, content, painting, result.config)
        rows.append(
            {
                "pair": pair,
                "start": start,
                "scales": name,
                "sides": result.config.sides,
                "steps": list(result.config.scale_steps),
                "seconds": round(seconds, 1),
                **losses,
                "ratio": losses["total"] / rows[0]["total"] if rows else 1.0,
            }
        )
        print(f"{pair:18} {start:10} {name:26} {losses['total']:.4g} ({rows[-1]['ratio']:.3f})", flush=True)
    return rows


def measure_parametrisations(
    pair: str, optimizer: str, size: int = 128, steps: int = 100
) -> list[dict[str, Any]]:
    """Counts the evaluations until each parametrisation reaches the loss that pixels reach after 60."""
    content, painting = PAIRS[pair]
    rows, goal = [], 0.0
    for name, settings in PARAMETRISATIONS.items():
        chosen = {**OPTIMIZERS[optimizer], **settings, "size": size, "steps": steps}
        totals = jaxnst.stylize(content, painting, config=PLAIN, progress=False, **chosen).history["total"]
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


def measure_optimizers(pair: str, size: int = 64, steps: int = 60) -> list[dict[str, Any]]:
    """Measures the loss of every optimiser, with its default rate, in every parametrisation."""
    content, painting = PAIRS[pair]
    rows = []
    for optimizer, (name, settings) in itertools.product(LEARNING_RATES, PARAMETRISATIONS.items()):
        chosen = {**settings, "optimizer": optimizer, "size": size, "steps": steps + 1}
        totals = jaxnst.stylize(content, painting, config=PLAIN, progress=False, **chosen).history["total"]
        rows.append(
            {
                "pair": pair,
                "optimizer": optimizer,
                "parametrisation": name,
                "first": float(totals[0]),
                "last": float(totals[steps]),
                "ratio_of_last": float(totals[steps]) / rows[0]["last"] if rows else 1.0,
            }
        )
        print(f"{pair:18} {optimizer:8} {name:22} {rows[-1]['ratio_of_last']:.3f}", flush=True)
    return rows


def main() -> None:
    """Runs a suite, prints its rows and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("scales", "parametrisation", "optimizers"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    if options.suite == "scales":
        rows = [row for start in STARTS for pair in PAIRS for row in measure_scales(pair, start)]
    elif options.suite == "optimizers":
        rows = [row for pair in PAIRS for row in measure_optimizers(pair)]
    else:
        rows = [row for kind in OPTIMIZERS for pair in PAIRS for row in measure_parametrisations(pair, kind)]
    write(options.out, rows)


if __name__ == "__main__":
    main()
