"""The hooks of the loop: the record, the callback, Ctrl-C and the log.

Other hooks have files of their own: `jaxnst.run.progress_bar`, `jaxnst.run.checkpoint`, `jaxnst.run.preview`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.run.ended import Ended
from jaxnst.run.loop import Hook, Progress
from jaxnst.run.mesh import any_process

if TYPE_CHECKING:
    from jaxnst.core.sharding import Placement
    from jaxnst.run.scale import Scale
    from jaxnst.run.state import State

log = logging.getLogger("jaxnst")


@dataclass
class Record(Hook):
    """Keeps the losses of every step and the pictures of some.

    Attributes:
      snapshot_steps: steps whose pictures are kept.
      history: by name, one value for each step (of several runs at once: one array), before the step.
      alive: for each step, whether its result is finite.
      snapshots: pictures by step, float32 [H, W, 3] in [0, 1].
      snapshot_seconds: by step, since the start.
      began: start of the run on `time.perf_counter`'s clock, moved by the time when it did not run.
    """

    snapshot_steps: Collection[int] = ()
    history: dict[str, list[Any]] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict)
    snapshot_seconds: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Time since the start of the run."""
        return time.perf_counter() - self.began

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Appends the losses of a step, and keeps its picture if it is a snapshot step."""
        for name, loss in progress.losses.items():
            self.history.setdefault(name, []).append(loss)
        self.alive.append(progress.alive)
        if progress.step in self.snapshot_steps:
            self.snapshots[progress.step] = progress.image
            self.snapshot_seconds[progress.step] = self.seconds


@dataclass
class Callback(Hook):
    """Calls the user's function, and stops the run if it returns False."""

    function: Callable[[Progress], Any]

    def settles(self, step: int) -> bool:
        """Returns True: the function may stop the run after any step, which must then be the last."""
        del step
        return True

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> Ended | None:
        """Calls the function."""
        return Ended.stopped if self.function(progress) is False else None


@dataclass
class StopWhen(Hook):
    """Stops the run when a flag is set in this process, or in another that computes the same picture."""

    is_set: Callable[[], bool]
    placement: Placement

    def settles(self, step: int) -> bool:
        """Returns whether the flag is set: the run stops after this step."""
        del step
        return any_process(self.placement, self.is_set())

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> Ended | None:
        """Reads the flag."""
        return Ended.interrupted if any_process(self.placement, self.is_set()) else None


@dataclass
class LogFirstSteps(Hook):
    """Logs how long the first step at each size took, with its targets and compilation."""

    before: float = field(default_factory=time.perf_counter)
    size: tuple[int, int] = (0, 0)

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Logs a step at a new size."""
        now = time.perf_counter()
        if progress.size != self.size:
            height, width = progress.size
            log.info("first step at %dx%d, with compilation: %.1f s", width, height, now - self.before)
        self.before, self.size = now, progress.size
