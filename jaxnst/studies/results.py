"""What a study leaves on disk: a folder for each run, whole or not there, and checkpoints of the unfinished.

DIR/runs/KEY/run.json       settings, time, how it ended; written last, so that its presence means all
             losses.csv     after 0, 1, 2 ... steps
             0200.png       the picture after 200 steps, with its settings inside
             metrics.json   measured later
DIR/unfinished-KEY.h5       the lanes that are being worked on, see `runner`
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst import metrics
from jaxnst.batch import folders
from jaxnst.io import images
from jaxnst.io import save as saving

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
      device: on what.
    """

    folder: Path
    losses: dict[str, Float[np.ndarray, " steps"]]
    seconds: dict[int, float]
    ended: str
    device: str

    def picture(self, look: int) -> Path:
        """The picture after so many steps."""
        return self.folder / f"{look:04d}.png"


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Make the folder of a study if its parent is there, and keep others from working in it meanwhile.

    Raises:
      InputError: it cannot be made, or another process is at work there.
    """
    with folders.at_work(folder):
        (folder / "runs").mkdir(exist_ok=True)
        yield


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
    for of_other_pictures in ("run.json", "metrics.json"):
        (folder / of_other_pictures).unlink(missing_ok=True)
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
    saving.write_whole(
        folder / "run.json", json.dumps(record | {"ended": ended} | dict(about), indent=1).encode()
    )


def read_run(folder: Path, looks: Collection[int]) -> Done | None:
    """A finished run; None if it is not there, not whole, or was not kept at some of these looks."""
    try:
        record = json.loads((folder / "run.json").read_text("utf-8"))
        with (folder / "losses.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        values = np.array([[float(cell) for cell in line] for line in lines]).reshape(len(lines), len(header))
        done = Done(
            folder=folder,
            losses=dict(zip(header[1:], values.T[1:], strict=True)),
            seconds={int(look): seconds for look, seconds in record["seconds"].items()},
            ended=record["ended"],
            device=record["device"],
        )
        for look in looks:
            if look not in done.seconds:
                return None
            images.open_image(done.picture(look), "picture")
    except (OSError, ValueError, KeyError):  # an InputError is a ValueError
        return None
    return done


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
