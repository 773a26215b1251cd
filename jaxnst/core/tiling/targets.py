"""The targets of a picture that is computed in tiles; `step` compares the picture with them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnst.core import guides, terms, vgg
from jaxnst.core.compilation import jit
from jaxnst.core.conv import EXACT
from jaxnst.core.objective import Objective
from jaxnst.core.tiling.tiles import Place, counted, crop, crop_layer, places

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike, Float


class Recomputed(NamedTuple):
    """A content picture whose features are computed each time they are needed.

    Attributes:
      picture: `[H, W, 3]`, in the objective's frame.
      params: the network's weights, exact where those of steps may not be.
    """

    picture: Float[Array, "h w 3"]
    params: Mapping[str, Any]


class TiledTargets(NamedTuple):
    """Everything that a picture in tiles is compared with.

    Attributes:
      terms: as in `Targets`, but for terms that compare it with the content position by position.
      guides: as in `Targets`.
      content: for those terms, feature maps of the content picture by layer, in the host's memory, or how to
        compute them; None without such terms.
    """

    terms: Mapping[str, Any]
    guides: tuple[Mapping[str, Float[Array, "h_l w_l"]], ...]
    content: Mapping[str, np.ndarray] | Recomputed | None


def by_position(objective: Objective) -> list[terms.Term]:
    """Lists the terms that compare the picture with the content at each position."""
    return [term for term in objective.terms if term.layers and not isinstance(term, terms.Style)]


def _content_layers(objective: Objective) -> tuple[str, ...]:
    """Lists the layers at which terms compare the picture with the content, once."""
    return tuple(dict.fromkeys(layer for term in by_position(objective) for layer in term.layers))


def check(objective: Objective) -> None:
    """Refuses an objective that is not made of sums over positions.

    Raises:
      ValueError: with the term or statistic that is not.
    """
    for term in objective.terms:
        if isinstance(term, terms.Style):
            others = [kind for kind in term.statistics if not getattr(kind, "additive", False)]
            if term.layers and others:
                what = type(others[0]).__name__
                raise ValueError(
                    f"the {term.name} term has a statistic, {what}, that needs a picture as a whole"
                )
        elif term.layers and not isinstance(term, terms.Content):
            raise ValueError(f"{term.name}: {type(term).__name__} needs pictures as a whole")


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
    """Computes what a picture in tiles is compared with.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      content: a picture of the size of the one being made, or None, if no term needs one.
      styles: pictures of any size; none, if no term needs one.
      content_masks: for each style its region in the picture being made, [0, 1]; none: everywhere.
      style_masks: for each style the part of its picture that is the style, [0, 1]; none: all of it.
      tile: largest side of a tile, in pixels.
      keep: whether the content's features stay in the host's memory; otherwise the content picture does, and
        each evaluation costs two passes through the network more, of four.

    Returns:
      Targets for `tiling.evaluate` and `tiling.step`.

    Raises:
      ValueError: the objective is not made of sums over positions.
    """
    check(objective)
    layers = _content_layers(objective)
    kept, whole = None, None
    if content is not None:
        whole = terms.View(jnp.asarray(content), {})
        if layers and keep:
            kept = _maps(objective, params, layers, objective.frame(whole.image), tile)
        elif layers:
            kept = Recomputed(objective.frame(whole.image), params)
    sums = []
    for style, mask in zip(styles, style_masks or [None] * len(styles), strict=True):
        regions = [] if mask is None else [_down(objective, mask)]
        sums.append(_sums_of_style(objective, params, objective.frame(jnp.asarray(style)), regions, tile))
    targets = {
        term.name: term.target_of([style_sums[term.name] for style_sums in sums])
        if isinstance(term, terms.Style)
        else term.target(whole, [])
        for term in objective.terms
        if term not in by_position(objective)
    }
    return TiledTargets(targets, tuple(_down(objective, mask) for mask in content_masks), kept)


@functools.partial(jit, static_argnums=0)
def _down(objective: Objective, mask: Any) -> dict[str, Array]:
    return guides.carry_down(objective.frame(mask), objective.style_layers, objective.guidance)


def _maps(
    objective: Objective, params: Mapping[str, Any], layers: tuple[str, ...], picture: Array, tile: int
) -> dict[str, np.ndarray]:
    """Computes the feature maps of a whole picture into the host's memory."""
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


def _features_in(
    objective: Objective,
    layers: tuple[str, ...],
    window: tuple[int, int],
    params: Mapping[str, Any],
    picture: Array,
    place: Place,
) -> dict[str, Array]:
    seen = objective.colors(crop(picture, place.start, window))
    return vgg.features(params, seen, layers, objective.pooling, objective.padding, EXACT)


_features_of_window = jit(_features_in, static_argnums=(0, 1, 2))


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
    return functools.reduce(added, map(of_tile, tiles))


@functools.partial(jit, static_argnums=(0, 1))
def _sums_of_style_tile(
    objective: Objective,
    window: tuple[int, int],
    params: Mapping[str, Any],
    style: Array,
    regions: list[dict[str, Array]],
    place: Place,
) -> dict[str, Any]:
    seen = objective.colors(crop(style, place.start, window))
    view = view_of(objective, params, objective.style_layers, seen, regions, place)
    return {term.name: term.sums_of_style(view) for term in objective.terms if isinstance(term, terms.Style)}


@functools.partial(jit, donate_argnums=0)
def added(sums: Any, others: Any) -> Any:
    """Adds the sums of two parts of a picture; the first are used up."""
    return jax.tree.map(jnp.add, sums, others)


# --- One window


def content_at(
    content: Mapping[str, np.ndarray] | Recomputed | None, place: Place, window: tuple[int, int]
) -> Mapping[str, np.ndarray] | Recomputed | None:
    """Returns what a compiled program needs of `TiledTargets.content` for one window."""
    if not isinstance(content, Mapping):
        return content

    def part(layer: str) -> tuple[slice, ...]:
        stride = vgg.stride(layer)
        return tuple(
            slice(start // stride, start // stride + side // stride)
            for start, side in zip(place.start, window, strict=True)
        )

    return {layer: of_layer[part(layer)] for layer, of_layer in content.items()}


def targets_at(
    objective: Objective,
    targets: TiledTargets,
    content: Mapping[str, Array] | Recomputed | None,
    place: Place,
    window: tuple[int, int],
) -> dict[str, Any]:
    """Returns every term's target in one window; `content` from `content_at`."""
    if isinstance(content, Recomputed):
        layers = _content_layers(objective)
        content = _features_in(objective, layers, window, content.params, content.picture, place)
    view = terms.View(jnp.zeros((*window, 3)), content or {})  # these terms do not look at pixels
    return {**targets.terms, **{term.name: term.target(view, []) for term in by_position(objective)}}


def view_of(
    objective: Objective,
    params: Mapping[str, Any],
    layers: Sequence[str],
    seen: Float[Array, "h w 3"],
    regions: Iterable[Mapping[str, Array]],
    place: Place,
    precision: lax.Precision = EXACT,
) -> terms.View:
    """Computes the features of a window, of which its tile's positions count; `regions` are not cut yet."""
    window = (seen.shape[0], seen.shape[1])
    features = vgg.features(params, seen, layers, objective.pooling, objective.padding, precision)
    cropped = [
        {layer: crop_layer(guide, layer, place, window) for layer, guide in region.items()}
        for region in regions
    ]
    return terms.View(seen, features, cropped, counted(layers, place, window))
