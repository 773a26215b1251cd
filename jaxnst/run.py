"""One run: the solver's steps over a plan, scale by scale.

Knows when a run has diverged; knows nothing of files written, bars drawn or Ctrl-C.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import sharding, solver, tiling
from jaxnst.core.compilation import jit
from jaxnst.inputs import first_picture, inputs_at, params_of_steps
from jaxnst.plan import Plan

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array, Bool, Float, PRNGKeyArray

    from jaxnst.core.objective import Losses

log = logging.getLogger("jaxnst")

IN_FLIGHT = 8
"""Steps that an accelerator has yet to do when the losses of the oldest are asked for: it never waits."""


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


class _Step(NamedTuple):
    """A step that the device has been given.

    Attributes:
      step: its number, from 1.
      size: height and width.
      before, after: make the pictures.
      losses: before it.
      finite: whether the picture after it is.
    """

    step: int
    size: tuple[int, int]
    before: Callable[[], Array]
    after: Callable[[], Array]
    losses: Losses
    finite: Bool[Array, ""]


def optimise(plan: Plan) -> Iterator[Progress]:
    """Work through the scales, coarse to fine, and yield after each step.

    Raises:
      DivergedError: the loss or the picture is not finite any more.
    """
    objective = plan.problem.objective
    good = None
    for step in _behind(_dispatched(plan), 0 if jax.default_backend() == "cpu" else IN_FLIGHT):
        losses = objective.floats(step.losses)
        if not math.isfinite(losses["total"]):
            raise DivergedError(step.step, good)
        good = step.before
        if not step.finite:
            raise DivergedError(step.step, good)
        yield Progress(step.step, plan.config.steps, losses, step.size, step.after)


def _behind(steps: Iterable[_Step], count: int) -> Iterator[_Step]:
    """The same steps, when `count` more have been dispatched."""
    queue: deque[_Step] = deque()
    for step in steps:
        queue.append(step)
        if len(queue) > count:
            yield queue.popleft()
    yield from queue


def _dispatched(plan: Plan) -> Iterator[_Step]:
    """Steps, without waiting for what comes out of them."""
    config = plan.config
    problem, mesh = plan.problem, plan.mesh
    params = params_of_steps(plan)
    variable, memory, done = None, None, 0
    for scale, size in enumerate(plan.sizes):
        inputs = sharding.spread(mesh, inputs_at(plan, size, params), size)
        if variable is None or memory is None:
            key = jax.random.key(config.seed)
            variable, memory = _start(problem, mesh, inputs, first_picture(plan, size), key)
        else:
            variable, memory = _carry(problem, mesh, variable, memory, size)
        picture = functools.partial(_picture, problem, mesh, inputs)
        began = time.perf_counter()
        step_of = _step if plan.tile is None else functools.partial(_step_in_tiles, plan.tile)
        for step in range(done + 1, done + config.steps_at(scale) + 1):
            moved, memory, losses, finite = step_of(problem, inputs, variable, memory)
            if step == done + 1:
                jax.block_until_ready(moved)
                log.info(
                    "first step at %dx%d, with compilation: %.1f s", *size[::-1], time.perf_counter() - began
                )
            before, after = functools.partial(picture, variable), functools.partial(picture, moved)
            yield _Step(step, size, before, after, losses, finite)
            variable = moved
        done += config.steps_at(scale)


# What follows takes and gives what `sharding.spread` makes of the solver's variable and memory.


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(problem: solver.Problem, mesh: Mesh | None, inputs: Any, image: Array, key: PRNGKeyArray) -> Any:
    started = solver.start(problem, sharding.whole(inputs), image, key)
    return sharding.spread(mesh, started, (image.shape[0], image.shape[1]))


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _carry(
    problem: solver.Problem, mesh: Mesh | None, variable: Any, memory: Any, size: tuple[int, int]
) -> Any:
    variable, memory = sharding.whole((variable, memory))
    return sharding.spread(mesh, solver.carry(problem, variable, memory, size), size)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _picture(problem: solver.Problem, mesh: Mesh | None, inputs: Any, variable: Any) -> Array:
    return sharding.everywhere(mesh, solver.picture(problem, *sharding.whole((inputs, variable))))


# The variable is not donated, so that a callback may keep its picture; the optimiser's history, many times
# larger, is.
@functools.partial(jit, static_argnums=0, donate_argnums=3)
def _step(problem: solver.Problem, inputs: Any, variable: Any, memory: Any) -> tuple[Any, Any, Losses, Array]:
    """`solver.step`, and whether the variable is finite after it."""
    of_padded, before = sharding.of_padded(problem, variable), (variable, memory)
    moved, memory, losses = solver.step(of_padded, sharding.whole(inputs), *sharding.padded(before))
    return *sharding.spread_as(before, (moved, memory)), losses, jnp.isfinite(moved).all()


def _step_in_tiles(
    tile: int,
    problem: solver.Problem,
    inputs: solver.Inputs,
    variable: Array,
    memory: solver.Memory,
) -> tuple[Array, solver.Memory, Losses, Array]:
    """The same, a large picture worked through in pieces."""
    moved, memory, losses = tiling.step(problem, inputs, variable, memory, tile)
    return moved, memory, losses, _is_finite(moved)


_is_finite = jax.jit(lambda image: jnp.isfinite(image).all())
