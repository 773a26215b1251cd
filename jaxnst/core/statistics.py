"""Style statistics: what is kept of a picture's features at one layer, and how far two pictures' are apart.

    target = statistic(style_features, style_guide)
    loss = statistic.distance(statistic(features, guide), target)

Features are `[H, W, C]`, of any number of positions. A guide `[H, W]` is each position's share of the region
that counts, 0 to 1; ones are the whole picture. An empty region is at distance zero from everything: there is
nothing to compare. Statistics that are sums over positions stay sums until `distance` divides them, so that
the statistics of a picture's tiles, or of regions that partition it, add up to the picture's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import losses

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST


class Statistic(Protocol):
    """What two pictures of one style have in common; hashable, static under `jit`."""

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Any:
        """What is kept of a picture's features within a region, as a pytree."""
        ...

    def distance(self, found: Any, target: Any) -> Float[Array, ""]:
        """How far the picture being made is from the style, both as `__call__` returned them."""
        ...


class Moments(NamedTuple):
    """Sums over the positions of a region; those of disjoint regions add up.

    Attributes:
      weight: `W = sum g`, the region's size in positions.
      first: `sum g f`.
      second: `sum g f f^T`, or its diagonal.
    """

    weight: Float[Array, ""]
    first: Float[Array, " c"]
    second: Float[Array, "c c"] | Float[Array, " c"]


def sum_moments(features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
    """First and second moments of the features within a region, uncentred and not divided."""
    flat, weights = features.reshape(-1, features.shape[-1]), guide.reshape(-1)
    weighted = weights[:, None] * flat
    second = jnp.matmul(weighted.T, flat, precision=HIGHEST)
    return Moments(jnp.sum(weights), jnp.sum(weighted, axis=0), second)


def _per_position(sums: Moments) -> Moments:
    weight = jnp.where(sums.weight > 0, sums.weight, 1)
    return Moments(weight, sums.first / weight, sums.second / weight)


def _covariance(mean: Moments) -> Float[Array, "c c"]:
    return mean.second - jnp.outer(mean.first, mean.first)


def _unless_empty(distance: Array, found_weight: Array, target_weight: Array) -> Float[Array, ""]:
    return jnp.where((found_weight > 0) & (target_weight > 0), distance, 0)


@dataclass(frozen=True)
class Gram:
    """Gram matrices: `norm(sum g f f^T / W - sum g' f' f'^T / W')`, times the form's factor.

    Attributes:
      form: a value of `losses.GRAM_FORMS`, which sees `W` as the number of positions. With whole pictures of
        equal size each is literally its published formula; otherwise the style's Gram matrix counts as if
        that region were as large as the picture's.
      norm: a value of `losses.NORMS`.

    Source: Gatys et al. 2016, eq. 3-4; with guides Gatys et al. 2017, Controlling perceptual factors in
    neural style transfer, section 4, where features are multiplied by `T`, `sum T^2 = 1`: `T^2` is `g / W`.
    """

    form: losses.GramForm = losses.gram_gatys
    norm: losses.Norm = losses.NORMS["l2"]

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Sums; the Gram matrix is `second`."""
        return sum_moments(features, guide)

    def distance(self, found: Moments, target: Moments) -> Float[Array, ""]:
        """Distance of the Gram matrices per position."""
        difference = _per_position(found).second - _per_position(target).second
        return _of_matrices(self.form, self.norm, difference, found, target)


@dataclass(frozen=True)
class Covariance:
    """As `Gram`, of the features less their mean `m` over the region: `sum g f f^T / W - m m^T`.

    Attributes:
      form: a value of `losses.GRAM_FORMS`.
      norm: a value of `losses.NORMS`.

    Source: Sun and Saenko 2016, Deep CORAL: correlation alignment for deep domain adaptation.
    """

    form: losses.GramForm = losses.gram_gatys
    norm: losses.Norm = losses.NORMS["l2"]

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Sums, uncentred."""
        return sum_moments(features, guide)

    def distance(self, found: Moments, target: Moments) -> Float[Array, ""]:
        """Distance of the covariance matrices."""
        difference = _covariance(_per_position(found)) - _covariance(_per_position(target))
        return _of_matrices(self.form, self.norm, difference, found, target)


def _of_matrices(
    form: losses.GramForm, norm: losses.Norm, difference: Array, found: Moments, target: Moments
) -> Float[Array, ""]:
    positions: Any = _per_position(
        found
    ).weight  # traced, and a fraction with soft guides: the forms only multiply
    distance = norm.distance(difference, form(difference.shape[0], positions, norm.degree))
    return _unless_empty(distance, found.weight, target.weight)


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of each channel: `1/N sum_c (m - m')^2 + (s - s')^2`.

    Source: Li et al. 2017, Demystifying neural style transfer (batch normalisation statistics).
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Sums; `second` has the squares alone."""
        weighted = guide[..., None] * features
        return Moments(
            jnp.sum(guide), jnp.sum(weighted, axis=(0, 1)), jnp.sum(weighted * features, axis=(0, 1))
        )

    def distance(self, found: Moments, target: Moments) -> Float[Array, ""]:
        """Mean over the channels."""
        ours, theirs = _per_position(found), _per_position(target)
        distance = jnp.mean(jnp.square(ours.first - theirs.first) + jnp.square(_std(ours) - _std(theirs)))
        return _unless_empty(distance, found.weight, target.weight)


def _std(mean: Moments) -> Float[Array, " c"]:
    variance = mean.second - jnp.square(mean.first)
    # A variance lost in rounding counts as zero, and so does its gradient, which would be infinite.
    sure = variance > 8 * jnp.finfo(variance.dtype).eps * mean.second
    return jnp.where(sure, jnp.sqrt(jnp.where(sure, variance, 1)), 0)


@dataclass(frozen=True)
class Wasserstein:
    """Squared 2-Wasserstein distance of the Gaussians with the features' means and covariances, per channel.

    `1/N (|m - m'|^2 + tr(S + S' - 2 (S'^1/2 S S'^1/2)^1/2))`. Both covariances have `blur` times the mean
    square of both pictures' features added on the diagonal: that of fewer positions than channels would have
    no Cholesky factor, and the trace no gradient.

    Attributes:
      blur: variance added to every channel, as a part of the features' mean square. With 1e-3 float32 has
        gradients on VGG19's features right to 1e-4; distances of photos are less than 1 % below exact ones.

    Source: Dowson and Landau 1982, The Frechet distance between multivariate normal distributions; Olkin and
    Pukelsheim 1982. As a style loss: Crowson's later style transfer programs.
    """

    blur: float = 1e-3

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Sums, uncentred."""
        return sum_moments(features, guide)

    def distance(self, found: Moments, target: Moments) -> Float[Array, ""]:
        """Distance of the Gaussians."""
        ours, theirs = _per_position(found), _per_position(target)
        channels = ours.first.size
        # Relative to what the rounding errors are relative to: uncentred moments, of the larger side.
        squares = (jnp.trace(ours.second) + jnp.trace(theirs.second)) / (2 * channels)
        blur = (self.blur * squares + jnp.finfo(squares.dtype).tiny ** 0.5) * jnp.eye(
            channels, dtype=squares.dtype
        )
        S, S_style = _covariance(ours) + blur, _covariance(theirs) + blur
        # With S = L L^T and S' = K K^T the trace of the root is the sum of the singular values of K^T L. The
        # eigenvalues of K^T S K are their squares; float32 gets the gradient of their roots wrong by half.
        product = jnp.matmul(jnp.linalg.cholesky(S_style).T, jnp.linalg.cholesky(S), precision=HIGHEST)
        root = jnp.sum(jnp.linalg.svd(product, compute_uv=False))
        spread = jnp.maximum(jnp.trace(S) + jnp.trace(S_style) - 2 * root, 0)  # rounding may go below
        distance = (jnp.sum(jnp.square(ours.first - theirs.first)) + spread) / channels
        return _unless_empty(distance, found.weight, target.weight)


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
    return _unless_empty(distance, jnp.sum(found.weights), jnp.sum(target.weights))


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
        directions = jnp.asarray(np.concatenate(bases)[:count], jnp.result_type(features))
        flat = features.reshape(-1, channels)
        return find_quantiles(jnp.matmul(directions, flat.T, precision=HIGHEST), guide.reshape(-1))

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
        return find_quantiles(features.reshape(-1, features.shape[-1]).T, guide.reshape(-1))

    def distance(self, found: Quantiles, target: Quantiles) -> Float[Array, ""]:
        """Mean over the channels."""
        return quantile_distance(found, target)


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
        return Region(features, guide)

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
        return Region(features, guide)

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
        similarity = jnp.matmul(query, candidates.T, precision=HIGHEST)
        return jnp.argmax(jnp.where(eligible, similarity, -jnp.inf))

    return jax.lax.map(find, queries, batch_size=max(1, 2**24 // candidates.shape[0]))


def _unit(vectors: Float[Array, "m p"]) -> Float[Array, "m p"]:
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    some = squares > 0
    return vectors * jnp.where(some, jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)


def _weighted_mean(values: Array, weights: Array, target_weight: Array) -> Float[Array, ""]:
    total = jnp.sum(weights)
    mean = jnp.sum(weights * values) / jnp.where(total > 0, total, 1)
    return _unless_empty(mean, total, target_weight)


STATISTICS: Mapping[str, Callable[[losses.GramForm, losses.Norm], Statistic]] = {
    "gram": Gram,
    "covariance": Covariance,
    "mean_std": lambda form, norm: MeanStd(),
    "wasserstein": lambda form, norm: Wasserstein(),
    "sliced_wasserstein": lambda form, norm: SlicedWasserstein(),
    "histogram": lambda form, norm: Histogram(),
    "patches": lambda form, norm: NearestPatches(),
    "nnfm": lambda form, norm: NearestFeatures(),
}
"""From a Gram form and a norm, which all but the first two ignore, to a statistic."""
