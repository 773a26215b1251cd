"""What is known of one run on its way: its losses, its snapshots, its last picture, how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.config.build import to_objective

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.run.loop import Progress, State
    from jaxnst.run.plan import Plan


@dataclass
class Record:
    """What is known of a run on its way, or over.

    Attributes:
      history: losses by name, one for each step.
      snapshots: pictures by step, float32 [H, W, 3] in [0, 1].
      image: makes the last picture, not clipped; None: there is none yet.
      ended: how, for `Result.ended`; empty while the run is on its way.
      why: it ended like this, if that is worth a warning.
      state: to go on from, if the run was on its way in another process.
      spent: there, in seconds.
    """

    history: dict[str, list[float]]
    snapshots: dict[int, Float[np.ndarray, "h w 3"]] = field(default_factory=dict)
    image: Callable[[], Any] | None = None
    ended: str = ""
    why: str = ""
    state: State | None = None
    spent: float = 0.0
    began: float = field(default_factory=time.perf_counter, init=False)

    @property
    def seconds(self) -> float:
        """Since the start of the run, without the time when it did not run."""
        return self.spent + time.perf_counter() - self.began

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.history["total"])

    def picture(self) -> Float[np.ndarray, "h w 3"]:
        """The last picture, float32 in [0, 1], at its scale."""
        assert self.image is not None
        return np.clip(np.asarray(self.image()), 0, 1)

    def add(self, progress: Progress, snapshots: int) -> None:
        """Take down a step; of every so many, its picture."""
        self.image = progress.render
        for name, loss in progress.losses.items():
            self.history[name].append(loss)
        if snapshots and progress.step % snapshots == 0:
            self.snapshots[progress.step] = progress.image

    def take_state(self) -> State | None:
        """The state, which is large, and no longer kept."""
        state, self.state = self.state, None
        return state


def new_record(plan: Plan) -> Record:
    """That of a run before its first step."""
    return Record({name: [] for name in to_objective(plan.config).names})
