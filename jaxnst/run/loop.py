"""One run: the solver's steps over a plan, scale by scale.

Knows when a run has diverged or has no memory left, and how to go on from a state; knows nothing of files
written, bars drawn or Ctrl-C.
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

from jaxnst.core import solver
from jaxnst.core.sharding import spread as sharding
from jaxnst.core.tiling import step as tiling
from jaxnst.io.leaves import leaves_of, with_leaves
from jaxnst.run import traces
from jaxnst.run.plan import Plan
from jaxnst.run.scale import first_picture, inputs_at, params_of_steps

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array, Bool, Float, PRNGKeyArray

    from jaxnst.core.objective import Losses

    Picture = Callable[[], Array | np.ndarray]

log = logging.getLogger("jaxnst")

IN_FLIGHT = 8
"""Steps that an accelerator has yet to do when the losses of the oldest are asked for: it never waits."""


class State(NamedTuple):
    """A run between two steps, in the host's memory; `optimise` goes on from it.

    Attributes:
      step: steps done.
      scale: at which the variable is, counted from 0.
      leaves: of the variable and the optimiser's memory, see `jaxnst.io.leaves`.
      good: the last picture whose loss is known to be finite, not clipped.
    """

    step: int
    scale: int
    leaves: list[np.ndarray]
    good: Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each step.

    Attributes:
      step: steps done so far, from 1.
      steps: steps in all.
      losses: the parts of the objective by name, `total` first, unweighted, before this step.
      size: height and width of the picture at the present scale.
      render: makes the picture after this step, on the device.
      state: takes the state after this step to the host, until the next is made; None where a later step is
        on its way already, or no state is wanted.
    """

    step: int
    steps: int
    losses: dict[str, float]
    size: tuple[int, int]
    render: Callable[[], Array]
    state: Callable[[], State] | None

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

    def __init__(self, step: int, image: Picture | None) -> None:
        """`image`: gives the last one whose loss was finite; None if the first one's was not."""
        super().__init__(
            f"the loss is no longer a finite number at step {step}, so the run ends with the last picture "
            "that had one; a smaller learning_rate or clamp may help"
        )
        self.image = image


class OutOfMemoryError(Exception):
    """The device or the host has no memory left for another step; those that were told are good."""

    def __init__(self, step: int, state: Callable[[], State] | None) -> None:
        """`state`: as in `Progress`, after the last step that was told; None if it is lost."""
        super().__init__(
            f"memory ran out at step {step}, so the run ends with the picture before it; a smaller size or "
            "tile, or for lbfgs a smaller memory, needs less"
        )
        self.state = state


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


@dataclass
class _Present:
    """A run between two steps, on the device: one place, because each step uses up the memory it is given.

    Attributes:
      step: steps that the device has been given.
      scale: at which the variable is, counted from 0; -1: there is none yet.
      variable, memory: after these steps.
    """

    step: int = 0
    scale: int = -1
    variable: Any = None
    memory: Any = None

    def state(self, good: Picture) -> State:
        """The same on the host."""
        leaves = leaves_of(sharding.on_host((self.variable, self.memory)))
        return State(self.step, self.scale, leaves, np.asarray(good()))

    def is_whole(self) -> bool:
        """Whether no step that failed has used the memory up."""
        arrays = jax.tree.leaves((self.variable, self.memory))
        return self.scale >= 0 and not any(array.is_deleted() for array in arrays)


def optimise(
    plan: Plan, resume: State | None = None, settle: Callable[[int], bool] | None = None
) -> Iterator[Progress]:
    """Work through the scales, coarse to fine, and yield after each step.

    Args:
      plan: from `prepare`.
      resume: to go on after an earlier run's step, bit for bit as that would have.
      settle: asked of each step; True: none is made ahead of it, so that the state after it can be had. None:
        no state is wanted.

    Raises:
      DivergedError: the loss or the picture is not finite any more.
      OutOfMemoryError: there is no memory left.
    """
    objective = plan.problem.objective
    present, good, told = _Present(), None, 0
    try:
        if resume is not None:
            good, told = functools.partial(np.asarray, resume.good), resume.step
            present, resume = _resumed(plan, resume), None  # which is as large as what the device has
        for step, settled in _behind(_dispatched(plan, present), settle or (lambda step: False)):
            losses = objective.floats(step.losses)
            if not math.isfinite(losses["total"]):
                raise DivergedError(step.step, good)
            good = step.before
            if not step.finite:
                raise DivergedError(step.step, good)
            told = step.step
            state = functools.partial(present.state, good) if settle and settled else None
            yield Progress(told, plan.config.steps, losses, step.size, step.after, state)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        whole = present.step == told and present.is_whole()
        state = functools.partial(present.state, good) if good and whole else None
        raise OutOfMemoryError(told + 1, state) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the host could not give the memory that was asked for."""
    told = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in told or "out of memory" in told.lower()


def _ahead() -> int:
    return 0 if jax.default_backend() == "cpu" else IN_FLIGHT


def _behind(steps: Iterable[_Step], settle: Callable[[int], bool]) -> Iterator[tuple[_Step, bool]]:
    """The same steps, when more have been dispatched, unless they shall settle; and whether none has."""
    queue: deque[_Step] = deque()
    try:
        for step in steps:
            queue.append(step)
            count = 0 if settle(step.step) else _ahead()
            while len(queue) > count:
                yield queue.popleft(), not queue
    except (jax.errors.JaxRuntimeError, MemoryError):
        while queue:  # those before the one that failed are good
            yield queue.popleft(), False
        raise
    while queue:
        yield queue.popleft(), not queue


def _resumed(plan: Plan, state: State) -> _Present:
    """What `_dispatched` had before it went on to the next step."""
    problem = plan.problem

    def started(variable: Array) -> tuple[Array, solver.Memory]:
        return variable, solver.Memory(problem.optimizer(1.0).init(variable), jax.random.key(0))

    like = jax.eval_shape(started, state.leaves[0])
    found = with_leaves(like, state.leaves)
    if plan.mesh is None:
        variable, memory = jax.device_put(found)
    else:  # which puts on each device its part alone
        variable, memory = sharding.spread(plan.mesh, found, plan.sizes[state.scale])
    return _Present(state.step, state.scale, variable, memory)


def _dispatched(plan: Plan, present: _Present) -> Iterator[_Step]:
    """The steps after the present, without waiting for what comes out of them."""
    config = plan.config
    problem, mesh = plan.problem, plan.mesh
    params = params_of_steps(plan)
    done = 0
    for scale, size in enumerate(plan.sizes):
        done += config.steps_at(scale)
        if present.step >= done:
            continue
        inputs = sharding.spread(mesh, inputs_at(plan, size, params), size)
        if present.scale < 0:
            key = sharding.everywhere(mesh, jax.random.key(config.seed))
            present.variable, present.memory = _start(problem, mesh, inputs, first_picture(plan, size), key)
        elif present.scale < scale:
            present.variable, present.memory = _carry(problem, mesh, present.variable, present.memory, size)
        present.scale = scale
        picture = functools.partial(_picture, problem, mesh, inputs)
        began, first = time.perf_counter(), present.step + 1
        step_of = _step if plan.tile is None else functools.partial(_step_in_tiles, plan.tile)
        for step in range(first, done + 1):
            variable = present.variable
            moved, present.memory, losses, finite = step_of(problem, inputs, variable, present.memory)
            present.step, present.variable = step, moved
            if step == first:
                jax.block_until_ready(moved)
                log.info(
                    "first step at %dx%d, with compilation: %.1f s", *size[::-1], time.perf_counter() - began
                )
            before, after = functools.partial(picture, variable), functools.partial(picture, moved)
            yield _Step(step, size, before, after, losses, finite)


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
@functools.partial(traces.jit, donate_argnums=(3,))
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
