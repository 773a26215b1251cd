"""Statistics that compare distributions of features along directions, by sorting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core.statistics.moments import unless_empty, wide

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Quantiles(NamedTuple):
    """Holds the distributions of a region's features along several directions, sorted by value.

    Attributes:
      values: ascending; positions outside the region come last and repeat the region's largest value.
      levels: the share of the region below each value, plus half of the value's own share, 0 to 1.
      shares: the share of the region that each position has; their sum is 1, or 0 if the region is empty.
    """

    values: Float[Array, "k m"]
    levels: Float[Array, "k m"]
    shares: Float[Array, "k m"]


def find_quantiles(values: Float[Array, "k m"], shares: Float[Array, " m"]) -> Quantiles:
    """Sorts the features of a region along each direction.

    Args:
      values: `[K, M]`, for each of `K` directions the values at `M` positions.
      shares: `[M]`, the share of each position that belongs to the region; positions with 0 have no
        influence.
    """
    inside = shares > 0
    keys = jax.lax.stop_gradient(jnp.where(inside, values, jnp.inf))
    order = jnp.argsort(keys, axis=-1)
    values, shares = jnp.take_along_axis(values, order, axis=-1), jnp.take(shares, order)
    largest = values[:, jnp.maximum(jnp.sum(inside) - 1, 0), None]
    cumulative = jnp.cumsum(shares, axis=-1)
    size = jnp.where(cumulative[:, -1:] > 0, cumulative[:, -1:], 1)
    return Quantiles(jnp.where(shares > 0, values, largest), (cumulative - shares / 2) / size, shares / size)


def quantile_distance(summary: Quantiles, target: Quantiles) -> Float[Array, ""]:
    """Computes the squared 2-Wasserstein distance in one dimension, averaged over the directions.

    The distance is `sum_i w_i (v_i - Q'(level_i))^2`, where `v` are the picture's values, `w` their shares
    and `Q'` is the target's quantile function, linear between its levels. `Q'(level_i)` counts as a constant,
    so the gradient is `2 w (v - Q')`.

    Args:
      summary: quantiles of the picture being made.
      target: quantiles of the style picture.

    Returns:
      A scalar.
    """
    matched = jax.lax.stop_gradient(jax.vmap(jnp.interp)(summary.levels, target.levels, target.values))
    distance = jnp.mean(jnp.sum(summary.shares * jnp.square(summary.values - matched), axis=-1))
    return unless_empty(distance, jnp.sum(summary.shares), jnp.sum(target.shares))


@dataclass(frozen=True)
class SlicedWasserstein:
    """Compares the distributions of features along random directions by `quantile_distance`.

    Heitz et al. draw new directions at each step. Here the seed fixes the directions, so that the loss is a
    function of the picture. In layers of many positions sorting costs a CPU more than the network; fewer
    directions make it cheaper.

    Attributes:
      directions: number of directions (default: the number of channels). The first `channels` directions are
        orthogonal to each other, and so are the next `channels`, and so on.
      seed: seed of the directions (default 0).

    Raises:
      ValueError: the number of directions is less than 1.

    Source: Heitz et al. 2021, A sliced Wasserstein loss for neural texture synthesis.
    """

    directions: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks that `directions` is at least 1."""
        if self.directions is not None and self.directions < 1:
            raise ValueError(f"directions is {self.directions}; at least 1 is needed")

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Quantiles:
        """Returns the sorted projections of the features onto the directions."""
        channels = features.shape[-1]
        count = channels if self.directions is None else self.directions
        generator = np.random.default_rng(self.seed)
        bases = [
            np.linalg.qr(generator.standard_normal((channels, channels)))[0]
            for _ in range(-(-count // channels))
        ]
        flat = wide(features).reshape(-1, channels)
        directions = jnp.asarray(np.concatenate(bases)[:count], flat.dtype)
        return find_quantiles(jnp.matmul(directions, flat.T, precision="highest"), guide.reshape(-1))

    def distance(self, summary: Quantiles, target: Quantiles) -> Float[Array, ""]:
        """Returns the mean distance over the directions."""
        return quantile_distance(summary, target)


@dataclass(frozen=True)
class Histogram:
    """Compares the distribution of each channel with the style's by `quantile_distance`.

    Sorting makes this exact, where the paper uses histograms of 256 bins.

    Source: Risser et al. 2017, Stable and controllable neural texture synthesis and style transfer using
    histogram losses.
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Quantiles:
        """Returns the sorted values of every channel."""
        return find_quantiles(wide(features).reshape(-1, features.shape[-1]).T, guide.reshape(-1))

    def distance(self, summary: Quantiles, target: Quantiles) -> Float[Array, ""]:
        """Returns the mean distance over the channels."""
        return quantile_distance(summary, target)
