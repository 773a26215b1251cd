"""The objective of a picture of any size, exactly, in the memory of one tile.

What the terms need of a picture are sums over the positions of its feature maps. So it is gone through twice:

    1. the sums of all tiles are added up, which gives the losses, and the slope of the total by each sum;
    2. for each tile `sums * slopes` is differentiated with respect to its pixels, and the pieces add up.

What a tile is, and the *window* through which the network sees it, is in `tiles`.

The loops are Python's, which on a CPU is the fast way (see `solver`), and elsewhere hides behind the work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnst.core import guides, solver, terms, vgg
from jaxnst.core.compilation import jit
from jaxnst.core.conv import EXACT
from jaxnst.core.objective import Losses, LossWeights, Objective, Targets, add_up, seen_regions
from jaxnst.core.tiles import Place, counted, crop, crop_layer, places

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray


class Anew(NamedTuple):
    """A content picture whose features are computed each time they are needed.

    Attributes:
      picture: `[H, W, 3]`.
      params: the network's weights, exact where those of steps may not be.
    """

    picture: Float[Array, "h w 3"]
    params: Mapping[str, Any]


class TiledTargets(NamedTuple):
    """What a large picture is compared with.

    Attributes:
      terms: as in `Targets`, but for terms that compare it with the content position by position.
      guides: as in `Targets`.
      content: for those terms, feature maps of the content picture by layer, in the host's memory, or how to
        compute them; None without such terms.
    """

    terms: Mapping[str, Any]
    guides: tuple[Mapping[str, Float[Array, "h_l w_l"]], ...]
    content: Mapping[str, np.ndarray] | Anew | None


def _by_position(objective: Objective) -> list[terms.Term]:
    """Terms that compare the picture with the content at each position."""
    return [term for term in objective.terms if term.layers and not isinstance(term, terms.Style)]


def _compared(objective: Objective) -> tuple[str, ...]:
    """The layers at which they do, once."""
    return tuple(dict.fromkeys(layer for term in _by_position(objective) for layer in term.layers))


def _features(
    objective: Objective,
    params: Mapping[str, Any],
    layers: Sequence[str],
    seen: Array,
    precision: lax.Precision = EXACT,
) -> dict[str, Array]:
    return vgg.features(params, seen, layers, objective.pooling, objective.padding, precision)


def check(objective: Objective) -> None:
    """Refuse an objective that is not made of sums over positions.

    Raises:
      ValueError: with what is not.
    """
    for term in objective.terms:
        if isinstance(term, terms.Style):
            others = [each for each in term.statistics if not getattr(each, "additive", False)]
            if term.layers and others:
                what = type(others[0]).__name__
                raise ValueError(
                    f"the {term.name} term has a statistic, {what}, that needs a picture as a whole"
                )
        elif term.layers and not isinstance(term, terms.Content):
            raise ValueError(f"{term.name}: {type(term).__name__} needs pictures as a whole")


# --- Targets


def make_targets(
    objective: Objective,
    params: Mapping[str, Any],
    content: Float[ArrayLike, "h w 3"] | None,
    styles: Sequence[Float[ArrayLike, "h_s w_s 3"]],
    content_masks: Sequence[Float[ArrayLike, "h w"]] = (),
    style_masks: Sequence[Float[ArrayLike, "h_s w_s"]] = (),
    *,
    tile: int,
    keep: bool = True,
) -> TiledTargets:
    """What a large picture is compared with; as `objective.make_targets`, in tiles as well.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      content: a picture of the size of the one being made, or None, if no term needs one.
      styles: pictures of any size; none, if no term needs one.
      content_masks: for each style, where in the picture being made it shall go, [0, 1]; none: everywhere.
      style_masks: for each style, which part of its picture is the style, [0, 1]; none: all of it.
      tile: largest side of a tile, in pixels.
      keep: keep the content's features in the host's memory; otherwise the content picture is kept, and each
        evaluation costs two passes through the network more, of four.

    Returns:
      Targets for `evaluate` and `step`.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    check(objective)
    compared = _compared(objective)
    kept, whole = None, None
    if content is not None:
        whole = terms.View(jnp.asarray(content), {})
        if compared and keep:
            kept = _maps(objective, params, compared, whole.image, tile)
        elif compared:
            kept = Anew(whole.image, params)
    sums = []
    for style, mask in zip(styles, style_masks or [None] * len(styles), strict=True):
        regions = [] if mask is None else [_down(objective, mask)]
        sums.append(_sums_of_style(objective, params, jnp.asarray(style), regions, tile))
    targets = {
        term.name: term.target_of([of_style[term.name] for of_style in sums])
        if isinstance(term, terms.Style)
        else term.target(whole, [])
        for term in objective.terms
        if term not in _by_position(objective)
    }
    return TiledTargets(targets, tuple(_down(objective, mask) for mask in content_masks), kept)


@functools.partial(jit, static_argnums=0)
def _down(objective: Objective, mask: Any) -> dict[str, Array]:
    return guides.carry_down(mask, objective.style_layers, objective.guidance)


def _maps(
    objective: Objective, params: Mapping[str, Any], layers: tuple[str, ...], picture: Array, tile: int
) -> dict[str, np.ndarray]:
    """Feature maps of a whole picture, in the host's memory."""
    height, width = picture.shape[:2]
    maps: dict[str, np.ndarray] = {}
    for layer in layers:
        stride = vgg.stride(layer)
        maps[layer] = np.empty((height // stride, width // stride, vgg.channels(layer)), np.float32)
    window, tiles = places(layers, (height, width), tile)
    for place in tiles:
        found = _features_of_window(objective, layers, window, params, picture, place)
        for layer, of_window in found.items():
            stride = vgg.stride(layer)
            start, begin, end = (ends // stride for ends in place)
            rows, columns = (slice(*ends) for ends in zip(begin, end, strict=True))
            inside = tuple(slice(*ends) for ends in zip(begin - start, end - start, strict=True))
            maps[layer][rows, columns] = np.asarray(of_window)[inside]
    return maps


@functools.partial(jit, static_argnums=(0, 1, 2))
def _features_of_window(
    objective: Objective,
    layers: tuple[str, ...],
    window: tuple[int, int],
    params: Mapping[str, Any],
    picture: Array,
    place: Place,
) -> dict[str, Array]:
    return _features(objective, params, layers, objective.colors(crop(picture, place.start, window)))


def _sums_of_style(
    objective: Objective,
    params: Mapping[str, Any],
    style: Array,
    regions: list[dict[str, Array]],
    tile: int,
) -> dict[str, Any]:
    height, width = style.shape[:2]
    window, tiles = places(objective.style_layers, (height, width), tile)
    of_tile = functools.partial(_sums_of_style_tile, objective, window, params, style, regions)
    return functools.reduce(_added, map(of_tile, tiles))


@functools.partial(jit, static_argnums=(0, 1))
def _sums_of_style_tile(
    objective: Objective,
    window: tuple[int, int],
    params: Mapping[str, Any],
    style: Array,
    regions: list[dict[str, Array]],
    place: Place,
) -> dict[str, Any]:
    image = crop(style, place.start, window)
    found = _features(objective, params, objective.style_layers, objective.colors(image))
    view = _view(objective.style_layers, image, found, regions, place)
    return {term.name: term.sums_of_style(view) for term in objective.terms if isinstance(term, terms.Style)}


@functools.partial(jit, donate_argnums=0)
def _added(sums: Any, others: Any) -> Any:
    return jax.tree.map(jnp.add, sums, others)


def _view(
    layers: Sequence[str],
    image: Array,
    found: Mapping[str, Array],
    regions: Iterable[Mapping[str, Array]],
    place: Place,
) -> terms.View:
    """A window in which the tile's positions count."""
    window = (image.shape[0], image.shape[1])
    cropped = [
        {layer: crop_layer(of, layer, place, window) for layer, of in region.items()} for region in regions
    ]
    return terms.View(image, found, cropped, counted(layers, place, window))


# --- The objective


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
    sums = functools.reduce(_added, map(jax.block_until_ready, of_tiles))
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

    def cropped(layer: str, of_layer: np.ndarray, place: Place) -> np.ndarray:
        stride = vgg.stride(layer)
        rows, columns = (
            slice(start // stride, start // stride + side // stride)
            for start, side in zip(place.start, window, strict=True)
        )
        return of_layer[rows, columns]

    def at(place: Place) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {layer: cropped(layer, of_layer, place) for layer, of_layer in content.items()}

    return window, ((place, at(place)) for place in found)


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
    found = _features(objective, inputs.params, objective.layers, seen, objective.precision)
    view = _view(objective.layers, seen, found, look.regions, place)
    if isinstance(content, Anew):
        of_content = objective.colors(crop(content.picture, place.start, window))
        content = _features(objective, content.params, _compared(objective), of_content)
    targets = inputs.targets.terms | {
        term.name: term.target(terms.View(seen, content), []) for term in _by_position(objective)
    }
    return {term.name: term.sums(view, targets[term.name]) for term in objective.terms if term.layers}


@functools.partial(jit, static_argnums=0)
def _slopes(
    objective: Objective, inputs: solver.Inputs, sums: Mapping[str, Any], whole: Mapping[str, Any]
) -> tuple[Losses, tuple[Any, Any]]:
    """Losses, and the slopes of the total by the sums of tiles and by those of the whole picture."""
    targets = Targets(inputs.targets.terms | {term.name: () for term in _by_position(objective)})

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
