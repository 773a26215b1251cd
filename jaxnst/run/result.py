"""A plan worked through to its result: each step taken down, the state kept in a file, every end told."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.errors import InputError, TooLargeError
from jaxnst.io import images
from jaxnst.io import save as saving
from jaxnst.run.loop import DivergedError, OutOfMemoryError, Progress, optimise
from jaxnst.run.mesh import any_of, processes_of
from jaxnst.run.record import Record, new_record

if TYPE_CHECKING:
    import PIL.Image
    from jaxtyping import Float

    from jaxnst.config.config import Config
    from jaxnst.run.checkpoint import Checkpoint
    from jaxnst.run.plan import Plan

NO_FIRST_LOSS = "the loss of the first picture is not a finite number; use smaller weights."

NO_MEMORY = (
    "size: memory ran out before there was a picture; a smaller size or tile, or for lbfgs a smaller memory, "
    "needs less."
)

OVER = ("finished", "diverged")
"""Ways for a run to end after which the same call would come to the same."""


@dataclass(frozen=True)
class Result:
    """A finished picture and how it came about.

    Attributes:
      array: float32 [H, W, 3], RGB, [0, 1].
      history: `total`, `content`, `style`, `tv`, and every other part that has a weight: one value for each
        step, before it; the parts unweighted.
      config: the settings that made it.
      seconds: wall-clock time, with compilation; of all parts of a run that was resumed.
      ended: why the run ended: finished, stopped (by the callback), interrupted (by Ctrl-C), diverged or out
        of memory.
      weights_sha256: digest of the network's weights.
      snapshots: `{step: array}` for every step asked for.
    """

    array: Float[np.ndarray, "h w 3"]
    history: dict[str, Float[np.ndarray, " steps"]]
    config: Config
    seconds: float
    ended: str
    weights_sha256: str
    snapshots: dict[int, Float[np.ndarray, "h w 3"]]

    @property
    def image(self) -> PIL.Image.Image:
        """The picture as a `PIL.Image`, RGB, 8 bits."""
        return saving.to_pil(self.array)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a saved picture says about itself: settings, version, weights; enough to repeat it."""
        from jaxnst import __version__

        return {
            "software": "jaxnst",
            "version": __version__,
            "weights_sha256": self.weights_sha256,
            "config": self.config.to_dict(),
            "steps_done": len(self.history["total"]),
        }

    def save(self, path: str | os.PathLike, bits: int = 8, dither: bool = False) -> None:
        """Write the picture.

        Args:
          path: the extension chooses PNG, JPEG, WebP or TIFF.
          bits: of each colour, 8 or, for PNG and TIFF, 16.
          dither: round to 8 bits with noise, so that smooth areas show no bands.

        Raises:
          InputError: an unknown extension, a folder that does not exist, or 16 bits where they cannot be.
        """
        saving.check_output(path, bits=bits, dither=dither)
        saving.save_image(path, self.array, self.metadata, bits=bits, dither=dither)


def run_plan(
    plan: Plan,
    after: Callable[[Progress], str | None],
    snapshots: int = 0,
    record: Record | None = None,
    file: Checkpoint | None = None,
    stoppable: Callable[[], bool] = lambda: True,
) -> Result:
    """Make the picture of a plan.

    Args:
      plan: from `prepare`.
      after: called after each step; a reason to stop, as for `Result.ended`, and what exists is returned.
      snapshots: as for `stylize`.
      record: to go on from; None: a new one.
      file: where to keep it.
      stoppable: asked at each step; where there is a file, the run stops only after saying True, because each
        such step has to wait for the one before.

    Raises:
      InputError: not even the first picture has a loss.
      TooLargeError: memory ran out before there was a picture.
    """
    record = record or new_record(plan)
    if not record.ended:
        _work(plan, after, snapshots, record, file, stoppable)
    if record.why:
        warnings.warn(record.why, stacklevel=3)
    return Result(
        # A run that ended at a coarse scale still has a picture of the size that was asked for.
        array=images.resize(record.picture(), plan.sizes[-1]),
        history={name: np.array(losses, np.float32) for name, losses in record.history.items()},
        config=plan.config,
        seconds=record.seconds,
        ended=record.ended,
        weights_sha256=plan.weights.sha256,
        snapshots=record.snapshots,
    )


def _work(
    plan: Plan,
    after: Callable[[Progress], str | None],
    snapshots: int,
    record: Record,
    file: Checkpoint | None,
    stoppable: Callable[[], bool],
) -> None:
    """Make the steps, take them down in the record and the record to the file."""
    ended, state = "", None
    settle = None if file is None else (lambda step: any_of(plan.mesh, stoppable()) or file.due(step))
    try:
        for progress in optimise(plan, record.take_state(), settle):
            record.add(progress, snapshots)
            ended, state = after(progress) or "", progress.state
            if ended and (file is None or state is not None):
                break
            if file is not None and state is not None and file.due(progress.step):
                file.save(record, state)
    except DivergedError as error:
        record.image, record.why, ended, state = error.image, str(error), "diverged", None
    except OutOfMemoryError as error:
        if processes_of(plan.mesh) > 1:  # nor can one make a picture of what it has
            raise TooLargeError(f"{error}.") from error
        record.why, ended, state = str(error), "out of memory", error.state
    if record.image is None:
        raise InputError(NO_FIRST_LOSS) if ended == "diverged" else TooLargeError(NO_MEMORY)
    record.ended = ended or "finished"
    if file is not None and record.ended in OVER:
        file.save(record, None)
    elif file is not None and state is not None:
        file.save(record, state)
    if file is not None and record.ended == "out of memory":
        record.why += f"; the same call goes on after step {file.step}"
