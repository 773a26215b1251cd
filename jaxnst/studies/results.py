"""Results of a study on disk: a folder for each run, which counts once it is whole.

DIR/runs/KEY/run.json       settings, time, how it ended; written last: without it the run is not finished
             losses.csv     after 0, 1, 2 ... steps
             0200.png       the picture after 200 steps, with its settings in its metadata
             metrics.json   metrics of the pictures, added when they are measured
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.io import images, save
from jaxnst.io.files import csv_bytes, write_whole
from jaxnst.metrics import measure

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.run.result import Result
    from jaxnst.studies.runs import Run


@dataclass(frozen=True)
class SavedRun:
    """Describes a finished run on disk.

    Attributes:
      folder: of its files.
      losses: by name, after 0, 1, 2 ... steps; fewer if the run diverged.
      seconds: by snapshot step, wall-clock time from the start; runs that were computed together share it.
      ended: "finished" or "diverged after N".
      device: name of the device.
    """

    folder: Path
    losses: dict[str, Float[np.ndarray, " steps"]]
    seconds: dict[int, float]
    ended: str
    device: str

    def picture(self, step: int) -> Path:
        """Returns the path of the picture after `step` steps."""
        return self.folder / f"{step:04d}.png"


def write_run(folder: Path, run: Run, result: Result, device: str) -> None:
    """Writes the folder of a finished run: pictures, losses.csv and, last, run.json.

    If the run diverged, each later snapshot is the last picture with a finite loss.

    Args:
      folder: for its files; it is made.
      run: as the study declares it; `result.config` may have more layers.
      result: of the run's job, with snapshots and final losses.
      device: name of the device.

    Raises:
      OSError: the disk is full or the like.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for outdated in ("run.json", "metrics.json"):
        (folder / outdated).unlink(missing_ok=True)
    losses = {
        name: np.append(values, result.final_losses.get(name, np.nan))
        for name, values in result.history.items()
    }
    count = int(np.isfinite(losses["total"]).cumprod().sum())
    lines = [[step, *(f"{values[step]:.6g}" for values in losses.values())] for step in range(count)]
    write_whole(folder / "losses.csv", csv_bytes([["step", *losses], *lines]))
    last = max(count - 1, 0)
    seconds = {}
    for step in run.snapshot_steps:
        metadata = {"config": run.config.replace(steps=step).to_dict(), "steps_done": min(step, last)}
        picture = result.snapshots[step] if step <= last else result.array
        save.save_image(folder / f"{step:04d}.png", picture, result.metadata | metadata)
        seconds[step] = round(result.snapshot_seconds.get(step, result.seconds) / result.together, 3)
    record = result.metadata | {
        "config": run.config.to_dict(),
        "content": run.content,
        "styles": run.styles,
        "ended": "finished" if last == run.config.steps else f"diverged after {last}",
        "device": device,
        "lanes": result.together,
        "seconds": seconds,
    }
    write_whole(folder / "run.json", json.dumps(record, indent=1).encode())


def read_run(folder: Path, snapshot_steps: Collection[int]) -> SavedRun | None:
    """Reads a finished run; returns None if it is not there, not whole, or lacks one of these snapshots."""
    try:
        record = json.loads((folder / "run.json").read_text("utf-8"))
        with (folder / "losses.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        values = np.array([[float(cell) for cell in line] for line in lines]).reshape(len(lines), len(header))
        run = SavedRun(
            folder=folder,
            losses=dict(zip(header[1:], values.T[1:], strict=True)),
            seconds={int(step): seconds for step, seconds in record["seconds"].items()},
            ended=record["ended"],
            device=record["device"],
        )
        if not run.seconds.keys() >= set(snapshot_steps):
            return None
        for step in snapshot_steps:
            images.open_image(run.picture(step), "picture")
    except (OSError, ValueError, KeyError):  # an InputError is a ValueError
        return None
    return run


def measured(
    run: SavedRun, step: int, content: images.Picture | None, styles: list[images.Picture], size: int
) -> dict[str, float]:
    """Returns the metrics of a run's picture, which are measured once and kept beside it."""
    path = run.folder / "metrics.json"
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        kept = {}
    key = f"{step} at {size}"
    if key not in kept:
        kept[key] = measure(run.picture(step), content, styles or None, size)
        write_whole(path, json.dumps(kept, indent=1).encode())
    return kept[key]
