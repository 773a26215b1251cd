"""Statistics that are sums over positions: the first and second moments of the features.

A summary holds sums that only `distance` divides. So the summaries of a picture's tiles, or of regions that
partition the picture, add up to the summary of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxnst.core import losses

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Holds sums over the positions of a region, where `f` are features and `g` is the guide.

    Attributes:
      size: `W = sum g`, the size of the region in positions.
      first: `sum g f`.
      second: `sum g f f^T`, or its diagonal.
    """

    size: Float[Array, ""]
    first: Float[Array, " c"]
    second: Float[Array, "c c"] | Float[Array, " c"]


def wide(x: Array) -> Array:
    """Converts narrower types to float32, because sums and differences in bfloat16 lose their digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_jvp
def gram(x: Float[Array, "m c"]) -> Float[Array, "c c"]:
    """Computes `x^T x`, summed in float32 at least.

    Its own gradient is one matrix product. The automatic one would make two feature maps and add them up.
    """
    return _product(x, x)


@gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    half = _product(dx, x)
    return gram(x), half + half.T


def _product(a: Float[Array, "m c"], b: Float[Array, "m c"]) -> Float[Array, "c c"]:
    return jnp.matmul(a.T, b, precision="highest", preferred_element_type=wide(a).dtype)


def sum_moments(features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
    """Computes the uncentred first and second moments of features within a region, not divided by its size.

    Args:
      features: `[H, W, C]`.
      guide: `[H, W]`, the share of each position that belongs to the region, 0 to 1.
    """
    flat, shares = features.reshape(-1, features.shape[-1]), guide.reshape(-1)
    second = gram(jnp.sqrt(shares).astype(flat.dtype)[:, None] * flat)
    return Moments(jnp.sum(shares), jnp.sum(shares[:, None] * wide(flat), axis=0), second)


def _per_position(sums: Moments) -> Moments:
    """Divides the sums by the region's size and keeps the size; an empty region counts as size 1."""
    size = jnp.where(sums.size > 0, sums.size, 1)
    return Moments(size, sums.first / size, sums.second / size)


def _covariance(mean: Moments) -> Float[Array, "c c"]:
    return mean.second - jnp.outer(mean.first, mean.first)


def unless_empty(distance: Array, size: Array, target_size: Array) -> Float[Array, ""]:
    """Returns the distance between two regions, or zero if one of them is empty.

    Args:
      distance: a scalar.
      size: size of the picture's region, in any unit.
      target_size: size of the style's region, in any unit.
    """
    return jnp.where((size > 0) & (target_size > 0), distance, 0)


@dataclass(frozen=True)
class Gram:
    """Compares Gram matrices: `norm(sum g f f^T / W - sum g' f' f'^T / W')`, times the form's factor.

    Attributes:
      form: a value of `losses.GRAM_FORMS` (default `gram_gatys`), which gets `W` as the number of positions.
        For two whole pictures of equal size this is the published formula. Otherwise the style's Gram matrix
        is scaled as if the style's region were as large as the picture's.
      norm: a value of `losses.NORMS` (default L2).

    Source: Gatys et al. 2016, eq. 3-4; with guides Gatys et al. 2017, Controlling perceptual factors in
    neural style transfer, section 4. There features are multiplied by `T` with `sum T^2 = 1`, so `T^2` is
    `g / W`.
    """

    form: losses.GramForm = losses.gram_gatys
    norm: losses.Norm = losses.NORMS["l2"]
    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Returns sums over the region; `second` is the Gram matrix."""
        return sum_moments(features, guide)

    def distance(self, summary: Moments, target: Moments) -> Float[Array, ""]:
        """Returns the distance between the Gram matrices per position."""
        difference = _per_position(summary).second - _per_position(target).second
        return _matrix_distance(self.form, self.norm, difference, summary, target)


@dataclass(frozen=True)
class Covariance:
    """Compares covariance matrices `sum g f f^T / W - m m^T`, where `m` is the mean over the region.

    Attributes:
      form: a value of `losses.GRAM_FORMS` (default `gram_gatys`), used as by `Gram`.
      norm: a value of `losses.NORMS` (default L2).

    Source: Sun and Saenko 2016, Deep CORAL: correlation alignment for deep domain adaptation.
    """

    form: losses.GramForm = losses.gram_gatys
    norm: losses.Norm = losses.NORMS["l2"]
    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Returns uncentred sums over the region."""
        return sum_moments(features, guide)

    def distance(self, summary: Moments, target: Moments) -> Float[Array, ""]:
        """Returns the distance between the covariance matrices."""
        difference = _covariance(_per_position(summary)) - _covariance(_per_position(target))
        return _matrix_distance(self.form, self.norm, difference, summary, target)


def _matrix_distance(
    form: losses.GramForm, norm: losses.Norm, difference: Array, summary: Moments, target: Moments
) -> Float[Array, ""]:
    # Traced, and not an integer if guides are soft; forms may use it in products and powers only.
    positions: Any = _per_position(summary).size
    distance = norm.distance(difference, form(difference.shape[0], positions, norm.degree))
    return unless_empty(distance, summary.size, target.size)


@dataclass(frozen=True)
class MeanCovariance:
    """Compares means and covariances by their absolute differences: `1/N |m - m'|_1 + 1/N^2 |S - S'|_1`.

    Source: Kolkin et al. 2019, Style transfer by relaxed optimal transport and self-similarity.
    """

    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Returns uncentred sums over the region."""
        return sum_moments(features, guide)

    def distance(self, summary: Moments, target: Moments) -> Float[Array, ""]:
        """Returns the mean absolute difference of the means plus that of the covariances."""
        ours, theirs = _per_position(summary), _per_position(target)
        means = jnp.mean(jnp.abs(ours.first - theirs.first))
        covariances = jnp.mean(jnp.abs(_covariance(ours) - _covariance(theirs)))
        return unless_empty(means + covariances, summary.size, target.size)


@dataclass(frozen=True)
class MeanStd:
    """Compares the mean and standard deviation of each channel: `1/N sum_c (m - m')^2 + (s - s')^2`.

    Source: Li et al. 2017, Demystifying neural style transfer (batch normalisation statistics).
    """

    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Returns sums over the region; `second` holds the squares of the channels only."""
        weighted = guide[..., None] * wide(features)
        return Moments(
            jnp.sum(guide), jnp.sum(weighted, axis=(0, 1)), jnp.sum(weighted * features, axis=(0, 1))
        )

    def distance(self, summary: Moments, target: Moments) -> Float[Array, ""]:
        """Returns the mean distance over the channels."""
        ours, theirs = _per_position(summary), _per_position(target)
        distance = jnp.mean(jnp.square(ours.first - theirs.first) + jnp.square(_std(ours) - _std(theirs)))
        return unless_empty(distance, summary.size, target.size)


def _std(mean: Moments) -> Float[Array, " c"]:
    variance = mean.second - jnp.square(mean.first)
    # A variance within rounding errors counts as zero, with a gradient of zero; the root's would be infinite.
    significant = variance > 8 * jnp.finfo(variance.dtype).eps * mean.second
    return jnp.where(significant, jnp.sqrt(jnp.where(significant, variance, 1)), 0)


@dataclass(frozen=True)
class Wasserstein:
    """Compares Gaussians with the features' means and covariances by the 2-Wasserstein distance.

    The squared distance per channel is `1/N (|m - m'|^2 + tr(S + S' - 2 (S'^1/2 S S'^1/2)^1/2))`. A multiple
    of the features' mean square is added to the diagonal of both covariances. Without it, the covariance of
    fewer positions than channels would have no Cholesky factor, and the trace no gradient.

    Attributes:
      blur: variance added to every channel, relative to the mean square of both pictures' features (default
        1e-3). With 1e-3, gradients in float32 on VGG19's features are accurate to 1e-4, and distances between
        photos are less than 1 % too small.

    Source: Dowson and Landau 1982, The Frechet distance between multivariate normal distributions; Olkin and
    Pukelsheim 1982. As a style loss: Crowson's later style transfer programs.
    """

    blur: float = 1e-3
    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Returns uncentred sums over the region."""
        return sum_moments(features, guide)

    def distance(self, summary: Moments, target: Moments) -> Float[Array, ""]:
        """Returns the squared distance between the Gaussians, per channel."""
        ours, theirs = _per_position(summary), _per_position(target)
        channels = ours.first.size
        # Relative to the uncentred moments of both pictures, because the rounding errors are.
        squares = (jnp.trace(ours.second) + jnp.trace(theirs.second)) / (2 * channels)
        blur = (self.blur * squares + jnp.finfo(squares.dtype).tiny ** 0.5) * jnp.eye(
            channels, dtype=squares.dtype
        )
        S, S_style = _covariance(ours) + blur, _covariance(theirs) + blur
        # With S = L L^T and S' = K K^T, the trace of the root is the sum of the singular values of K^T L.
        # Their squares are the eigenvalues of K^T S K, but in float32 the gradient of the eigenvalues' roots
        # is off by half.
        product = jnp.matmul(jnp.linalg.cholesky(S_style).T, jnp.linalg.cholesky(S), precision="highest")
        root = jnp.sum(jnp.linalg.svd(product, compute_uv=False))
        spread = jnp.maximum(jnp.trace(S) + jnp.trace(S_style) - 2 * root, 0)  # rounding may make it negative
        distance = (jnp.sum(jnp.square(ours.first - theirs.first)) + spread) / channels
        return unless_empty(distance, summary.size, target.size)
