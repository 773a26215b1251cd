"""Statistics that keep where things stand: each piece of the picture beside the style's most similar one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from jaxnst.core.statistics.moments import unless_empty, wide

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Region(NamedTuple):
    """Features as they are, for statistics that keep where things stand.

    Attributes:
      features: `[H, W, C]`.
      guide: `[H, W]`.
    """

    features: Float[Array, "h w c"]
    guide: Float[Array, "h w"]


@dataclass(frozen=True)
class NearestPatches:
    """Each patch like the style's most similar one: mean of `(p - p'_nearest)^2` over patches and elements.

    Similar is what has the highest `<p, p'> / (|p| |p'|)`; no gradient passes through the choice. A patch
    belongs to the region by its centre, and counts by the guide there. Patches lie within the feature map.
    The search compares all with all, for layers of a few thousand positions.

    Attributes:
      size: side of the patches, in positions.

    Source: Li and Wand 2016, Combining Markov random fields and convolutional neural networks for image
    synthesis, eq. 2-3, who sum where this takes the mean.
    """

    size: int = 3

    def __post_init__(self) -> None:
        """Refuse to compare nothing."""
        if self.size < 1:
            raise ValueError(f"size is {self.size}; patches have at least 1 position")

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Region:
        """The features themselves.

        Raises:
          ValueError: the feature map is smaller than a patch.
        """
        if min(guide.shape) < self.size:
            height, width = guide.shape
            raise ValueError(f"the feature map, {height}x{width}, has no patch of {self.size}x{self.size}")
        return Region(wide(features), guide)

    def distance(self, found: Region, target: Region) -> Float[Array, ""]:
        """Mean over the found patches, weighted by the guide at their centres."""
        ours, weights = self._patches(found)
        theirs, shares = self._patches(target)
        nearest = theirs[find_nearest(ours, theirs, shares > 0)]
        errors = jnp.mean(jnp.square(ours - jax.lax.stop_gradient(nearest)), axis=-1)
        return _weighted_mean(errors, weights, jnp.sum(shares))

    def _patches(self, region: Region) -> tuple[Float[Array, "m p"], Float[Array, " m"]]:
        height, width = (side - self.size + 1 for side in region.guide.shape)
        shifts = [(row, column) for row in range(self.size) for column in range(self.size)]
        patches = [region.features[row : row + height, column : column + width] for row, column in shifts]
        middle = self.size // 2
        centres = region.guide[middle : middle + height, middle : middle + width]
        return jnp.concatenate(patches, axis=-1).reshape(height * width, -1), centres.reshape(-1)


@dataclass(frozen=True)
class NearestFeatures:
    """Each position like the style's most similar one: mean over positions of `min_j 1 - cos(f, f'_j)`.

    Features that are all zero are at distance 1 from everything, and have no gradient.

    Source: Zhang et al. 2022, ARF: artistic radiance fields (nearest neighbour feature matching).
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Region:
        """The features themselves."""
        return Region(wide(features), guide)

    def distance(self, found: Region, target: Region) -> Float[Array, ""]:
        """Mean over the found positions, weighted by their guide."""
        ours, theirs = (
            _unit(region.features.reshape(-1, region.features.shape[-1])) for region in (found, target)
        )
        shares = target.guide.reshape(-1)
        nearest = jax.lax.stop_gradient(theirs[find_nearest(ours, theirs, shares > 0)])
        return _weighted_mean(
            jnp.maximum(1 - jnp.sum(ours * nearest, axis=-1), 0), found.guide.reshape(-1), jnp.sum(shares)
        )


def find_nearest(
    queries: Float[Array, "m p"], candidates: Float[Array, "n p"], eligible: Float[Array, " n"]
) -> Int[Array, " m"]:
    """Which eligible candidate has the highest normalised correlation with each query; not differentiable.

    Similarities are computed for as many queries at a time as give 2^24 of them, 64 MB.
    """
    queries, candidates = jax.lax.stop_gradient((queries, _unit(candidates)))

    def find(query: Array) -> Array:
        similarity = jnp.matmul(query, candidates.T, precision="highest")
        return jnp.argmax(jnp.where(eligible, similarity, -jnp.inf))

    return jax.lax.map(find, queries, batch_size=max(1, 2**24 // candidates.shape[0]))


def _unit(vectors: Float[Array, "m p"]) -> Float[Array, "m p"]:
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    some = squares > 0
    return vectors * jnp.where(some, jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)


def _weighted_mean(values: Array, weights: Array, target_weight: Array) -> Float[Array, ""]:
    total = jnp.sum(weights)
    mean = jnp.sum(weights * values) / jnp.where(total > 0, total, 1)
    return unless_empty(mean, total, target_weight)
