"""From a plan to its result: the loop, with its record and its checkpoint."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.config.version import version
from jaxnst.errors import InputError, TooLargeError
from jaxnst.io import images, save
from jaxnst.run.ended import Ended
from jaxnst.run.hooks import LogFirstSteps, Record
from jaxnst.run.loop import Hook, Outcome, optimise
from jaxnst.run.scale import Scales

if TYPE_CHECKING:
    import PIL.Image
    from jaxtyping import Float

    from jaxnst.config.config import Config
    from jaxnst.run.checkpoint import Checkpoint
    from jaxnst.run.plan import Plan

NO_FIRST_LOSS = "the loss of the first picture is not a finite number; use smaller loss weights."

NO_MEMORY = (
    "size: memory ran out before there was a picture; a smaller size or tile, or for lbfgs a smaller "
    "history_size, needs less."
)


@dataclass(frozen=True)
class Result:
    """A finished picture and how it was made.

    Attributes:
      array: float32 [H, W, 3], RGB, [0, 1].
      history: `total`, `content`, `style`, `tv`, and every other part that has a loss weight: one value for
        each step, before it; the parts unweighted.
      config: the settings that made it.
      seconds: wall-clock time, with compilation; of all parts of a run that was resumed.
      ended: why the run ended, see `Ended`.
      weights_sha256: digest of the network's weights.
      snapshots: `{step: array}` for every step asked for.
      final_losses: the losses of the finished picture, where they were asked for.
      snapshot_seconds: `{step: seconds}` since the start of the run.
      together: number of pictures that were made at once, which share these seconds.
    """

    array: Float[np.ndarray, "h w 3"]
    history: dict[str, Float[np.ndarray, " steps"]]
    config: Config
    seconds: float
    ended: Ended
    weights_sha256: str
    snapshots: dict[int, Float[np.ndarray, "h w 3"]]
    final_losses: dict[str, float] = field(default_factory=dict)
    snapshot_seconds: dict[int, float] = field(default_factory=dict)
    together: int = 1

    @property
    def image(self) -> PIL.Image.Image:
        """The picture as a `PIL.Image`, RGB, 8 bits."""
        return save.to_pil(self.array)

    @property
    def metadata(self) -> dict[str, Any]:
        """Settings, version, SHA-256 of the weights and steps done, as a saved picture carries them."""
        return {
            "software": "jaxnst",
            "version": version(),
            "weights_sha256": self.weights_sha256,
            "config": self.config.to_dict(),
            "steps_done": len(self.history["total"]),
        }

    def save(self, path: str | os.PathLike, bits: int = 8, dither: bool = False) -> None:
        """Writes the picture.

        Args:
          path: the extension chooses PNG, JPEG, WebP or TIFF.
          bits: of each colour, 8 (default) or, for PNG and TIFF, 16.
          dither: whether to round to 8 bits with noise, so that smooth areas show no bands; default False.

        Raises:
          InputError: an unknown extension, a folder that does not exist, or 16 bits where they cannot be.
        """
        save.check_output(path, bits=bits, dither=dither)
        save.save_image(path, self.array, self.metadata, bits=bits, dither=dither)


def run_plan(
    plan: Plan,
    hooks: Sequence[Hook] = (),
    snapshot_steps: Collection[int] = (),
    file: Checkpoint | None = None,
    final_losses: bool = False,
) -> Result:
    """Makes the picture of a plan.

    Args:
      plan: from `prepare`.
      hooks: called after each step, after the record is made.
      snapshot_steps: steps whose pictures are kept in the result.
      file: the run's checkpoint, loaded; a run that is over gives its result at once.
      final_losses: whether to evaluate the finished picture once more.

    Raises:
      InputError: not even the first picture has a finite loss.
      TooLargeError: memory ran out before there was a picture.
    """
    record = Record(snapshot_steps)
    if file is not None and (over := file.resume(record)) is not None:
        picture, ended, why, losses = over.picture, over.ended, over.why, {}
    else:
        keeping = [] if file is None else [file]
        outcome = optimise(
            Scales(plan),
            plan.ends,
            [record, LogFirstSteps(), *hooks, *keeping],
            None if file is None else file.take_state(),
        )
        picture, ended, why = _picture(outcome), outcome.ended, _why(outcome)
        if file is not None:
            why += file.close(outcome, picture, why)
        losses = _final_losses(plan, outcome) if final_losses and ended is Ended.finished else {}
    if why:
        warnings.warn(why, stacklevel=3)
    names = plan.steps.problem.objective.names
    return Result(
        # A run that ended at a coarse scale still has a picture of the size that was asked for.
        array=images.resize(picture, plan.sizes[-1]),
        history={name: np.array(record.history.get(name, []), np.float32) for name in names},
        config=plan.config,
        seconds=record.seconds,
        ended=ended,
        weights_sha256=plan.weights.sha256,
        snapshots=record.snapshots,
        final_losses=losses,
        snapshot_seconds=record.snapshot_seconds,
    )


def _picture(outcome: Outcome) -> Float[np.ndarray, "h w 3"]:
    """Makes the last good picture, in [0, 1], at its scale.

    Raises:
      InputError: the first picture has no finite loss.
      TooLargeError: memory ran out before there was a picture.
    """
    progress, state, scale = outcome.progress, outcome.state, outcome.scale
    if state is None or scale is None:
        raise TooLargeError(NO_MEMORY)
    if progress is not None and progress.step == 1 and not np.isfinite(progress.losses["total"]):
        raise InputError(NO_FIRST_LOSS)
    if outcome.ended is Ended.out_of_memory and scale.steps.placement.processes > 1:
        raise TooLargeError(f"{_why(outcome)}.")  # nor can one process make a picture of what it has
    return np.clip(np.asarray(scale.picture(state)), 0, 1)


def _why(outcome: Outcome) -> str:
    """Says why a run ended early, where that is worth a warning."""
    step = outcome.state.step if outcome.state else 0
    return {
        Ended.diverged: f"the loss is no longer a finite number at step {step}, so the run ends with the "
        "last picture that had one; a smaller learning_rate or clamp may help",
        Ended.out_of_memory: f"memory ran out at step {step + 1}, so the run ends with the picture before "
        "it; a smaller size or tile, or for lbfgs a smaller history_size, needs less",
    }.get(outcome.ended, "")


def _final_losses(plan: Plan, outcome: Outcome) -> dict[str, float]:
    """Evaluates the last picture by one more step, whose move is dropped."""
    assert outcome.scale is not None
    assert outcome.state is not None
    _, losses = outcome.scale.step(outcome.state)
    return {name: float(losses[name]) for name in plan.steps.problem.objective.names}
