"""The losses of the papers, as pure functions of the arrays of single images.

A Gram form is the factor by which `jaxnst.core.statistics` multiplies the summed differences of `G / M` and
`A / M'`, where `G` and `A` are Gram matrices and `M` and `M'` the numbers of positions behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Norm(NamedTuple):
    """Reduces an array of differences to a scalar, in two stages that allow sums of parts in between.

    Attributes:
      sums: computes sums over differences; the sums of the parts of an array add up to the sums of the array.
      of_sums: computes a scalar from the sums over all differences and the form's factor.
      degree: exponent with which the distance scales, `distance(a * x, f) == a ** degree * distance(x, f)`
        for `a > 0`, so that forms can take a scale out of the differences.
    """

    sums: Callable[[Array], Any]
    of_sums: Callable[[Any, Array | float], Array]
    degree: int

    def distance(self, differences: Array, factor: Array | float) -> Float[Array, ""]:
        """Computes a scalar from an array of differences and a form's factor."""
        return self.of_sums(self.sums(differences), factor)


def _squares(differences: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.square(differences))


def _absolutes(differences: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.abs(differences))


def _squares_and_absolutes(differences: Array) -> tuple[Array, Array]:
    return _squares(differences), _absolutes(differences)


def _times(total: Array, factor: Array | float) -> Float[Array, ""]:
    return factor * total


def _scaled(sums: tuple[Array, Array], factor: Array | float) -> Float[Array, ""]:
    """Ignores the factor, because the L1 norm of the gradient must stay near 1."""
    del factor
    squares, absolutes = sums
    return squares / (absolutes + 1e-8)


NORMS: Mapping[str, Norm] = {
    "l2": Norm(_squares, _times, 2),
    "l1": Norm(_absolutes, _times, 1),
    "scaled": Norm(_squares_and_absolutes, _scaled, 1),
}
"""Norms by name: `l2` sums squares (all reports but one), `l1` sums absolute values (Joshi and Hu), `scaled`
gives the gradient of every layer the same size (Crowson's style-transfer-pytorch, `ScaledMSELoss`)."""


def content_sum(size: Array | float) -> float:
    """Returns the factor of `1/2 sum (F - P)^2` (Gatys 2016, eq. 1), whatever the number of differences."""
    del size
    return 0.5


def content_mean(size: Array | float) -> Array | float:
    """Returns the factor of `mean (F - P)^2` (most PyTorch code) for `size` differences."""
    return 1 / size


ContentForm = Callable[["Array | float"], "Array | float"]
"""Takes the number of differences and returns the factor of their sum."""

CONTENT_FORMS: Mapping[str, ContentForm] = {"sum": content_sum, "mean": content_mean}
"""Forms of the content loss, by name."""


def content_loss(
    features: Float[Array, "h w c"],
    target: Float[Array, "h w c"],
    form: ContentForm = content_sum,
    norm: Norm = NORMS["l2"],
) -> Float[Array, ""]:
    """Computes the distance between two feature maps of one layer.

    Args:
      features: `F` in the papers: features of the picture being made, `[H_l, W_l, C_l]`.
      target: `P` in the papers: features of the content picture, `[H_l, W_l, C_l]`.
      form: a value of `CONTENT_FORMS` (default `content_sum`).
      norm: a value of `NORMS` (default L2).

    Returns:
      A scalar.

    Source: Gatys et al. 2016, eq. 1.
    """
    return norm.distance(features - target, form(target.size))


def gram_gatys(channels: int, positions: int, degree: int) -> float:
    """Returns the factor of `sum (G - A)^2 / (4 N^2 M^2)`, `G = F^T F` (Gatys 2016, eq. 3-4)."""
    return positions**degree / (4 * channels**2 * positions**2)


def gram_hw(channels: int, positions: int, degree: int) -> float:
    """Returns the factor of `mean (G - A)^2`, `G = F^T F / M` (Ranka)."""
    del positions, degree
    return 1 / channels**2


def gram_chw(channels: int, positions: int, degree: int) -> float:
    """Returns the factor of `mean (G - A)^2`, `G = F^T F / (N M)` (PyTorch tutorial, Jaiswal, Joshi-Hu)."""
    del positions
    return 1 / (channels**degree * channels**2)


def gram_dhw(channels: int, positions: int, degree: int) -> float:
    """Returns the factor of `mean (G - A)^2 / (N M)`, `G = F^T F` (Danayak)."""
    return positions**degree / (channels**3 * positions)


GramForm = Callable[[int, int, int], float]
"""Takes `N_l`, `M_l` and the norm's degree; returns the factor of the summed differences of `F^T F / M`."""

GRAM_FORMS: Mapping[str, GramForm] = {
    "gatys": gram_gatys,
    "hw": gram_hw,
    "chw": gram_chw,
    "dhw": gram_dhw,
}
"""Forms of the Gram loss, by name."""


def total_variation(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Computes the roughness `mean |dx| + mean |dy|` of an image (Ranka's report)."""
    return _mean_of_differences(image, jnp.abs)


def total_variation_l2(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Computes the roughness `mean dx^2 + mean dy^2` of an image (Mahendran and Vedaldi 2015, beta = 2)."""
    return _mean_of_differences(image, jnp.square)


def _mean_of_differences(image: Array, magnitude: Callable[[Array], Array]) -> Array:
    magnitudes = [magnitude(jnp.diff(image, axis=axis)) for axis in (0, 1)]
    # A side of one pixel has no differences and adds nothing.
    return sum((jnp.sum(values) / max(values.size, 1) for values in magnitudes), start=jnp.zeros(()))


TOTAL_VARIATIONS: Mapping[str, Callable[[Array], Array]] = {"l1": total_variation, "l2": total_variation_l2}
"""Kinds of total variation, by the name of their norm."""


def out_of_range(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Computes the mean square of what clipping an image to [0, 1] would cut off."""
    return jnp.mean(jnp.square(image - jnp.clip(image, 0, 1)))


def laplacian(image: Float[Array, "h w c"], window: int) -> Float[Array, "h2 w2"]:
    """Computes the edges of an image that is first averaged over windows, summed over the colours.

    Args:
      image: `[H, W, C]`; both sides are at least three windows long.
      window: side of the windows, in pixels.

    Returns:
      `[H // window - 2, W // window - 2]`: four times each mean, minus its four neighbours.

    Source: Li, Xu, Nie and Liu 2017, Laplacian-steered neural style transfer, eq. 5-6.
    """
    height, width = (side // window * window for side in image.shape[:2])
    windows = image[:height, :width].reshape(height // window, window, width // window, window, -1)
    x = jnp.sum(jnp.mean(windows, axis=(1, 3)), axis=-1)
    return 4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
