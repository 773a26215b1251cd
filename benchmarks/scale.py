"""Measures large pictures whole and in tiles, many pairs at once, and one picture over several devices.

`python -m benchmarks.scale --out results.json` prints the results and writes them; `--parts` chooses some.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import batch, sizing
from benchmarks.evaluation import peak_of_this_process
from benchmarks.measure import previous_results, process, timed, write
from benchmarks.peer import jaxnst_evaluation
from jaxnst.io.save import check_file

PARTS = ("gradient", "pairs", "devices")


def gradient(size: int, tile: int | None, rounds: int) -> dict[str, float]:
    """Measures seconds of an evaluation in this process, and peak memory in bytes.

    Content and style are as large as the picture. With several rounds, an evaluation before them compiles. A
    single round includes compilation, which is short for the large pictures that have one round.

    Args:
      size: side of the picture, in pixels.
      tile: largest side of a tile, for the targets too; None: no tiles.
      rounds: repetitions.
    """
    evaluate = jaxnst_evaluation(size, tile=tile)
    if rounds > 1:
        evaluate()
    seconds = statistics.median(timed(evaluate) for _ in range(rounds))
    return {"seconds": round(seconds, 3), "peak_bytes": peak_of_this_process()}


def measure(sizes: list[int], largest_whole: int, tile: int, rounds: int) -> dict[str, Any]:
    """Measures each size whole and in tiles, and fits time as a power of the number of pixels.

    Args:
      sizes: sides of square pictures, in pixels.
      largest_whole: largest size that is measured without tiles too.
      tile: largest side of a tile, in pixels.
      rounds: repetitions up to 2048 pixels; larger pictures have one round.
    """
    rows = []
    for size in sizes:
        for side in (None, tile) if size <= largest_whole else (tile,):
            arguments = [str(size), str(side or 0), str(rounds if size <= 2048 else 1)]
            done = process([sys.executable, "-m", "benchmarks.scale", "--gradient", *arguments])
            rows.append({"size": size, "tile": side, **json.loads(done.output.splitlines()[-1])})
            print(
                f"{size}x{size}, tile {side}: {rows[-1]['seconds']:.1f} s, "
                f"{rows[-1]['peak_bytes'] / 1e9:.2f} GB",
                flush=True,
            )
    exponents = {}
    for name, side in (("whole", None), ("tiles", tile)):
        measured = [row for row in rows if row["tile"] == side]
        if len(measured) > 1:
            pixels = np.log([row["size"] ** 2 for row in measured])
            slope = np.polyfit(pixels, np.log([row["seconds"] for row in measured]), 1)[0]
            exponents[name] = round(float(slope), 3)
    print(f"time grows with the number of pixels to the power {exponents}")
    return {"rows": rows, "exponents": exponents}


def on_devices(size: int, count: int) -> dict[str, Any]:
    """Compares a picture over `count` devices of this process with that of one, and counts the traffic.

    It measures no time: virtual devices share the cores.
    """
    import jaxnst

    content, style = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    settings: dict[str, Any] = {"size": size, "steps": 3, "tv_weight": 0.0, "progress": False}
    expected, result = (
        jaxnst.stylize(content, style, devices=devices, **settings) for devices in (None, count)
    )
    difference = np.abs(result.array - expected.array)
    losses = np.abs(result.history["total"] / expected.history["total"] - 1)
    return {
        "size": size,
        "devices": count,
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "loss_difference": float(losses.max()),
        **sizing.figures(sizing.compiled_step(size, 1, count)),
    }


def main() -> None:
    """Runs the chosen parts; `--gradient` and `--on-devices` are for the processes that it starts itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument(
        "--gradient",
        nargs=3,
        type=int,
        metavar=("SIZE", "TILE", "ROUNDS"),
        help="time one evaluation in this process and print JSON; TILE 0: no tiles",
    )
    parser.add_argument(
        "--on-devices",
        type=int,
        metavar="SIZE",
        help="spread a picture over 1, 2, 4, 8 devices and print JSON",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[1024, 2048, 4096],
        help="sides of pictures, in pixels, for the part gradient (default 1024 2048 4096)",
    )
    parser.add_argument(
        "--largest-whole", type=int, default=2048, help="largest size to measure without tiles (default 2048)"
    )
    parser.add_argument(
        "--tile", type=int, default=768, help="largest side of a tile, smaller than every size (default 768)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each measurement (default 3)")
    options = parser.parse_args()
    if options.gradient:
        size, tile, rounds = options.gradient
        print(json.dumps(gradient(size, tile or None, rounds)))
        return
    if options.on_devices:
        print(json.dumps([on_devices(options.on_devices, count) for count in (1, 2, 4, 8)]))
        return
    if options.out is None:
        parser.error("--out is needed")
    check_file(options.out, "out")
    results = previous_results(options.out)
    if "gradient" in options.parts:
        results["gradient"] = measure(options.sizes, options.largest_whole, options.tile, options.rounds)
    if "pairs" in options.parts:
        results["pairs"] = batch.measure(128, 10, [1, 2, 4, 8, 16], options.rounds)
    if "devices" in options.parts:
        command = [sys.executable, "-m", "benchmarks.scale", "--on-devices", "250"]
        done = process(command, XLA_FLAGS="--xla_force_host_platform_device_count=8")
        results["devices"] = json.loads(done.output.splitlines()[-1])
        for row in results["devices"]:
            print(row, flush=True)
    write(options.out, results)


if __name__ == "__main__":
    main()
