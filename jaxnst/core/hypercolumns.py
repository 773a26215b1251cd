"""Terms that compare hypercolumns: the features of several layers at one position, joined to one vector.

They look at a grid of positions, and between the positions of a layer they interpolate. A run draws a new
grid at each step: each row of it lies somewhere within its own strip of the picture, and so does each column.

Source: Hariharan et al. 2015, Hypercolumns for object segmentation and fine-grained localization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import vgg
from jaxnst.core.statistics.moments import unless_empty, wide
from jaxnst.core.statistics.nearest import cosine_distances, unit
from jaxnst.core.terms import Style, View
from jaxnst.core.transforms import LUMA

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.statistics import Statistic
    from jaxnst.core.terms import StyleTarget, StyleWeights

SAMPLES = 1024
"""Positions at which hypercolumns are compared, as in Kolkin et al. 2019."""

COLUMNS = "columns"
"""Stands for a layer where a term sees hypercolumns."""

_U, _V = 0.492, 0.877
YUV = np.array([LUMA, _U * (np.eye(3)[2] - LUMA), _V * (np.eye(3)[0] - LUMA)])
"""Rows turn RGB into Y, U and V (ITU-R BT.601), which are less correlated than red, green and blue."""


def grid(
    size: tuple[int, int], samples: int = SAMPLES, key: PRNGKeyArray | None = None
) -> tuple[Float[Array, " rows"], Float[Array, " columns"]]:
    """Chooses positions in a picture: the crossings of some rows and columns.

    Args:
      size: height and width of the picture, in pixels.
      samples: most positions; a picture with no more pixels is taken whole.
      key: randomness; None: rows and columns lie in the middle of their strips.

    Returns:
      Rows and columns, in pixels from the middle of the first pixel.
    """
    spacing = max(1.0, math.sqrt(size[0] * size[1] / samples))
    keys = (None, None) if key is None or spacing == 1 else jax.random.split(key)
    middles = []
    for side, side_key in zip(size, keys, strict=True):
        strips = max(1, int(side / spacing))
        inside = 0.5 if side_key is None else jax.random.uniform(side_key, (strips,))
        middles.append((jnp.arange(strips) + inside) * (side / strips) - 0.5)
    return middles[0], middles[1]


def sample(
    values: Float[Array, "h w c"],
    positions: tuple[Float[Array, " rows"], Float[Array, " columns"]],
    size: tuple[int, int],
) -> Float[Array, "rows columns c"]:
    """Interpolates bilinearly between the positions of a layer that is enlarged to the picture's size.

    Args:
      values: features of a layer, `[H_l, W_l, C_l]`.
      positions: from `grid`.
      size: height and width of the picture, in pixels.

    Returns:
      The values at each crossing.
    """
    # Products with matrices of few nonzero elements; gathering is slow on accelerators, and so is its
    # gradient on a CPU.
    rows, columns = (
        _tents((middles + 0.5) * (side / pixels) - 0.5, side)
        for middles, side, pixels in zip(positions, values.shape[:2], size, strict=True)
    )
    at_rows = jnp.einsum("ih,hwc->iwc", rows, wide(values), precision="highest")
    return jnp.einsum("jw,iwc->ijc", columns, at_rows, precision="highest")


def _tents(places: Float[Array, " n"], side: int) -> Float[Array, "n side"]:
    inside = jnp.clip(places, 0, side - 1)
    return jnp.maximum(1 - jnp.abs(inside[:, None] - jnp.arange(side)), 0)


def join(view: View, layers: Sequence[str], samples: int = SAMPLES) -> View:
    """Makes a view whose only layer, `COLUMNS`, has hypercolumns at some positions.

    Args:
      view: of a picture.
      layers: whose features are joined, in this order; without any the hypercolumns are colours, in YUV.
      samples: most positions, in each orientation of the picture.

    Returns:
      The view; a position's guide is that at the first layer of the guides.
    """
    views = [_join_one(part, layers, samples) for part in (view, *view.turned)]
    if len(views) == 1:
        return views[0]
    flat = [part.features[COLUMNS].reshape(1, -1, part.features[COLUMNS].shape[-1]) for part in views]
    shares = [[region[COLUMNS].reshape(1, -1) for region in part.guides] for part in views]
    return View(
        view.image,
        {COLUMNS: jnp.concatenate(flat, axis=1)},
        [{COLUMNS: jnp.concatenate(parts, axis=1)} for parts in zip(*shares, strict=True)],
    )


def _join_one(view: View, layers: Sequence[str], samples: int) -> View:
    size = (view.image.shape[0], view.image.shape[1])
    positions = grid(size, samples, view.key)
    if layers:
        parts = [sample(view.features[layer], positions, size) for layer in layers]
    else:
        colors = jnp.matmul(view.image, jnp.asarray(YUV.T, view.image.dtype), precision="highest")
        parts = [sample(colors, positions, size)]
    guides = []
    for region in view.guides:
        guide = next(iter(region.values()))
        guides.append({COLUMNS: sample(guide[..., None], positions, size)[..., 0]})
    return View(view.image, {COLUMNS: jnp.concatenate(parts, axis=-1)}, guides)


def _flat(view: View) -> Float[Array, "n c"]:
    columns = view.features[COLUMNS]
    return columns.reshape(-1, columns.shape[-1])


@dataclass(frozen=True)
class StyleColumns:
    """Compares statistics of hypercolumns, or of colours, with those of each style picture.

    Apart from what it sees it is a `Style` with one layer; so are its loss weights, one for each statistic.

    Attributes:
      layers: whose features are joined.
      statistics: of the hypercolumns.
      samples: most positions.
      colors: whether to compare colours; the layers, one of them, then only say which part of the picture is
        a style's.
      name: key of the term.

    Source: Kolkin et al. 2019, Style transfer by relaxed optimal transport and self-similarity.
    """

    layers: tuple[str, ...]
    statistics: tuple[Statistic, ...]
    samples: int = SAMPLES
    colors: bool = False
    name: str = "style"

    @property
    def _style(self) -> Style:
        return Style((COLUMNS,) * len(self.statistics), self.statistics, self.name)

    def _seen(self, view: View) -> View:
        if self.colors:
            return join(view._replace(turned=()), (), self.samples)
        return join(view, self.layers, self.samples)

    def target(self, content: View | None, styles: Sequence[View]) -> StyleTarget:
        """Computes the statistics of every style picture."""
        return self._style.target(content, list(map(self._seen, styles)))

    def sums(self, picture: View, target: StyleTarget) -> Any:
        """Computes, for each style, the statistics of the picture within the style's region."""
        return self._style.sums(self._seen(picture), target)

    def loss(self, sums: Any, target: StyleTarget, loss_weights: StyleWeights) -> Float[Array, ""]:
        """Returns the weighted sum over styles and statistics."""
        return self._style.loss(sums, target, loss_weights)


@dataclass(frozen=True)
class SelfSimilarity:
    """Compares how similar the positions of a picture are to each other with how similar the content's are.

    With the cosine distances `D_ij` between hypercolumns, each column divided by its sum, the loss is
    `1/n sum_ij |D_ij / sum_i D_ij - D'_ij / sum_i D'_ij|`. That is n times the paper's: its mean over all
    pairs would fall with the number of positions. There are no loss weights within this term.

    Attributes:
      layers: whose features are joined.
      samples: most positions; the content is seen at the same ones.
      name: key of the term.

    Source: Kolkin et al. 2019, Style transfer by relaxed optimal transport and self-similarity.
    """

    layers: tuple[str, ...]
    samples: int = SAMPLES
    name: str = "content"

    def target(self, content: View | None, styles: Sequence[View]) -> dict[str, Array]:
        """Returns the feature maps of the content picture, or nothing if there is none."""
        del styles
        return _maps(content, self.layers)

    def sums(self, picture: View, target: Mapping[str, Array]) -> Float[Array, ""]:
        """Returns the loss: every position is compared with every other, so parts do not add up."""
        if not self.layers:
            return jnp.zeros(())
        ours, theirs = (
            self._relative_distances(_flat(join(view, self.layers, self.samples)))
            for view in (picture, picture._replace(features=target))
        )
        return jnp.sum(jnp.abs(ours - theirs)) / ours.shape[0]

    def loss(self, sums: Float[Array, ""], target: Any, loss_weights: Any) -> Float[Array, ""]:
        """Returns `sums`, which is the loss already."""
        del target, loss_weights
        return sums

    def _relative_distances(self, columns: Float[Array, "n c"]) -> Float[Array, "n n"]:
        distances = cosine_distances(columns, columns)
        return distances / jnp.maximum(jnp.sum(distances, axis=0), 1e-6)


def _maps(content: View | None, layers: Sequence[str]) -> dict[str, Array]:
    return {layer: content.features[layer] for layer in layers} if content is not None else {}


class NeighborWeights(NamedTuple):
    """Holds the loss weights within `Neighbors`, traced.

    Attributes:
      styles: one value for each style picture.
      content_share: share of the content's features in those for which neighbours are sought.
      split: whether each layer has neighbours of its own, 0 or 1.
    """

    styles: Float[Array, " styles"]
    content_share: Float[Array, ""]
    split: Float[Array, ""]


class NeighborTarget(NamedTuple):
    """Holds the features of content and styles.

    Attributes:
      content: feature maps by layer.
      styles: for each style picture hypercolumns `[M, D]`, and each one's share of the style, `[M]`.
    """

    content: Mapping[str, Float[Array, "h_l w_l c_l"]]
    styles: tuple[tuple[Float[Array, "m d"], Float[Array, " m"]], ...]


@dataclass(frozen=True)
class Neighbors:
    """Moves each hypercolumn towards the style's most similar one: mean of `1 - cos(x_i, s_n(i))`.

    The neighbour `n(i)` has the highest correlation with a mixture of the picture's and the content's
    hypercolumn at the position, where the mean over positions is subtracted from both sides first. No
    gradient passes through the choice. If the layers are split, each seeks its own neighbours and the loss is
    the mean over the layers.

    The paper seeks neighbours once for each scale, and at every step only when the layers are split; here
    they are sought at every step, at the positions that the step looks at.

    Attributes:
      layers: whose features are joined.
      samples: most positions, of the picture and of each orientation of a style picture.
      name: key of the term.

    Source: Kolkin et al. 2022, Neural neighbor style transfer, section 3.
    """

    layers: tuple[str, ...]
    samples: int = SAMPLES
    name: str = "style"

    def target(self, content: View | None, styles: Sequence[View]) -> NeighborTarget:
        """Returns the content's feature maps and the styles' hypercolumns."""
        columns = [join(style, self.layers, self.samples) for style in styles]
        return NeighborTarget(
            _maps(content, self.layers),
            tuple((_flat(style), style.guide(COLUMNS).reshape(-1)) for style in columns),
        )

    def sums(self, picture: View, target: NeighborTarget) -> Any:
        """Returns hypercolumns of the picture and of the content, and the positions' shares of each style."""
        ours = join(picture, self.layers, self.samples)
        content = join(picture._replace(features=target.content), self.layers, self.samples)
        shares = tuple(ours.guide(COLUMNS, index).reshape(-1) for index in range(len(target.styles)))
        return _flat(ours), _flat(content), shares

    def loss(self, sums: Any, target: NeighborTarget, loss_weights: NeighborWeights) -> Float[Array, ""]:
        """Returns the weighted sum over the styles."""
        ours, content, all_shares = sums
        share = loss_weights.content_share
        queries = jax.lax.stop_gradient(share * content + (1 - share) * ours)
        total = jnp.zeros(())
        styles = zip(target.styles, all_shares, loss_weights.styles, strict=True)
        for (theirs, style_shares), shares, factor in styles:
            errors = self._errors(ours, _centred(queries, shares), theirs, style_shares, loss_weights.split)
            size = jnp.sum(shares)
            mean = jnp.sum(shares * errors) / jnp.where(size > 0, size, 1)
            total += factor * unless_empty(mean, size, jnp.sum(style_shares))
        return total

    def _errors(
        self, ours: Array, queries: Array, theirs: Array, style_shares: Array, split: Array
    ) -> Float[Array, " n"]:
        ends = np.cumsum([vgg.channels(layer) for layer in self.layers])
        layers = [slice(end - vgg.channels(layer), end) for layer, end in zip(self.layers, ends, strict=True)]
        candidates = _centred(theirs, style_shares)
        products = [
            jnp.matmul(queries[:, layer], candidates[:, layer].T, precision="highest") for layer in layers
        ]
        joint = sum(products, start=jnp.zeros(())) * _inverse_length(candidates)
        neighbors = []
        for layer, product in zip(layers, products, strict=True):
            similarity = jnp.where(split > 0, product * _inverse_length(candidates[:, layer]), joint)
            nearest = jnp.argmax(jnp.where(style_shares > 0, similarity, -jnp.inf), axis=1)
            neighbors.append(theirs[nearest, layer])
        by_layer = [
            _cosine_error(ours[:, layer], near) for layer, near in zip(layers, neighbors, strict=True)
        ]
        whole = _cosine_error(ours, jnp.concatenate(neighbors, axis=-1))
        return jnp.where(split > 0, jnp.mean(jnp.stack(by_layer), axis=0), whole)


def _centred(columns: Float[Array, "n c"], shares: Float[Array, " n"]) -> Float[Array, "n c"]:
    size = jnp.sum(shares)
    return columns - jnp.matmul(shares, columns, precision="highest") / jnp.where(size > 0, size, 1)


def _inverse_length(columns: Float[Array, "n c"]) -> Float[Array, " n"]:
    squares = jnp.sum(jnp.square(columns), axis=-1)
    return jnp.where(squares > 0, jax.lax.rsqrt(jnp.where(squares > 0, squares, 1)), 0)


def _cosine_error(a: Float[Array, "n c"], b: Float[Array, "n c"]) -> Float[Array, " n"]:
    return 1 - jnp.sum(unit(a) * unit(b), axis=-1)
