"""How one step is done: on the whole picture (on one device or over several), or tile by tile.

`prepare` chooses once; the loop does not know which it is. A step that ends in NaN or infinity leaves the
picture where it last had a finite loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxnst.core import objective, solver, tiling
from jaxnst.core.compilation import jit
from jaxnst.core.sharding import ONE_DEVICE, Placement
from jaxnst.io.array_file import leaves_of, with_leaves
from jaxnst.run.state import SavedState, State

if TYPE_CHECKING:
    from jaxtyping import Array, PRNGKeyArray

    from jaxnst.core.objective import Losses

    Size = tuple[int, int]


@dataclass(frozen=True)
class Steps:
    """Steps that see the whole picture at once; static under `jit`.

    Attributes:
      problem: what is minimised, and how.
      placement: where arrays lie.
      axes: for several runs at once (lanes), the axis of the lanes in each leaf of the inputs, or None where
        all lanes share the leaf; None in place of the tuple: one run.
    """

    problem: solver.Problem
    placement: Placement = ONE_DEVICE
    axes: tuple[int | None, ...] | None = None

    tile = None
    """Largest side of a tile in pixels; None: there are no tiles."""

    def targets(self, params: Any, *pictures: Any) -> Any:
        """Computes what the picture is compared with; `pictures` as for `objective.make_targets`."""
        return whole_targets(self.problem.objective, self.placement, params, *pictures)

    def losses(self, params: Any, targets: Any, loss_weights: Any, image: Array) -> Losses:
        """Computes the objective of a picture."""
        return _evaluate(self.problem.objective, params, targets, loss_weights, image)

    def put(self, inputs: solver.Inputs) -> solver.Inputs:
        """Places the inputs of one scale where steps want them."""
        return self.placement.put(inputs, self.axes)

    def start(self, inputs: solver.Inputs, images: Array, keys: PRNGKeyArray) -> State:
        """Makes the state before the first step."""
        return State(0, 0, *_start(self, inputs, images, keys))

    def step(self, size: Size, inputs: solver.Inputs, state: State) -> tuple[State, Losses]:
        """Does one step at a size; uses up the optimiser's part of the state."""
        arrays, losses = _step(self, size, inputs, *_kept_and_used_up(state))
        return State(state.step + 1, state.scale, *arrays), losses

    def lower(self, size: Size, inputs: solver.Inputs, state: State) -> jax.stages.Lowered:
        """Lowers the program of a step for arrays, or for `jax.ShapeDtypeStruct`s that have shardings."""
        return _step.lower(self, size, inputs, *_kept_and_used_up(state))

    def carry(self, old: Size, size: Size, state: State, detail: Any = None) -> State:
        """Takes a state from one size to the next scale's, and adds detail to the picture, if any."""
        return State(state.step, state.scale + 1, *_carry(self, old, size, *state.arrays, detail))

    def compile_ahead(self, old: Size, size: Size, inputs: solver.Inputs, detail: Any = None) -> None:
        """Compiles what `carry` and the first `step` at a size need; nothing is computed."""
        image = jax.ShapeDtypeStruct((*old, 3), jnp.float32)
        before = jax.eval_shape(functools.partial(_start, self), inputs, image, jax.random.key(0))
        _carry.lower(self, old, size, *before, detail).compile()
        after = jax.eval_shape(functools.partial(_carry, self, old, size), *before, detail)
        self.lower(size, inputs, State(0, 0, *after)).compile()

    def picture(self, size: Size, inputs: solver.Inputs, variable: Any) -> Array:
        """Makes the picture of a variable, not clipped, on the device."""
        return _picture(self, size, inputs, variable)

    def save(self, size: Size, state: State) -> SavedState:
        """Copies a state to the host."""
        leaves = leaves_of(self.placement.on_host(state.arrays, size[0]))
        return SavedState(state.step, state.scale, leaves)

    def restore(self, saved: SavedState) -> State:
        """Puts a saved state on the device again."""

        def start(variable: Array) -> Any:
            state = solver.State(variable, self.problem.optimizer(1.0).init(variable), jax.random.key(0))
            return state, variable, jnp.ones((), bool)

        variable, *_ = saved.leaves
        shapes = jax.eval_shape(self.over_lanes(start), variable)
        arrays = with_leaves(shapes, saved.leaves)
        return State(saved.step, saved.scale, *self.placement.put_state(arrays, self.axes is not None))

    def over_lanes(self, function: Callable, inputs: Any = None) -> Callable:
        """Returns `function`, or what does it in every lane; `inputs` are its first argument, if any."""
        if self.axes is None:
            return function
        if inputs is None:
            return jax.vmap(function)
        axes = jax.tree.unflatten(jax.tree.structure(inputs), self.axes)
        return lambda first, *rest: jax.vmap(function, in_axes=(axes, *(0,) * len(rest)))(first, *rest)


@dataclass(frozen=True)
class Tiled(Steps):
    """Steps that compute a large picture tile by tile.

    Attributes:
      tile: largest side of a tile, in pixels.
      keep: whether the content's features stay in the host's memory, see `tiling.make_targets`.
    """

    tile: int = 0
    keep: bool = True

    def targets(self, params: Any, *pictures: Any) -> Any:
        """Computes what the picture is compared with, in tiles."""
        make = tiling.make_targets
        return make(self.problem.objective, params, *pictures, tile=self.tile, keep=self.keep)

    def losses(self, params: Any, targets: Any, loss_weights: Any, image: Array) -> Losses:
        """Computes the objective of a picture, in tiles."""
        return tiling.evaluate(self.problem.objective, params, targets, loss_weights, image, self.tile)

    def put(self, inputs: solver.Inputs) -> solver.Inputs:
        """Leaves the inputs where they are: the content's features stay on the host."""
        return inputs

    def step(self, size: Size, inputs: solver.Inputs, state: State) -> tuple[State, Losses]:
        """Does one step as many small programs."""
        del size
        moved, losses = tiling.step(self.problem, inputs, state.solver, self.tile)
        variable, *kept = state.solver.variable, state.good, state.alive
        (variable, *kept), losses = _guard(variable, *kept, moved.variable, losses)
        return State(state.step + 1, state.scale, moved._replace(variable=variable), *kept), losses


def guarded(
    variable: Array, good: Array, alive: Array, moved: Array, losses: Losses
) -> tuple[tuple[Array, Array, Array], Losses]:
    """Accepts a step, or puts the picture back to where it last had a finite loss.

    Args:
      variable: before the step.
      good: the last variable before that whose loss was finite.
      alive: whether the run has been finite so far.
      moved: the variable after the step.
      losses: of `variable`.

    Returns:
      The variable, the last good variable, and whether the run is still alive; and the losses, NaN if the run
      is not.
    """
    finite = alive & jnp.isfinite(losses["total"])
    alive = finite & jnp.isfinite(moved).all()
    good = jnp.where(finite, variable, good)
    losses = {name: jnp.where(finite, loss, jnp.nan) for name, loss in losses.items()}
    return (jnp.where(alive, moved, good), good, alive), losses


_guard = jax.jit(guarded)
_evaluate = jit(objective.evaluate, static_argnums=0)


@functools.partial(jit, static_argnums=(0, 1))
def whole_targets(what: objective.Objective, placement: Placement, params: Any, *pictures: Any) -> Any:
    """Computes the targets of a picture that is seen whole; arguments as for `objective.make_targets`."""
    return objective.make_targets(what, params, *pictures, look=placement.look)


@functools.partial(jax.jit, static_argnums=0)
def _start(steps: Steps, inputs: solver.Inputs, images: Array, keys: PRNGKeyArray) -> Any:
    def start(inputs: solver.Inputs, image: Array, key: PRNGKeyArray) -> Any:
        state = solver.start(steps.problem, inputs, image, key)
        return state, state.variable, jnp.ones((), bool)

    arrays = steps.over_lanes(start, inputs)(inputs, images, keys)
    return steps.placement.spread(arrays, steps.axes is not None)


def _kept_and_used_up(state: State) -> tuple[Any, Any]:
    variable, optimizer, key = state.solver
    return (variable, state.alive), (state.good, optimizer, key)


# The variable is not donated, so that a hook may still read its picture when the next step is on its way. The
# optimiser's history, many times larger, is.
@functools.partial(jit, static_argnums=(0, 1), donate_argnums=4)
def _step(steps: Steps, size: Size, inputs: solver.Inputs, kept: Any, used_up: Any) -> Any:
    placement = steps.placement
    problem = placement.padded_problem(steps.problem, size[0])

    def step(inputs: solver.Inputs, variable: Array, alive: Array, good: Array, *rest: Any) -> Any:
        before = solver.State(variable, *rest)
        moved, losses = solver.step(problem, inputs, before, placement.look)
        (variable, *kept), losses = guarded(variable, good, alive, moved.variable, losses)
        return (moved._replace(variable=variable), *kept), losses

    arrays, losses = steps.over_lanes(step, inputs)(inputs, *kept, *used_up)
    return placement.spread(arrays, steps.axes is not None), losses


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _carry(
    steps: Steps, old: Size, size: Size, state: solver.State, good: Array, alive: Array, detail: Any
) -> Any:
    def carry(state: solver.State, good: Array, alive: Array, detail: Any) -> Any:
        carried = solver.carry(steps.problem, state, size, detail)
        return carried, solver.resized(steps.problem, good, size, detail), alive

    arrays = steps.placement.cut((state, good, alive), old[0])
    arrays = steps.over_lanes(carry)(*arrays, detail)
    return steps.placement.spread(arrays, steps.axes is not None)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _picture(steps: Steps, size: Size, inputs: solver.Inputs, variable: Array) -> Array:
    picture = functools.partial(solver.picture, steps.problem)
    pictures = steps.over_lanes(picture, inputs)(inputs, steps.placement.cut(variable, size[0]))
    return steps.placement.gathered(pictures)
