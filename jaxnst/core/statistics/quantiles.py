"""Statistics of the distributions of the features along directions, by sorting."""

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
    """Distributions along several directions, in ascending order of the values.

    Attributes:
      values: positions outside the region stand at the end and repeat its largest value.
      levels: the part of the region below each value, half of its own weight included, 0 to 1.
      weights: each position's part of the region; their sum is 1, or 0 if the region is empty.
    """

    values: Float[Array, "k m"]
    levels: Float[Array, "k m"]
    weights: Float[Array, "k m"]


def find_quantiles(values: Float[Array, "k m"], weights: Float[Array, " m"]) -> Quantiles:
    """Sort `k` weighted samples of `m` values each; positions without weight have no influence."""
    inside = weights > 0
    keys = jax.lax.stop_gradient(jnp.where(inside, values, jnp.inf))
    order = jnp.argsort(keys, axis=-1)
    values, weights = jnp.take_along_axis(values, order, axis=-1), jnp.take(weights, order)
    largest = values[:, jnp.maximum(jnp.sum(inside) - 1, 0), None]
    below = jnp.cumsum(weights, axis=-1)
    total = jnp.where(below[:, -1:] > 0, below[:, -1:], 1)
    return Quantiles(jnp.where(weights > 0, values, largest), (below - weights / 2) / total, weights / total)


def quantile_distance(found: Quantiles, target: Quantiles) -> Float[Array, ""]:
    """Squared 2-Wasserstein distance in one dimension, averaged over the directions.

    `sum_i w_i (v_i - Q'(level_i))^2`; `Q'`, the target's quantile function, is linear between its levels.
    What `found` is matched to counts as constant: the gradient is `2 w (v - Q')`.
    """
    matched = jax.lax.stop_gradient(jax.vmap(jnp.interp)(found.levels, target.levels, target.values))
    distance = jnp.mean(jnp.sum(found.weights * jnp.square(found.values - matched), axis=-1))
    return unless_empty(distance, jnp.sum(found.weights), jnp.sum(target.weights))


@dataclass(frozen=True)
class SlicedWasserstein:
    """Distributions of the features along random directions: see `quantile_distance`.

    Heitz et al. draw new directions at each step. Here the seed fixes them: the loss stays a function. On a
    CPU, sorting costs more than the network in layers of many positions; fewer directions help.

    Attributes:
      directions: how many (default: as many as channels); of each `channels` directions all are orthogonal.
      seed: of the directions.

    Raises:
      ValueError: there are no directions.

    Source: Heitz et al. 2021, A sliced Wasserstein loss for neural texture synthesis.
    """

    directions: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse to compare nothing."""
        if self.directions is not None and self.directions < 1:
            raise ValueError(f"directions is {self.directions}; at least 1 is needed")

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Quantiles:
        """Sorted projections onto the directions."""
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

    def distance(self, found: Quantiles, target: Quantiles) -> Float[Array, ""]:
        """Mean over the directions."""
        return quantile_distance(found, target)


@dataclass(frozen=True)
class Histogram:
    """Distributions of the channels: each channel's distance to itself with the style's histogram.

    Exact, by sorting, where the paper has 256 bins: see `quantile_distance`.

    Source: Risser et al. 2017, Stable and controllable neural texture synthesis and style transfer using
    histogram losses.
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Quantiles:
        """Sorted channels."""
        return find_quantiles(wide(features).reshape(-1, features.shape[-1]).T, guide.reshape(-1))

    def distance(self, found: Quantiles, target: Quantiles) -> Float[Array, ""]:
        """Mean over the channels."""
        return quantile_distance(found, target)
