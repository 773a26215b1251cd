"""The loop: the steps of a run, scale by scale, and hooks after each step.

It knows nothing of files, bars or Ctrl-C: those are hooks, in `jaxnst.run.hooks`.
"""

from __future__ import annotations

import abc
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxnst.run.ended import Ended
from jaxnst.run.state import SavedState, State

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.core.objective import Losses
    from jaxnst.run.scale import Scale

IN_FLIGHT = 8
"""Steps that an accelerator has yet to do when the losses of the oldest are read, so that it never waits."""


FAILURES = (jax.errors.JaxRuntimeError, ValueError, MemoryError)
"""Errors with which memory runs out; of a program that was called before JAX raises it as ValueError."""


class Progress:
    """Describes a run after one step; of several runs at once, losses and images have their axis in front.

    Attributes:
      step: number of steps done, from 1.
      steps: number of steps in all.
      size: height and width of the picture at the present scale, in pixels.
    """

    def __init__(self, step: int, steps: int, scale: Scale, state: State, losses: Losses) -> None:
        """Keeps what the step returned; nothing is computed or copied before it is read."""
        self.step, self.steps, self.size = step, steps, scale.size
        self._picture = functools.partial(scale.picture, state)
        self._on_device = losses, state.alive

    @functools.cached_property
    def _on_host(self) -> tuple[dict[str, Any], Any]:
        losses, alive = jax.device_get(self._on_device)
        return {name: loss if np.ndim(loss) else float(loss) for name, loss in losses.items()}, alive

    @property
    def losses(self) -> dict[str, float]:
        """The parts of the objective before the step, by name, `total` first; unweighted."""
        losses, _ = self._on_host
        return {"total": losses["total"], **losses}

    @property
    def alive(self) -> Any:
        """Says whether loss and picture are finite."""
        return self._on_host[1]

    @functools.cached_property
    def unclipped(self) -> Array:
        """The picture after the step as the solver has it, on the device; values may lie outside [0, 1]."""
        return self._picture()

    @functools.cached_property
    def image(self) -> Float[np.ndarray, "h w 3"]:
        """The picture after the step, float32 [H, W, 3] in [0, 1]; computed when it is first read."""
        return np.clip(np.asarray(self.unclipped), 0, 1)


class Hook(abc.ABC):
    """Does something beside the loop after each step."""

    def settles(self, step: int) -> bool:
        """Says whether a step must be over before the next is dispatched, so that its state can be read."""
        del step
        return False

    @abc.abstractmethod
    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> Ended | None:
        """Returns a reason to stop, or None.

        Args:
          progress: what the step did.
          state: after the step; None if a later step has used it up, because no hook `settles` this one.
          scale: the present one.
        """


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      ended: the reason.
      progress: the last step that was done, the one that diverged included; None: there was none.
      state: after it, or with which the run was resumed; where a run diverged, its variable is the last good
        one.
      scale: the one of the state.
    """

    ended: Ended
    progress: Progress | None
    state: State | None
    scale: Scale | None


def optimise(
    enter: Callable[[int], Scale],
    ends: Sequence[int],
    hooks: Sequence[Hook],
    resume: SavedState | None = None,
) -> Outcome:
    """Does the steps of a run, or of several at once, and calls the hooks after each.

    Args:
      enter: makes what the scale of an index needs.
      ends: steps done at the end of each scale, coarse to fine.
      hooks: called in order after each step; the first reason to stop ends the run.
      resume: the state of an earlier run, to go on from bit for bit.

    Returns:
      How the run ended, with its last state.
    """
    steps_done = StepsDone(hooks) if jax.default_backend() == "cpu" else DelayedStepsDone(hooks)
    ended = None
    try:
        scale = enter(0 if resume is None else resume.scale)
        if resume is None:
            state = scale.start()
        else:
            state = scale.steps.restore(resume)
            del resume  # which is as large as what the device has
            steps_done.last = None, state, scale
        for index, end in enumerate(ends):
            if ended or state.step >= end:
                continue
            if state.scale < index:
                size, scale = scale.size, enter(index)
                state = scale.carry(size, state)
            while state.step < end and not ended:
                state, losses = scale.step(state)
                ended = steps_done.add(Progress(state.step, ends[-1], scale, state, losses), state, scale)
        ended = ended or steps_done.flush() or Ended.finished
    except FAILURES as error:
        if not is_out_of_memory(error):
            raise
        ended = _flushed(steps_done) or Ended.out_of_memory
    return Outcome(ended, *steps_done.last)


def _flushed(steps_done: StepsDone) -> Ended | None:
    """Reads the steps before the one for which memory ran out."""
    try:
        return steps_done.flush()
    except FAILURES as error:
        if not is_out_of_memory(error):
            raise
        return None


class StepsDone:
    """Calls the hooks for each step that is done, and keeps the last one."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """Begins before the first step."""
        self.hooks = hooks
        self.last: tuple[Progress | None, State | None, Scale | None] = (None, None, None)

    def add(self, progress: Progress, state: State, scale: Scale) -> Ended | None:
        """Calls the hooks for a step, and returns a reason to stop, or None."""
        return self._read(progress, state, scale, settled=True)

    def _read(self, progress: Progress, state: State, scale: Scale, settled: bool) -> Ended | None:
        alive = np.any(progress.alive)  # which waits for the device
        self.last = progress, state, scale
        if not alive:
            return Ended.diverged
        readable = state if settled and state.is_whole else None
        reasons = [hook(progress, readable, scale) for hook in self.hooks]
        return next(filter(None, reasons), None)

    def flush(self) -> Ended | None:
        """Reads the steps that wait, of which there are none."""
        return None


class DelayedStepsDone(StepsDone):
    """Reads each step once `IN_FLIGHT` later ones are dispatched, so that an accelerator never waits.

    A reason to stop ends the run after the last step that was dispatched.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """Begins before the first step."""
        super().__init__(hooks)
        self._waiting: deque[tuple[Progress, State, Scale]] = deque()

    def add(self, progress: Progress, state: State, scale: Scale) -> Ended | None:
        """Lets the step wait, and reads those that have waited for long enough."""
        self._waiting.append((progress, state, scale))
        settles = any([hook.settles(progress.step) for hook in self.hooks])
        return self._read_all_but(0 if settles else IN_FLIGHT)

    def flush(self) -> Ended | None:
        """Reads all steps that wait."""
        return self._read_all_but(0)

    def _read_all_but(self, left: int) -> Ended | None:
        ended = None
        while len(self._waiting) > (0 if ended else left):
            step = self._waiting.popleft()
            ended = self._read(*step, settled=not self._waiting) or ended
            if ended is Ended.diverged:
                self._waiting.clear()  # later steps moved nothing
        return ended


def is_out_of_memory(error: Exception) -> bool:
    """Says whether a device or the host could not give the memory that was asked for."""
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()
