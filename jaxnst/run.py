"""One run: the solver's steps over a plan, scale by scale.

Knows when a run has diverged; knows nothing of files written, bars drawn or Ctrl-C.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import solver
from jaxnst.inputs import first_picture, for_this_backend, inputs_at
from jaxnst.plan import Plan
from jaxnst.translate import to_problem

if TYPE_CHECKING:
    from jaxtyping import Array, Float

log = logging.getLogger("jaxnst")

# The variable is not donated, so that a callback may keep its picture; the optimiser's history, many times
# larger, is.
_step = jax.jit(solver.step, static_argnums=0, donate_argnums=3)
_start = jax.jit(solver.start, static_argnums=0)
_carry = jax.jit(solver.carry, static_argnums=(0, 3))
_picture = jax.jit(solver.picture, static_argnums=0)


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each step.

    Attributes:
      step: steps done so far, from 1.
      steps: steps in all.
      losses: the parts of the objective by name, `total` first, unweighted, before this step.
      size: height and width of the picture at the present scale.
      render: makes the picture after this step, on the device.
    """

    step: int
    steps: int
    losses: dict[str, float]
    size: tuple[int, int]
    render: Callable[[], Array]

    @functools.cached_property
    def unclipped(self) -> Array:
        """The picture after this step as the solver has it, on the device, outside [0, 1] too."""
        return self.render()

    @functools.cached_property
    def image(self) -> Float[np.ndarray, "h w 3"]:
        """The picture after this step, float32 [H, W, 3] in [0, 1]; computed only if it is read."""
        return np.clip(np.asarray(self.unclipped), 0, 1)


class DivergedError(Exception):
    """The loss or the picture is no longer finite; carries the last picture whose loss was."""

    def __init__(self, step: int, image: Callable[[], Array] | None) -> None:
        """`image`: gives the last one whose loss was finite; None if the first one's was not."""
        super().__init__(
            f"the loss is no longer a finite number at step {step}, so the run ends with the last picture "
            "that had one; a smaller learning_rate or clamp may help"
        )
        self.image = image


def optimise(plan: Plan) -> Iterator[Progress]:
    """Work through the scales, coarse to fine, and yield after each step.

    Raises:
      DivergedError: the loss or the picture is not finite any more.
    """
    config = plan.config
    problem = to_problem(config)
    params = for_this_backend(plan.params)
    variable, memory, good, done = None, None, None, 0
    for scale, size in enumerate(plan.sizes):
        inputs = inputs_at(plan, size, params)
        if variable is None or memory is None:
            key = jax.random.key(config.seed)
            variable, memory = _start(problem, inputs, first_picture(plan, size), key)
        else:
            variable, memory = _carry(problem, variable, memory, size)
        began = time.perf_counter()
        for step in range(done + 1, done + config.steps_at(scale) + 1):
            moved, memory, losses = _step(problem, inputs, variable, memory)
            losses = problem.objective.floats(losses)
            if step == done + 1:
                log.info(
                    "first step at %dx%d, with compilation: %.1f s", *size[::-1], time.perf_counter() - began
                )
            if not math.isfinite(losses["total"]):
                raise DivergedError(step, good)
            good = functools.partial(_picture, problem, inputs, variable)
            if not jnp.isfinite(moved).all():
                raise DivergedError(step, good)
            variable = moved
            image = functools.partial(_picture, problem, inputs, variable)
            yield Progress(step, config.steps, losses, size, image)
        done += config.steps_at(scale)
