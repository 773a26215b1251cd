"""Many runs at once: those that differ in numbers only are lanes of one compiled program.

`program` says which may be lanes of one; `optimise` works them through. What all lanes have alike, such as
the network and often the targets, is there once. Knows nothing of files.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import to_precision, to_transforms
from jaxnst.core import solver
from jaxnst.core.compilation import jit
from jaxnst.core.sharding import spread as sharding
from jaxnst.io.leaves import with_leaves
from jaxnst.run.memory_budget import NETWORK_BYTES, available_bytes, estimate_bytes, rows_of
from jaxnst.run.plan import Plan
from jaxnst.run.scale import first_picture, inputs_at, params_of_steps, render_at, target_shapes

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array, Bool, Float

    from jaxnst.core.objective import Losses

    Axes = tuple[int | None, ...]

MOST_LANES = 16
"""On a CPU the gain ends at 8 (benchmarks/results/lanes_cpu.json); on accelerators: not measured."""

MOST_PIXELS = {"cpu": 2**20}
"""Of all lanes, by backend: two cores are busy with them for ten minutes, which a kill costs."""


class State(NamedTuple):
    """What one step of all lanes hands to the next.

    Attributes:
      variable: what the optimisers move, `[lanes, H, W, 3]`; over devices as `sharding.spread` makes it.
      memory: of the optimisers.
      good: the last variable whose loss was finite.
      alive: whether loss and picture have been finite so far; a lane that is not stays where it is.
    """

    variable: Any
    memory: Any
    good: Any
    alive: Bool[Array, " lanes"]


@dataclass(frozen=True)
class Progress:
    """All lanes after a number of steps.

    Attributes:
      step: steps done, from 0.
      losses: of the pictures after these steps, by name, `[lanes]`; not a number where a lane has diverged.
      render: makes the pictures, not clipped, `[lanes, H, W, 3]`; of a lane that has diverged, the last that
        had a loss.
      state: for step `step + 1`; good until that is made, as `render` is. See `jaxnst.io.leaves`.
    """

    step: int
    losses: dict[str, Float[np.ndarray, " lanes"]]
    render: functools.partial[Array]
    state: State

    @property
    def images(self) -> Float[np.ndarray, "lanes h w 3"]:
        """The pictures, float32 in [0, 1]."""
        return np.clip(np.asarray(self.render()), 0, 1)


def program(plan: Plan) -> Hashable:
    """What two plans must have alike to be lanes of one program: all that a compiler sees, and the steps."""
    config = plan.config
    of_picture = plan.content_masks or config.color == "luminance"
    return (
        plan.problem,
        plan.mesh,
        tuple(plan.sizes),
        tuple(target_shapes(plan, size) for size in plan.sizes),
        tuple(config.steps_at(scale) for scale in range(len(plan.sizes))),
        jax.tree.structure(render_at(plan, plan.sizes[0])) if of_picture else None,
        jax.tree.structure((plan.loss_weights, to_transforms(config))),
        (plan.weights.name, plan.weights.sha256, to_precision(config)),
    )


def most(plan: Plan, share: float = 0.5) -> int:
    """How many lanes like this one to run at once: what a share of the free memory holds, not too many."""
    available, parts = available_bytes(plan.mesh), _parts(plan)
    most_pixels = MOST_PIXELS.get(jax.default_backend(), math.inf)
    at_most = int(np.clip(most_pixels // math.prod(plan.sizes[-1]), 1, MOST_LANES))
    if available is None:
        return at_most * parts
    of_one = estimate_bytes(plan.config, *plan.sizes[-1], mesh=plan.mesh) - NETWORK_BYTES
    fitting = (available - NETWORK_BYTES) * share // of_one
    if jax.default_backend() == "cpu":
        fitting //= parts  # of one memory
    return parts * int(np.clip(fitting, 1, at_most))


def gather(plans: Iterable[Plan]) -> list[Plan]:
    """The plans, with one array for all that are equal, so that memory and work are shared."""
    arrays: dict[bytes, np.ndarray] = {}
    params: dict[Hashable, Any] = {}

    def one(array: np.ndarray) -> np.ndarray:
        return arrays.setdefault(hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).digest(), array)

    return [
        dataclasses.replace(
            plan,
            content=None if plan.content is None else one(plan.content),
            styles=[one(style) for style in plan.styles],
            content_masks=[one(mask) for mask in plan.content_masks],
            style_masks=[one(mask) for mask in plan.style_masks],
            params=params.setdefault(_which(plan), plan.params),
        )
        for plan in plans
    ]


def filled_up(plans: Sequence[Plan]) -> Sequence[Plan]:
    """As many lanes as divide among the devices; those that are missing do what the last one does."""
    return [*plans, *[plans[-1]] * (-len(plans) % _parts(plans[0]))]


def _parts(plan: Plan) -> int:
    return 1 if plan.mesh is None else plan.mesh.shape["pairs"]


def _which(plan: Plan) -> Hashable:
    """Which weights these are, how deep and in what form."""
    return plan.weights.name, plan.weights.sha256, jax.tree.structure(plan.params)


def optimise(
    plans: Sequence[Plan], resume: tuple[int, Sequence[np.ndarray]] | None = None
) -> Iterator[Progress]:
    """Work through the steps of all lanes; yield before the first step and after each.

    Args:
      plans: with one `program`, from `gather`; as many as `filled_up` wants.
      resume: to go on after an earlier run's progress: the step that comes next, and the leaves of its state.
    """
    config, problem, mesh = plans[0].config, plans[0].problem, plans[0].mesh
    params = params_of_steps(plans[0])
    begin, leaves = resume or (0, None)
    state, done = None, 0
    for scale, size in enumerate(plans[0].sizes):
        first, done = done, done + config.steps_at(scale)
        last = scale + 1 == len(plans[0].sizes)
        if begin >= done and not last:
            continue
        inputs, axes = _joined(plans, size, params)
        inputs = sharding.spread(mesh, inputs, size, axes)
        if state is None:
            pictures = jnp.stack([first_picture(plan, size) for plan in plans])
            keys = jnp.stack([jax.random.key(plan.config.seed) for plan in plans])
            state = _start(problem, mesh, axes, inputs, pictures, keys)
            if leaves is not None:
                where = jax.tree.map(lambda leaf: leaf.sharding, state)
                state = jax.device_put(with_leaves(state, leaves), where)
            resume = leaves = None  # as large as the state
        if scale and begin <= first:
            state = _carry(problem, mesh, size, state)
        for step in range(max(begin, first), done + last):
            state, losses = _advance(problem, axes, inputs, state)
            found = {name: np.asarray(losses[name]) for name in problem.objective.names}
            render = functools.partial(_pictures, problem, mesh, axes, inputs, state.good)
            yield Progress(step, found, render, state)


def _joined(
    plans: Sequence[Plan], size: tuple[int, int], params: Mapping[str, Any]
) -> tuple[solver.Inputs, Axes]:
    """Inputs of all lanes: what is the same object in each is there once, the rest is stacked."""
    known: dict[Hashable, solver.Inputs] = {}
    lanes = []
    for plan in plans:
        pictures = (plan.content, *plan.styles, *plan.content_masks, *plan.style_masks)
        of_targets = (plan.config.style_scale, *map(id, pictures))
        if of_targets not in known:
            known[of_targets] = inputs_at(plan, size, params)
            if _parts(plan) > 1 and rows_of(plan.mesh) == 1:  # or each device would hold those of all lanes
                on_host = jax.device_get(known[of_targets].targets)
                known[of_targets] = known[of_targets]._replace(targets=on_host)
        lanes.append(
            known[of_targets]._replace(
                weights=plan.loss_weights,
                learning_rate=jnp.float32(plan.config.learning_rate),
                transforms=to_transforms(plan.config),
            )
        )
    leaves = list(zip(*map(jax.tree.leaves, lanes), strict=True))
    axes = tuple(None if all(leaf is of[0] for leaf in of) else 0 for of in leaves)
    joined = [of[0] if axis is None else _stacked(of) for of, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(lanes[0]), joined), axes


def _stacked(arrays: Sequence[Any]) -> Any:
    return np.stack(arrays) if isinstance(arrays[0], np.ndarray) else jnp.stack(arrays)


def _over_lanes(function: Callable, inputs: solver.Inputs, axes: Axes, others: int) -> Callable:
    """`function(inputs, *others)`, of every lane."""
    of_inputs = jax.tree.unflatten(jax.tree.structure(inputs), axes)
    return jax.vmap(function, in_axes=(of_inputs, *(0,) * others))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _start(
    problem: solver.Problem,
    mesh: Mesh | None,
    axes: Axes,
    inputs: solver.Inputs,
    pictures: Array,
    keys: Array,
) -> State:
    inputs = sharding.whole(inputs)
    start = _over_lanes(functools.partial(solver.start, problem), inputs, axes, 2)
    variable, memory = start(inputs, pictures, keys)
    state = State(variable, memory, variable, jnp.ones(len(variable), bool))
    return sharding.spread(mesh, state, (pictures.shape[1], pictures.shape[2]), 0)


@functools.partial(jit, static_argnums=(0, 1), donate_argnums=3)
def _advance(
    problem: solver.Problem, axes: Axes, inputs: solver.Inputs, state: State
) -> tuple[State, Losses]:
    """One step, and the losses before it; a lane whose loss or picture is not finite any more stays."""
    before, inputs = state, sharding.whole(inputs)
    problem, state = sharding.of_padded(problem, before.variable), sharding.padded(before)
    step = _over_lanes(functools.partial(solver.step, problem), inputs, axes, 2)
    moved, memory, losses = step(inputs, state.variable, state.memory)
    finite = state.alive & jnp.isfinite(losses["total"])
    alive = finite & jnp.isfinite(moved).all(axis=(1, 2, 3))
    good = _where(finite, state.variable, state.good)
    losses = {name: jnp.where(finite, loss, jnp.nan) for name, loss in losses.items()}
    return sharding.spread_as(before, State(_where(alive, moved, good), memory, good, alive)), losses


def _where(lanes: Array, yes: Array, no: Array) -> Array:
    return jnp.where(lanes[:, None, None, None], yes, no)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _carry(problem: solver.Problem, mesh: Mesh | None, size: tuple[int, int], state: State) -> State:
    state = sharding.whole(state)
    carry = jax.vmap(lambda variable, memory: solver.carry(problem, variable, memory, size))
    variable, memory = carry(state.variable, state.memory)
    good, _ = carry(state.good, state.memory)
    return sharding.spread(mesh, State(variable, memory, good, state.alive), size, 0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _pictures(
    problem: solver.Problem, mesh: Mesh | None, axes: Axes, inputs: solver.Inputs, variables: Any
) -> Array:
    inputs, variables = sharding.whole((inputs, variables))
    found = _over_lanes(functools.partial(solver.picture, problem), inputs, axes, 1)(inputs, variables)
    return sharding.everywhere(mesh, found)
