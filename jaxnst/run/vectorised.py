"""Several runs at once: runs that differ in numbers only are lanes of one compiled program.

`program` says which runs may be lanes of one; `run_plans` makes their results. What all lanes have alike,
such as the network and often the targets, is on the device once. Knows nothing of files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import to_learning_rate, to_precision, to_transforms
from jaxnst.core import solver
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.io.array_file import digest
from jaxnst.run.ended import Ended
from jaxnst.run.hooks import Record
from jaxnst.run.loop import Hook, optimise
from jaxnst.run.memory_budget import NETWORK_BYTES, available_bytes, estimate_bytes
from jaxnst.run.plan import Plan
from jaxnst.run.result import NO_FIRST_LOSS, Result
from jaxnst.run.scale import (
    Scale,
    detail_at,
    first_of,
    inputs_at,
    loss_weights_at,
    photo_at,
    render_at,
    target_shapes,
)

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    Axes = tuple[int | None, ...]

MOST_LANES = 16
"""On a CPU the gain ends at 8 (benchmarks/results/lanes_cpu.json); on accelerators: not measured."""

MOST_PIXELS = {"cpu": 2**20}
"""Pixels of all lanes together, by backend: about ten minutes of work on two cores, which a kill costs."""


def program(plan: Plan) -> Hashable:
    """Returns what plans must have alike to be lanes of one program: all that a compiler sees, and the steps.

    A plan in tiles is never a lane.
    """
    config = plan.config
    photo_counts = plan.content_masks or config.color == "luminance"
    if plan.steps.tile is not None:
        return id(plan)
    return (
        plan.steps,
        tuple(plan.sizes),
        tuple(target_shapes(plan, size) for size in plan.sizes),
        tuple(plan.ends),
        jax.tree.structure(render_at(plan, photo_at(plan, plan.sizes[0]))) if photo_counts else None,
        config.content_detail,
        jax.tree.structure((plan.loss_weights, to_transforms(config))),
        (plan.weights.name, plan.weights.sha256, to_precision(config)),
    )


def most_lanes(plan: Plan, share: float = 0.5) -> int:
    """Computes how many lanes like this plan to run at once, from a share of the free memory.

    A plan in tiles runs alone.
    """
    if plan.steps.tile is not None:
        return 1
    placement = plan.steps.placement
    available = available_bytes(placement)
    most_pixels = MOST_PIXELS.get(jax.default_backend(), math.inf)
    at_most = int(np.clip(most_pixels // math.prod(plan.sizes[-1]), 1, MOST_LANES))
    if available is None:
        return at_most * placement.pairs
    lane_bytes = estimate_bytes(plan.config, *plan.sizes[-1], placement=placement) - NETWORK_BYTES
    fitting = (available - NETWORK_BYTES) * share // lane_bytes
    if jax.default_backend() == "cpu":
        fitting //= placement.pairs  # CPU devices share one memory
    return placement.pairs * int(np.clip(fitting, 1, at_most))


def run_plans(
    plans: Sequence[Plan],
    hooks: Sequence[Hook] = (),
    snapshot_steps: Collection[int] = (),
    final_losses: bool = False,
) -> list[Result | InputError]:
    """Makes the pictures of several plans at once.

    Args:
      plans: with one `program`.
      hooks: called after each step of all lanes.
      snapshot_steps: steps whose pictures are kept in the results.
      final_losses: whether to evaluate the finished pictures once more.

    Returns:
      For each plan its result; or an `InputError`, if its first picture has no finite loss. A lane that
      diverges stays where it is, and the others go on.

    Raises:
      jax.errors.JaxRuntimeError, MemoryError: memory ran out, or a hook's or a statistic's own error.
    """
    plans = shared(plans)
    record, count = Record(snapshot_steps), len(plans)
    filled = filled_up(plans)
    outcome = optimise(partial(scale_of_lanes, filled), plans[0].ends, [record, *hooks])
    if outcome.ended is Ended.out_of_memory:
        raise MemoryError(f"{count} pictures of {plans[0].sizes[-1]} at once")
    scale, state, progress = outcome.scale, outcome.state, outcome.progress
    assert scale is not None
    assert state is not None
    assert progress is not None
    pictures = np.clip(np.asarray(scale.picture(state)), 0, 1)
    first_losses: Any = record.history["total"][0] if record.alive else progress.losses["total"]
    steps_done = np.cumprod(np.array(record.alive).reshape(-1, len(filled)), axis=0).sum(axis=0)
    last_losses: dict[str, Any] = {}
    if final_losses and outcome.ended is Ended.finished:
        last_losses = jax.device_get(scale.step(state)[1])

    def result(lane: int, plan: Plan) -> Result | InputError:
        if not np.isfinite(first_losses[lane]):
            return InputError(NO_FIRST_LOSS)
        done = int(steps_done[lane])
        return Result(
            array=images.resize(pictures[lane], plan.sizes[-1]),
            history={
                name: np.array([losses[lane] for losses in record.history.get(name, [])[:done]], np.float32)
                for name in plan.steps.problem.objective.names
            },
            config=plan.config,
            seconds=record.seconds,
            ended=outcome.ended if progress.alive[lane] else Ended.diverged,
            weights_sha256=plan.weights.sha256,
            snapshots={step: snapshot[lane] for step, snapshot in record.snapshots.items() if step <= done},
            final_losses={name: float(losses[lane]) for name, losses in last_losses.items()},
            snapshot_seconds=record.snapshot_seconds,
            together=count,
        )

    return [result(lane, plan) for lane, plan in enumerate(plans)]


def shared(plans: Iterable[Plan]) -> list[Plan]:
    """Returns the plans with one array for all that are equal, so that lanes share memory and work."""
    arrays: dict[str, np.ndarray] = {}
    params: dict[Hashable, Any] = {}

    def first_equal(array: np.ndarray) -> np.ndarray:
        return arrays.setdefault(digest(array), array)

    def network(plan: Plan) -> Hashable:
        return plan.weights.name, plan.weights.sha256, jax.tree.structure(plan.params)

    return [
        dataclasses.replace(
            plan,
            content=None if plan.content is None else first_equal(plan.content),
            styles=list(map(first_equal, plan.styles)),
            content_masks=list(map(first_equal, plan.content_masks)),
            style_masks=list(map(first_equal, plan.style_masks)),
            params=params.setdefault(network(plan), plan.params),
        )
        for plan in plans
    ]


def filled_up(plans: Sequence[Plan]) -> list[Plan]:
    """Repeats the last plan until the lanes divide among the devices."""
    return [*plans, *[plans[-1]] * (-len(plans) % plans[0].steps.placement.pairs)]


def scale_of_lanes(plans: Sequence[Plan], index: int) -> Scale:
    """Builds what one scale of several runs needs; `plans` are from `shared` and `filled_up`."""
    size = plans[0].sizes[index]
    inputs, axes = _joined(plans, size)
    steps = dataclasses.replace(plans[0].steps, axes=axes)
    details = [detail_at(plan, index, photo_at(plan, size)) for plan in plans]
    added = [detail for detail in details if detail is not None]  # all or none: `program` has looked
    detail = np.stack(added) if added else None
    return Scale(size, steps, steps.put(inputs), partial(_first_of_lanes, plans, size), detail)


def _first_of_lanes(plans: Sequence[Plan], size: tuple[int, int]) -> tuple[np.ndarray, PRNGKeyArray]:
    pictures, keys = zip(*(first_of(plan, size, photo_at(plan, size)) for plan in plans), strict=True)
    return np.stack(pictures), jnp.stack(keys)


def _joined(plans: Sequence[Plan], size: tuple[int, int]) -> tuple[solver.Inputs, Axes]:
    """Joins the inputs of all lanes: what is the same object in each is there once, the rest is stacked."""
    by_pictures: dict[Hashable, solver.Inputs] = {}
    lanes = []
    for plan in plans:
        pictures = (plan.content, *plan.styles, *plan.content_masks, *plan.style_masks)
        key = (plan.config.style_scale, plan.config.enlarge_style, *map(id, pictures))
        if key not in by_pictures:
            by_pictures[key] = inputs_at(plan, size, photo_at(plan, size))
            if plan.steps.placement.pairs > 1 and plan.steps.placement.rows == 1:
                # Or each device would hold the targets of all lanes.
                by_pictures[key] = by_pictures[key]._replace(targets=jax.device_get(by_pictures[key].targets))
        lanes.append(
            by_pictures[key]._replace(
                params=by_pictures[next(iter(by_pictures))].params,
                loss_weights=loss_weights_at(plan, size, by_pictures[key].targets),
                learning_rate=jnp.float32(to_learning_rate(plan.config)),
                transforms=to_transforms(plan.config),
            )
        )
    leaves = list(zip(*map(jax.tree.leaves, lanes), strict=True))
    axes = tuple(None if all(leaf is parts[0] for leaf in parts) else 0 for parts in leaves)
    joined = [parts[0] if axis is None else _stacked(parts) for parts, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(lanes[0]), joined), axes


def _stacked(arrays: Sequence[Any]) -> Any:
    return np.stack(arrays) if isinstance(arrays[0], np.ndarray) else jnp.stack(arrays)
