"""What a study leaves on disk: a folder for each run, whole or not there, and a checkpoint of the unfinished.

DIR/runs/KEY/run.json       settings, time, how it ended; written last, so that its presence means all
             losses.csv     after 0, 1, 2 ... steps
             0200.png       the picture after 200 steps, with its settings inside
             metrics.json   measured later
DIR/unfinished.h5           the lanes that were being worked on, every minute
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst import images, metrics, saving
from jaxnst.errors import InputError
from jaxnst.images import expand

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.studies.runs import Run


@dataclass(frozen=True)
class Done:
    """A finished run as it is on disk.

    Attributes:
      folder: where.
      losses: by name, after 0, 1, 2 ... steps; shorter where the run diverged.
      seconds: by look: wall-clock time to there, a batch's shared by its lanes.
      ended: finished, or diverged after some step.
    """

    folder: Path
    losses: dict[str, Float[np.ndarray, " steps"]]
    seconds: dict[int, float]
    ended: str

    def picture(self, look: int) -> Path:
        """The picture after so many steps."""
        return self.folder / f"{look:04d}.png"


def make(out: str) -> Path:
    """The folder of a study, made if its parent is there.

    Raises:
      InputError: it cannot be.
    """
    folder = expand(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {out!r} is a file; give a folder.")
    if not folder.exists():
        saving.check_file(folder, "out")
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: {out!r} cannot be made ({error.strerror}); choose another.") from error
    return folder


def write_run(
    folder: Path,
    run: Run,
    losses: Mapping[str, Float[np.ndarray, " steps"]],
    pictures: Mapping[int, Float[np.ndarray, "h w 3"]],
    about: Mapping[str, Any],
) -> None:
    """Write a finished run; until its `run.json` is there, it is not."""
    from jaxnst import __version__

    folder.mkdir(parents=True, exist_ok=True)
    finite = np.isfinite(losses["total"])
    steps = len(finite) if finite.all() else int(np.argmin(finite))
    ended = "finished" if finite.all() else f"diverged after {max(steps - 1, 0)}"
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["step", *losses])
    for step in range(steps):
        writer.writerow([step, *(f"{of[step]:.6g}" for of in losses.values())])
    saving.write_whole(folder / "losses.csv", table.getvalue().encode())
    software = {"software": "jaxnst", "version": __version__, "weights_sha256": about["weights_sha256"]}
    for look, picture in pictures.items():
        of_look = run.config if look == run.config.steps else run.config.replace(steps=look)
        metadata = software | {"config": of_look.to_dict(), "steps_done": min(look, max(steps - 1, 0))}
        saving.save_image(folder / f"{look:04d}.png", picture, metadata)
    record = software | {"config": run.config.to_dict(), "content": run.content, "styles": run.styles}
    record |= {"ended": ended, "looks": run.looks} | dict(about)
    saving.write_whole(folder / "run.json", json.dumps(record, indent=1).encode())


def read_run(folder: Path) -> Done | None:
    """A finished run; None if it is not there, or not whole."""
    try:
        record = json.loads((folder / "run.json").read_text("utf-8"))
        with (folder / "losses.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        columns = (
            np.array([[float(cell) for cell in line] for line in lines]).reshape(len(lines), len(header)).T
        )
        done = Done(
            folder=folder,
            losses=dict(zip(header[1:], columns[1:], strict=True)),
            seconds={int(look): seconds for look, seconds in record["seconds"].items()},
            ended=record["ended"],
        )
    except (OSError, ValueError, KeyError):
        return None
    return done if all(done.picture(look).exists() for look in done.seconds) else None


def measured(
    done: Done, look: int, content: images.Picture | None, styles: list[images.Picture], size: int
) -> dict[str, float]:
    """Metrics of a run's picture, measured once and kept beside it."""
    path = done.folder / "metrics.json"
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        kept = {}
    key = f"{look} at {size}"
    if key not in kept:
        kept[key] = metrics.measure(done.picture(look), content, styles or None, size)
        saving.write_whole(path, json.dumps(kept, indent=1).encode())
    return kept[key]
