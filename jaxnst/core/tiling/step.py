"""The objective of a picture of any size, exactly, in the memory of one tile.

What the terms need of a picture are sums over the positions of its feature maps. So it is gone through twice:

    1. the sums of all tiles are added up, which gives the losses, and the slope of the total by each sum;
    2. for each tile `sums * slopes` is differentiated with respect to its pixels, and the pieces add up.

What a tile is, and the *window* through which the network sees it, is in `tiles`.

The loops are Python's, which on a CPU is the fast way (see `solver`), and elsewhere hides behind the work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnst.core import solver, terms
from jaxnst.core.compilation import jit
from jaxnst.core.objective import Losses, LossWeights, Objective, Targets, add_up, seen_regions
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


class Look(NamedTuple):
    """A picture as a step sees it.

    Attributes:
      seen: what the network sees, `[H, W, 3]`.
      regions: for each style `{layer: [H_l, W_l]}`.
      whole: sums of the terms that look at the picture itself, by name.
    """

    seen: Float[Array, "h w 3"]
    regions: Sequence[Mapping[str, Float[Array, "h_l w_l"]]]
    whole: Mapping[str, Any]


def step(
    problem: solver.Problem,
    inputs: solver.Inputs,
    variable: Float[Array, "h w 3"],
    memory: solver.Memory,
    tile: int,
) -> tuple[Float[Array, "h w 3"], solver.Memory, Losses]:
    """As `solver.step`, in tiles; not to be compiled as a whole, it compiles its parts.

    Args:
      problem: static; its optimiser must not search along a line, which would need the whole picture at once.
      inputs: with targets from `make_targets`.
      variable: float32 `[H, W, 3]`.
      memory: from `solver.start`, `solver.carry` or the step before; it is used up.
      tile: largest side of a tile, in pixels.

    Returns:
      The new variable, the new memory, and the losses before the step.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    key, of_this_step = jax.random.split(memory.key)
    losses, gradient = _losses_and_gradient(problem, inputs, of_this_step, variable, tile)
    moved, memory = _move(
        problem, inputs.learning_rate, variable, memory._replace(key=key), gradient, losses["total"]
    )
    return moved, memory, losses


def value_and_grad(
    objective: Objective,
    params: Mapping[str, Any],
    targets: TiledTargets,
    weights: LossWeights,
    image: Float[Array, "h w 3"],
    tile: int,
) -> tuple[Losses, Float[Array, "h w 3"]]:
    """Losses of a picture as from `objective.evaluate`, and the gradient of `total` with respect to it.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      targets: from `make_targets`.
      weights: of the terms, the layers and the style pictures.
      image: float32 `[H, W, 3]`, RGB, [0, 1].
      tile: largest side of a tile, in pixels.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    inputs = solver.Inputs(params, targets, weights, jnp.zeros(()))
    problem, key = solver.Problem(objective), jax.random.key(0)
    return _losses_and_gradient(problem, inputs, key, jnp.asarray(image), tile)


def evaluate(
    objective: Objective,
    params: Mapping[str, Any],
    targets: TiledTargets,
    weights: LossWeights,
    image: Float[Array, "h w 3"],
    tile: int,
) -> Losses:
    """Losses of a picture as from `objective.evaluate`; arguments as for `value_and_grad`."""
    inputs = solver.Inputs(params, targets, weights, jnp.zeros(()))
    problem, key = solver.Problem(objective), jax.random.key(0)
    return _first_pass(problem, inputs, key, jnp.asarray(image), tile).losses


class _FirstPass(NamedTuple):
    losses: Losses
    slopes: Any
    slopes_of_whole: Any
    look: Look


def _first_pass(
    problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array, tile: int
) -> _FirstPass:
    check(problem.objective)
    of_whole = _without_content(inputs)
    look = _look(problem, of_whole, key, variable)
    window, tiles = _tiles(problem.objective, inputs.targets.content, look.seen, tile)
    of_tiles = (_sums(problem.objective, window, of_whole, look, *of_tile) for of_tile in tiles)
    sums = functools.reduce(added, map(jax.block_until_ready, of_tiles))
    losses, (slopes, slopes_of_whole) = _slopes(problem.objective, of_whole, sums, look.whole)
    return _FirstPass(losses, slopes, slopes_of_whole, look)


def _losses_and_gradient(
    problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array, tile: int
) -> tuple[Losses, Array]:
    of_whole = _without_content(inputs)
    losses, slopes, slopes_of_whole, look = _first_pass(problem, inputs, key, variable, tile)
    window, tiles = _tiles(problem.objective, inputs.targets.content, look.seen, tile)
    gradient = jnp.zeros_like(look.seen)
    for of_tile in tiles:
        gradient = _add_gradient(problem.objective, window, of_whole, look, slopes, gradient, *of_tile)
        jax.block_until_ready(gradient)  # so that what the next tile takes is not there at the same time
    return losses, _gradient(problem, of_whole, key, variable, gradient, slopes_of_whole)


def _without_content(inputs: solver.Inputs) -> solver.Inputs:
    """What may be on the device all the time."""
    return inputs._replace(targets=inputs.targets._replace(content=None))


def _tiles(
    objective: Objective, content: Any, picture: Array, tile: int
) -> tuple[tuple[int, int], Iterator[tuple[Place, Any]]]:
    """The shape of windows; each tile's place, and the content's features in its window if they are kept."""
    height, width = picture.shape[:2]
    window, found = places(objective.layers, (height, width), tile)
    return window, ((place, content_at(content, place, window)) for place in found)


def _look_at(problem: solver.Problem, inputs: solver.Inputs, key: PRNGKeyArray, variable: Array) -> Look:
    window = solver.window_of(inputs, key)
    image = solver.picture(problem, inputs, variable)
    whole = {
        term.name: term.sums(terms.View(image, {}), inputs.targets.terms[term.name])
        for term in problem.objective.terms
        if not term.layers
    }
    regions = seen_regions(inputs.targets.guides, window)
    return Look(window(problem.objective.colors(image)), regions, whole)


@functools.partial(jit, static_argnums=(0, 1))
def _sums(
    objective: Objective,
    window: tuple[int, int],
    inputs: solver.Inputs,
    look: Look,
    place: Place,
    content: Any,
) -> dict[str, Any]:
    seen = crop(look.seen, place.start, window)
    return _sums_of_window(objective, inputs, look, place, content, seen)


@functools.partial(jit, static_argnums=(0, 1), donate_argnums=5)
def _add_gradient(
    objective: Objective,
    window: tuple[int, int],
    inputs: solver.Inputs,
    look: Look,
    slopes: Any,
    gradient: Array,
    place: Place,
    content: Any,
) -> Array:
    """The gradient so far, and that of one tile's `sums * slopes` with respect to what the network sees."""

    def linear(seen: Array) -> Array:
        sums = _sums_of_window(objective, inputs, look, place, content, seen)
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), sums, slopes)
        return jax.tree.reduce(jnp.add, products, jnp.zeros(()))

    of_window = jax.grad(linear)(crop(look.seen, place.start, window))
    return lax.dynamic_update_slice(
        gradient, crop(gradient, place.start, window) + of_window, (*place.start, 0)
    )


def _sums_of_window(
    objective: Objective, inputs: solver.Inputs, look: Look, place: Place, content: Any, seen: Array
) -> dict[str, Any]:
    """What a tile adds to the sums of every term that looks at layers; `content` as from `_tiles`."""
    window = (seen.shape[0], seen.shape[1])
    view = view_of(objective, inputs.params, objective.layers, seen, look.regions, place, objective.precision)
    targets = targets_at(objective, inputs.targets, content, place, window)
    return {term.name: term.sums(view, targets[term.name]) for term in objective.terms if term.layers}


@functools.partial(jit, static_argnums=0)
def _slopes(
    objective: Objective, inputs: solver.Inputs, sums: Mapping[str, Any], whole: Mapping[str, Any]
) -> tuple[Losses, tuple[Any, Any]]:
    """Losses, and the slopes of the total by the sums of tiles and by those of the whole picture."""
    targets = Targets(inputs.targets.terms | {term.name: () for term in by_position(objective)})

    def total(sums: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Array, Losses]:
        losses = add_up(objective, targets, inputs.weights, {**sums, **whole})
        return losses["total"], losses

    (_, losses), slopes = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(sums, whole)
    return losses, slopes


@functools.partial(jit, static_argnums=0)
def _gradient(
    problem: solver.Problem,
    inputs: solver.Inputs,
    key: PRNGKeyArray,
    variable: Array,
    of_seen: Array,
    of_whole: Any,
) -> Array:
    """The gradient with respect to the variable, from those with respect to what is looked at."""

    def looked_at(variable: Array) -> tuple[Array, Any]:
        look = _look_at(problem, inputs, key, variable)
        return look.seen, look.whole

    _, back = jax.vjp(looked_at, variable)
    return back((of_seen, of_whole))[0]


_look = jit(_look_at, static_argnums=0)
_move = jit(solver.move, static_argnums=0, donate_argnums=3)
