"""What happens beside the loop after each step: the record, the bar, the callback, Ctrl-C, the log.

The checkpoint is a hook too, in `jaxnst.run.checkpoint`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.run.ended import Ended
from jaxnst.run.loop import Hook, Progress
from jaxnst.run.mesh import any_process

if TYPE_CHECKING:
    from tqdm import tqdm

    from jaxnst.core.sharding import Placement
    from jaxnst.run.scale import Scale
    from jaxnst.run.state import State

log = logging.getLogger("jaxnst")


class Record(Hook):
    """Keeps the losses of every step and the pictures of some.

    Attributes:
      history: by name, one value for each step (of several runs at once: one array), before the step.
      alive: for each step, whether its result is finite.
      snapshots: pictures by step, float32 [H, W, 3] in [0, 1].
      snapshot_seconds: by step, since the start.
    """

    def __init__(self, snapshot_steps: Collection[int] = ()) -> None:
        """Creates an empty record.

        Args:
          snapshot_steps: steps whose pictures are kept; default none.
        """
        self.history: dict[str, list[Any]] = {}
        self.alive: list[Any] = []
        self.snapshots: dict[int, np.ndarray] = {}
        self.snapshot_seconds: dict[int, float] = {}
        self._snapshot_steps = snapshot_steps
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the start of the run, without the time when it did not run."""
        return time.perf_counter() - self._began

    def resume(self, history: dict[str, list[Any]], snapshots: dict[int, np.ndarray], seconds: float) -> None:
        """Takes over what an earlier run recorded."""
        self.history, self.snapshots = history, snapshots
        self._began = time.perf_counter() - seconds

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Records a step."""
        for name, loss in progress.losses.items():
            self.history.setdefault(name, []).append(loss)
        self.alive.append(progress.alive)
        if progress.step in self._snapshot_steps:
            self.snapshots[progress.step] = progress.image
            self.snapshot_seconds[progress.step] = self.seconds


class Callback(Hook):
    """Calls the user's function, and stops the run if it returns False."""

    def __init__(self, function: Callable[[Progress], Any]) -> None:
        """Keeps the function."""
        self._function = function

    def settles(self, step: int) -> bool:
        """Settles every step: the function may stop the run at any."""
        del step
        return True

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> Ended | None:
        """Calls the function with the progress."""
        return Ended.stopped if self._function(progress) is False else None


class StopWhen(Hook):
    """Stops the run when a flag is set in this process, or in another that computes the same picture."""

    def __init__(self, is_set: Callable[[], bool], placement: Placement) -> None:
        """Keeps the function that reads the flag."""
        self._is_set, self._placement = is_set, placement

    def settles(self, step: int) -> bool:
        """Settles the step at which the flag is set."""
        del step
        return any_process(self._placement, self._is_set())

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> Ended | None:
        """Reads the flag."""
        return Ended.interrupted if any_process(self._placement, self._is_set()) else None


class LogFirstSteps(Hook):
    """Logs how long the first step at each size took, with its targets and compilation."""

    def __init__(self) -> None:
        """Starts the clock."""
        self._before, self._size = time.perf_counter(), (0, 0)

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Logs a step at a new size."""
        now = time.perf_counter()
        if progress.size != self._size:
            width, height = progress.size[::-1]
            log.info("first step at %dx%d, with compilation: %.1f s", width, height, now - self._before)
        self._before, self._size = now, progress.size


class Bar(Hook):
    """Shows the steps and the losses of one run on standard error."""

    def __init__(self, bar: tqdm) -> None:
        """Keeps the bar."""
        self._bar = bar

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Moves the bar by one step."""
        losses = {name: f"{loss:.3g}" for name, loss in progress.losses.items()}
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update()


@contextlib.contextmanager
def step_bar(steps: int, done: int) -> Iterator[Bar]:
    """Opens a progress bar of `steps` steps, of which `done` are done."""
    from tqdm import tqdm

    with tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) as bar:
        yield Bar(bar)
