"""Statistics that are sums over positions: the first and second moments of the features.

They stay sums until `distance` divides them, so that the moments of a picture's tiles, or of regions that
partition it, add up to the picture's own.
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
    """Sums over the positions of a region; those of disjoint regions add up.

    Attributes:
      weight: `W = sum g`, the region's size in positions.
      first: `sum g f`.
      second: `sum g f f^T`, or its diagonal.
    """

    weight: Float[Array, ""]
    first: Float[Array, " c"]
    second: Float[Array, "c c"] | Float[Array, " c"]


def wide(x: Array) -> Array:
    """In float32 at least; sums and differences of bfloat16 would lose what they are about."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_jvp
def gram(x: Float[Array, "m c"]) -> Float[Array, "c c"]:
    """`x^T x`, summed in float32 at least.

    Its gradient is one product; autodiff of the plain one makes two maps and adds them up.
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
    """First and second moments of the features within a region, uncentred and not divided."""
    flat, weights = features.reshape(-1, features.shape[-1]), guide.reshape(-1)
    second = gram(jnp.sqrt(weights).astype(flat.dtype)[:, None] * flat)
    return Moments(jnp.sum(weights), jnp.sum(weights[:, None] * wide(flat), axis=0), second)


def _per_position(sums: Moments) -> Moments:
    weight = jnp.where(sums.weight > 0, sums.weight, 1)
    return Moments(weight, sums.first / weight, sums.second / weight)


def _covariance(mean: Moments) -> Float[Array, "c c"]:
    return mean.second - jnp.outer(mean.first, mean.first)


def unless_empty(distance: Array, found_weight: Array, target_weight: Array) -> Float[Array, ""]:
    """A distance between regions, zero where one of them has no weight: there is nothing to compare."""
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
    additive: ClassVar[bool] = True

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
    additive: ClassVar[bool] = True

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
    return unless_empty(distance, found.weight, target.weight)


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of each channel: `1/N sum_c (m - m')^2 + (s - s')^2`.

    Source: Li et al. 2017, Demystifying neural style transfer (batch normalisation statistics).
    """

    additive: ClassVar[bool] = True

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Moments:
        """Sums; `second` has the squares alone."""
        weighted = guide[..., None] * wide(features)
        return Moments(
            jnp.sum(guide), jnp.sum(weighted, axis=(0, 1)), jnp.sum(weighted * features, axis=(0, 1))
        )

    def distance(self, found: Moments, target: Moments) -> Float[Array, ""]:
        """Mean over the channels."""
        ours, theirs = _per_position(found), _per_position(target)
        distance = jnp.mean(jnp.square(ours.first - theirs.first) + jnp.square(_std(ours) - _std(theirs)))
        return unless_empty(distance, found.weight, target.weight)


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
    additive: ClassVar[bool] = True

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
        product = jnp.matmul(jnp.linalg.cholesky(S_style).T, jnp.linalg.cholesky(S), precision="highest")
        root = jnp.sum(jnp.linalg.svd(product, compute_uv=False))
        spread = jnp.maximum(jnp.trace(S) + jnp.trace(S_style) - 2 * root, 0)  # rounding may go below
        distance = (jnp.sum(jnp.square(ours.first - theirs.first)) + spread) / channels
        return unless_empty(distance, found.weight, target.weight)
