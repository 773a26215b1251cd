"""The losses of the papers, as pure functions of the arrays of single images.

A Gram loss is `factor * sum(norm(G / M - A / M'))`, with each picture's own number of positions: the
published forms differ in nothing but the factor, and pictures of different sizes compare per position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Norm(NamedTuple):
    """What is done to every difference before it is summed.

    Attributes:
      of: elementwise function of the differences.
      degree: `of(a * x) == a ** degree * of(x)` for `a > 0`, so that scale factors can be taken out of it.
    """

    of: Callable[[Array], Array]
    degree: int


NORMS: Mapping[str, Norm] = {"l2": Norm(jnp.square, 2), "l1": Norm(jnp.abs, 1)}
"""`l2` squares (all but one of the reports), `l1` takes absolute values (Joshi and Hu)."""


def content_sum(size: int) -> float:
    """Factor of `1/2 sum (F - P)^2` (Gatys 2016, eq. 1)."""
    del size
    return 0.5


def content_mean(size: int) -> float:
    """Factor of `mean (F - P)^2` (most PyTorch code)."""
    return 1 / size


CONTENT_FORMS: Mapping[str, Callable[[int], float]] = {"sum": content_sum, "mean": content_mean}


def content_loss(
    features: Float[Array, "h w c"],
    target: Float[Array, "h w c"],
    form: Callable[[int], float] = content_sum,
    norm: Norm = NORMS["l2"],
) -> Float[Array, ""]:
    """Distance of two feature maps of one layer.

    Args:
      features: `F` in the papers, of the picture being made.
      target: `P`, of the content picture, of the same shape.
      form: a value of `CONTENT_FORMS`: from the number of elements to the factor of the sum.
      norm: a value of `NORMS`.

    Returns:
      A scalar.

    Source: Gatys et al. 2016, eq. 1.
    """
    return form(target.size) * jnp.sum(norm.of(features - target))


def gram_matrix(features: Float[Array, "h w c"]) -> Float[Array, "c c"]:
    """Uncentred second moments of a feature map, summed over positions (Gatys 2016, eq. 3).

    A sum, not a mean, so that the Gram matrices of an image's tiles add up to the image's own.
    """
    flat = features.reshape(-1, features.shape[-1])
    return jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST)


def gram_gatys(channels: int, positions: int, degree: int) -> float:
    """Factor of `sum (G - A)^2 / (4 N^2 M^2)`, `G = F^T F` (Gatys 2016, eq. 3-4)."""
    return positions**degree / (4 * channels**2 * positions**2)


def gram_hw(channels: int, positions: int, degree: int) -> float:
    """Factor of `mean (G - A)^2`, `G = F^T F / M` (Ranka)."""
    del positions, degree
    return 1 / channels**2


def gram_chw(channels: int, positions: int, degree: int) -> float:
    """Factor of `mean (G - A)^2`, `G = F^T F / (N M)` (the PyTorch tutorial, Jaiswal, Joshi and Hu)."""
    del positions
    return 1 / (channels**degree * channels**2)


def gram_dhw(channels: int, positions: int, degree: int) -> float:
    """Factor of `mean (G - A)^2 / (N M)`, `G = F^T F` (Danayak)."""
    return positions**degree / (channels**3 * positions)


GramForm = Callable[[int, int, int], float]
"""From `N_l`, `M_l` and the norm's degree to the factor of the summed differences of `F^T F / M`."""

GRAM_FORMS: Mapping[str, GramForm] = {
    "gatys": gram_gatys,
    "hw": gram_hw,
    "chw": gram_chw,
    "dhw": gram_dhw,
}


def style_loss(
    features: Float[Array, "h w c"],
    target: Float[Array, "c c"],
    form: GramForm = gram_gatys,
    norm: Norm = NORMS["l2"],
) -> Float[Array, ""]:
    """Distance of a layer's Gram matrix to the style picture's.

    Args:
      features: `F`, of the picture being made.
      target: `A / M'`: `gram_matrix` of the style picture's features divided by their number of positions.
      form: a value of `GRAM_FORMS`. With pictures of equal size each is literally its published formula;
        otherwise the style's Gram matrix counts as if that picture had as many positions as this one.
      norm: a value of `NORMS`.

    Returns:
      A scalar.
    """
    height, width, channels = features.shape
    positions = height * width
    difference = gram_matrix(features) / positions - target
    return form(channels, positions, norm.degree) * jnp.sum(norm.of(difference))


def total_variation(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Roughness of an image: `mean abs(dx) + mean abs(dy)` (Ranka's report)."""
    along_height = jnp.abs(jnp.diff(image, axis=0))
    along_width = jnp.abs(jnp.diff(image, axis=1))
    # A side of one pixel has no differences, and adds nothing.
    return jnp.sum(along_height) / max(along_height.size, 1) + jnp.sum(along_width) / max(along_width.size, 1)
