"""The objective of a picture of any size, exactly, in the memory of one tile.

What the terms need of a picture are sums over the positions of its feature maps. So there are two passes:

    1. The sums of all tiles are added up. They give the losses, and the slope of the total by each sum.
    2. For each tile `sums * slopes` is differentiated with respect to its pixels, and the pieces add up.

What a tile is, and the *window* through which the network sees it, is in `tiles`. The loops are Python's: on
a CPU that is the fast way (see `solver`), and elsewhere it hides behind the work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnst.core import solver, terms
from jaxnst.core.compilation import jit
from jaxnst.core.objective import Losses, LossWeights, Objective, Regions, Targets, add_up, regions_in_window
from jaxnst.core.tiling.targets import (
    TiledTargets,
    added,
    by_position,
    check,
    content_at,
    targets_at,
    view_of,
)
from jaxnst.core.tiling.tiles import Place, crop, places

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray


class Seen(NamedTuple):
    """A picture as a step sees it.

    Attributes:
      image: what the network sees, `[H, W, 3]`.
      regions: for each style `{layer: [H_l, W_l]}`.
      whole: sums of the terms that look at the picture itself, by name.
    """

    image: Float[Array, "h w 3"]
    regions: Regions
    whole: Mapping[str, Any]


def step(
    problem: solver.Problem, inputs: solver.Inputs, state: solver.State, tile: int
) -> tuple[solver.State, Losses]:
    """Does what `solver.step` does, in tiles; compiles its parts, so it is not to be compiled as a whole.

    Args:
      problem: static; its optimiser must not search along a line, which would need the whole picture at once.
      inputs: with targets from `make_targets`.
      state: from `solver.start`, `solver.carry` or the step before; its optimiser's part is used up.
      tile: largest side of a tile, in pixels.

    Returns:
      The state after the step, and the losses before it.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    key, step_key = jax.random.split(state.key)
    losses, gradient = _losses_and_gradient(problem, inputs, step_key, state.variable, tile)
    moved = _move(
        problem, inputs.learning_rate, state.variable, state.optimizer, key, gradient, losses["total"]
    )
    return moved, losses


def value_and_grad(
    objective: Objective,
    params: Mapping[str, Any],
    targets: TiledTargets,
    loss_weights: LossWeights,
    image: Float[Array, "h w 3"],
    tile: int,
) -> tuple[Losses, Float[Array, "h w 3"]]:
    """Computes the losses of a picture and the gradient of `total` with respect to it.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      targets: from `make_targets`.
      loss_weights: of the terms, the layers and the style pictures.
      image: float32 `[H, W, 3]`, RGB, [0, 1].
      tile: largest side of a tile, in pixels.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    inputs = solver.Inputs(params, targets, loss_weights, jnp.zeros(()))
    problem, key = solver.Problem(objective), jax.random.key(0)
    return _losses_and_gradient(problem, inputs, key, jnp.asarray(image), tile)


def evaluate(
    objective: Objective,
    params: Mapping[str, Any],
    targets: TiledTargets,
    loss_weights: LossWeights,
    image: Float[Array, "h w 3"],
    tile: int,
) -> Losses:
    """Computes the losses of a picture as `objective.evaluate`; arguments as for `value_and_grad`."""
    inputs = solver.Inputs(params, targets, loss_weights, jnp.zeros(()))
    problem, key = solver.Problem(objective), jax.random.key(0)
    losses, *_ = _first_pass(problem, inputs, key, jnp.asarray(image), tile)
    return losses


def _first_pass(
    problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array, tile: int
) -> tuple[Losses, tuple[Any, Any], Seen]:
    """Computes the losses, their slopes (by the sums of tiles and of the whole), and what a step sees."""
    check(problem.objective)
    resident = _without_content(inputs)
    seen = _see(problem, resident, key, variable)
    window, tiles = _tiles(problem.objective, inputs.targets.content, seen.image, tile)
    tile_sums = (_sums(problem.objective, window, resident, seen, *place) for place in tiles)
    sums = functools.reduce(added, map(jax.block_until_ready, tile_sums))
    return *_slopes(problem.objective, resident, sums, seen.whole), seen


def _losses_and_gradient(
    problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array, tile: int
) -> tuple[Losses, Array]:
    resident = _without_content(inputs)
    losses, (slopes, whole_slopes), seen = _first_pass(problem, inputs, key, variable, tile)
    window, tiles = _tiles(problem.objective, inputs.targets.content, seen.image, tile)
    gradient = jnp.zeros_like(seen.image)
    for place in tiles:
        gradient = _add_gradient(problem.objective, window, resident, seen, slopes, gradient, *place)
        jax.block_until_ready(gradient)  # so that what the next tile takes is not there at the same time
    return losses, _gradient(problem, resident, key, variable, gradient, whole_slopes)


def _without_content(inputs: solver.Inputs) -> solver.Inputs:
    """Leaves out the content's features: the rest may be on the device all the time."""
    return inputs._replace(targets=inputs.targets._replace(content=None))


def _tiles(
    objective: Objective, content: Any, picture: Array, tile: int
) -> tuple[tuple[int, int], Iterator[tuple[Place, Any]]]:
    """Returns the shape of windows, and for each tile its place and the content's features there, if kept."""
    height, width = picture.shape[:2]
    window, tiles = places(objective.layers, (height, width), tile)
    return window, ((place, content_at(content, place, window)) for place in tiles)


def _see_picture(problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array) -> Seen:
    window = solver.window_at(inputs, key)
    image = solver.picture(problem, inputs, variable)
    whole = {
        term.name: term.sums(terms.View(image, {}), inputs.targets.terms[term.name])
        for term in problem.objective.terms
        if not term.layers
    }
    regions = regions_in_window(inputs.targets.guides, window)
    objective = problem.objective
    return Seen(objective.frame(window(objective.colors(image))), regions, whole)


@functools.partial(jit, static_argnums=(0, 1))
def _sums(
    objective: Objective,
    window: tuple[int, int],
    inputs: solver.Inputs,
    seen: Seen,
    place: Place,
    content: Any,
) -> dict[str, Any]:
    image = crop(seen.image, place.start, window)
    return _sums_in_window(objective, inputs, seen, place, content, image)


@functools.partial(jit, static_argnums=(0, 1), donate_argnums=5)
def _add_gradient(
    objective: Objective,
    window: tuple[int, int],
    inputs: solver.Inputs,
    seen: Seen,
    slopes: Any,
    gradient: Array,
    place: Place,
    content: Any,
) -> Array:
    """Adds the gradient of one tile's `sums * slopes` with respect to what the network sees."""

    def linear(image: Array) -> Array:
        sums = _sums_in_window(objective, inputs, seen, place, content, image)
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), sums, slopes)
        return jax.tree.reduce(jnp.add, products, jnp.zeros(()))

    window_gradient = jax.grad(linear)(crop(seen.image, place.start, window))
    return lax.dynamic_update_slice(
        gradient, crop(gradient, place.start, window) + window_gradient, (*place.start, 0)
    )


def _sums_in_window(
    objective: Objective, inputs: solver.Inputs, seen: Seen, place: Place, content: Any, image: Array
) -> dict[str, Any]:
    """Computes what a tile adds to the sums of every term that looks at layers; `content` from `_tiles`."""
    window = (image.shape[0], image.shape[1])
    regions, precision = seen.regions, objective.precision
    view = view_of(objective, inputs.params, objective.layers, image, regions, place, precision)
    targets = targets_at(objective, inputs.targets, content, place, window)
    return {term.name: term.sums(view, targets[term.name]) for term in objective.terms if term.layers}


@functools.partial(jit, static_argnums=0)
def _slopes(
    objective: Objective, inputs: solver.Inputs, sums: Mapping[str, Any], whole: Mapping[str, Any]
) -> tuple[Losses, tuple[Any, Any]]:
    """Computes the losses, and the slopes of the total by the sums of tiles and of the whole picture."""
    targets = Targets(inputs.targets.terms | {term.name: () for term in by_position(objective)})

    def total(sums: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Array, Losses]:
        losses = add_up(objective, targets, inputs.loss_weights, {**sums, **whole})
        return losses["total"], losses

    (_, losses), slopes = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(sums, whole)
    return losses, slopes


@functools.partial(jit, static_argnums=0)
def _gradient(
    problem: solver.Problem,
    inputs: solver.Inputs,
    key: PRNGKeyArray,
    variable: Array,
    image_gradient: Array,
    whole_slopes: Any,
) -> Array:
    """Carries the gradients by what the network sees and by the whole sums back to the variable."""

    def image_and_whole(variable: Array) -> tuple[Array, Any]:
        seen = _see_picture(problem, inputs, key, variable)
        return seen.image, seen.whole

    _, back = jax.vjp(image_and_whole, variable)
    return back((image_gradient, whole_slopes))[0]


@functools.partial(jit, static_argnums=0, donate_argnums=3)
def _move(
    problem: solver.Problem,
    learning_rate: Array,
    variable: Array,
    optimizer: Any,
    key: PRNGKeyArray,
    gradient: Array,
    loss: Array,
) -> solver.State:
    return solver.move(problem, learning_rate, solver.State(variable, optimizer, key), gradient, loss)


_see = jit(_see_picture, static_argnums=0)
