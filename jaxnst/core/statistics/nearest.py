"""Statistics that compare each piece of the picture with the most similar piece of the style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from jaxnst.core.statistics.moments import unless_empty, wide

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Region(NamedTuple):
    """Holds the features themselves, for statistics that need every position.

    Attributes:
      features: `[H, W, C]`.
      guide: `[H, W]`, the share of each position that belongs to the region, 0 to 1.
    """

    features: Float[Array, "h w c"]
    guide: Float[Array, "h w"]


@dataclass(frozen=True)
class NearestPatches:
    """Compares each patch with the style's most similar patch: mean of `(p - p'_nearest)^2`.

    The mean is taken over patches and elements. The most similar patch has the highest normalised
    correlation, `<p, p'> / (|p| |p'|)`; no gradient passes through the choice. Patches lie within the feature
    map. The guide at the centre of a patch says how much the patch belongs to the region. The search compares
    all patches with all, so it suits layers of a few thousand positions.

    Attributes:
      size: side of the patches, in positions (default 3).

    Raises:
      ValueError: the size is less than 1.

    Source: Li and Wand 2016, Combining Markov random fields and convolutional neural networks for image
    synthesis, eq. 2-3, with a sum in place of the mean.
    """

    size: int = 3

    def __post_init__(self) -> None:
        """Checks that `size` is at least 1."""
        if self.size < 1:
            raise ValueError(f"size is {self.size}; patches have at least 1 position")

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Region:
        """Returns the features themselves.

        Raises:
          ValueError: the feature map is smaller than a patch.
        """
        if min(guide.shape) < self.size:
            height, width = guide.shape
            raise ValueError(f"the feature map, {height}x{width}, has no patch of {self.size}x{self.size}")
        return Region(wide(features), guide)

    def distance(self, summary: Region, target: Region) -> Float[Array, ""]:
        """Returns the mean over the picture's patches, weighted by the guide at their centres."""
        patches, shares = self._patches(summary)
        style_patches, style_shares = self._patches(target)
        nearest = style_patches[find_nearest(patches, style_patches, style_shares > 0)]
        errors = jnp.mean(jnp.square(patches - jax.lax.stop_gradient(nearest)), axis=-1)
        return _weighted_mean(errors, shares, jnp.sum(style_shares))

    def _patches(self, region: Region) -> tuple[Float[Array, "m p"], Float[Array, " m"]]:
        height, width = (side - self.size + 1 for side in region.guide.shape)
        shifts = [(row, column) for row in range(self.size) for column in range(self.size)]
        patches = [region.features[row : row + height, column : column + width] for row, column in shifts]
        middle = self.size // 2
        centres = region.guide[middle : middle + height, middle : middle + width]
        return jnp.concatenate(patches, axis=-1).reshape(height * width, -1), centres.reshape(-1)


@dataclass(frozen=True)
class NearestFeatures:
    """Compares each position with the style's most similar one: mean of `min_j 1 - cos(f, f'_j)`.

    The distance between features that are all zero and any others is 1, with a gradient of zero.

    Source: Zhang et al. 2022, ARF: artistic radiance fields (nearest neighbour feature matching).
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Region:
        """Returns the features themselves."""
        return Region(wide(features), guide)

    def distance(self, summary: Region, target: Region) -> Float[Array, ""]:
        """Returns the mean over the picture's positions, weighted by the guide."""
        ours, theirs = (
            unit(region.features.reshape(-1, region.features.shape[-1])) for region in (summary, target)
        )
        style_shares = target.guide.reshape(-1)
        nearest = jax.lax.stop_gradient(theirs[find_nearest(ours, theirs, style_shares > 0)])
        errors = jnp.maximum(1 - jnp.sum(ours * nearest, axis=-1), 0)
        return _weighted_mean(errors, summary.guide.reshape(-1), jnp.sum(style_shares))


def cosine_distances(a: Float[Array, "m c"], b: Float[Array, "n c"]) -> Float[Array, "m n"]:
    """Computes `1 - cos(a_i, b_j)`; it is 1, with a gradient of zero, where a vector is zero."""
    return jnp.maximum(1 - jnp.matmul(unit(a), unit(b).T, precision="highest"), 0)


def euclidean_distances(a: Float[Array, "m c"], b: Float[Array, "n c"]) -> Float[Array, "m n"]:
    """Computes `|a_i - b_j|`, for a few channels; the gradient at zero is zero."""
    squares = jnp.sum(jnp.square(a[:, None] - b[None]), axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


@dataclass(frozen=True)
class RelaxedEMD:
    """Compares two sets of features by a lower bound of the earth mover's distance.

    Each position goes to the nearest one of the other picture, and the larger of the two mean distances
    counts: `max(mean_i min_j C_ij, mean_j min_i C_ij)`. All pairs are computed at once, which suits a few
    thousand positions.

    Attributes:
      distances: `cosine_distances` (the default) or `euclidean_distances`.

    Source: Kolkin et al. 2019, Style transfer by relaxed optimal transport and self-similarity.
    """

    distances: Callable[[Array, Array], Array] = cosine_distances

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Region:
        """Returns the features themselves."""
        return Region(wide(features), guide)

    def distance(self, summary: Region, target: Region) -> Float[Array, ""]:
        """Returns the larger mean, weighted by guides; positions outside a region are no one's nearest."""
        ours, theirs = (
            region.features.reshape(-1, region.features.shape[-1]) for region in (summary, target)
        )
        shares, style_shares = summary.guide.reshape(-1), target.guide.reshape(-1)
        costs = self.distances(ours, theirs)
        to_style = jnp.min(jnp.where(style_shares > 0, costs, jnp.inf), axis=1)
        to_picture = jnp.min(jnp.where(shares[:, None] > 0, costs, jnp.inf), axis=0)
        size, style_size = jnp.sum(shares), jnp.sum(style_shares)
        return jnp.maximum(
            _weighted_mean(to_style, shares, style_size), _weighted_mean(to_picture, style_shares, size)
        )


def find_nearest(
    queries: Float[Array, "m p"], candidates: Float[Array, "n p"], eligible: Float[Array, " n"]
) -> Int[Array, " m"]:
    """Finds the eligible candidate with the highest normalised correlation, for each query.

    No gradient passes through the result. Queries are processed in batches of at most 2^24 similarities,
    which take 64 MB.

    Args:
      queries: `[M, P]`.
      candidates: `[N, P]`.
      eligible: booleans `[N]`; false excludes a candidate.

    Returns:
      Indices of candidates, `[M]`.
    """
    queries, candidates = jax.lax.stop_gradient((queries, unit(candidates)))

    def find(query: Array) -> Array:
        similarity = jnp.matmul(query, candidates.T, precision="highest")
        return jnp.argmax(jnp.where(eligible, similarity, -jnp.inf))

    return jax.lax.map(find, queries, batch_size=max(1, 2**24 // candidates.shape[0]))


def unit(vectors: Float[Array, "m p"]) -> Float[Array, "m p"]:
    """Divides each vector by its length; zeros stay zeros, with a gradient of zero."""
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    nonzero = squares > 0
    return vectors * jnp.where(nonzero, jax.lax.rsqrt(jnp.where(nonzero, squares, 1)), 0)


def _weighted_mean(values: Array, shares: Array, target_size: Array) -> Float[Array, ""]:
    size = jnp.sum(shares)
    mean = jnp.sum(shares * values) / jnp.where(size > 0, size, 1)
    return unless_empty(mean, size, target_size)
