"""The losses of the papers, as pure functions of the arrays of single images.

The forms of the Gram loss are the factors with which `jaxnst.core.statistics` weighs `G / M - A / M'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Norm(NamedTuple):
    """How many differences become one number.

    Attributes:
      sums: from the differences to sums over them; those of parts add up.
      of_sums: from the sums over all differences and the form's factor to a scalar.
      degree: `distance(a * x, f) == a ** degree * distance(x, f)` for `a > 0`, so that scale factors can be
        taken out of it.
    """

    sums: Callable[[Array], Any]
    of_sums: Callable[[Any, Array | float], Array]
    degree: int

    def distance(self, differences: Array, factor: Array | float) -> Float[Array, ""]:
        """From the differences and the form's factor to a scalar."""
        return self.of_sums(self.sums(differences), factor)


def _squares(differences: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.square(differences))


def _absolutes(differences: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.abs(differences))


def _both(differences: Array) -> tuple[Array, Array]:
    return _squares(differences), _absolutes(differences)


def _times(summed: Array, factor: Array | float) -> Float[Array, ""]:
    return factor * summed


def _scaled(both: tuple[Array, Array], factor: Array | float) -> Float[Array, ""]:
    """The gradient has an L1 norm near 1; a factor would undo that."""
    del factor
    squares, absolutes = both
    return squares / (absolutes + 1e-8)


NORMS: Mapping[str, Norm] = {
    "l2": Norm(_squares, _times, 2),
    "l1": Norm(_absolutes, _times, 1),
    "scaled": Norm(_both, _scaled, 1),
}
"""`l2` squares (all but one of the reports), `l1` takes absolute values (Joshi and Hu), `scaled` gives every
layer a gradient of the same size (Crowson's style-transfer-pytorch, `ScaledMSELoss`)."""


def content_sum(size: Array | float) -> float:
    """Factor of `1/2 sum (F - P)^2` (Gatys 2016, eq. 1)."""
    del size
    return 0.5


def content_mean(size: Array | float) -> Array | float:
    """Factor of `mean (F - P)^2` (most PyTorch code)."""
    return 1 / size


ContentForm = Callable[["Array | float"], "Array | float"]
"""From the number of differences to the factor of their sum."""

CONTENT_FORMS: Mapping[str, ContentForm] = {"sum": content_sum, "mean": content_mean}


def content_loss(
    features: Float[Array, "h w c"],
    target: Float[Array, "h w c"],
    form: ContentForm = content_sum,
    norm: Norm = NORMS["l2"],
) -> Float[Array, ""]:
    """Distance of two feature maps of one layer.

    Args:
      features: `F` in the papers, of the picture being made.
      target: `P`, of the content picture, of the same shape.
      form: a value of `CONTENT_FORMS`.
      norm: a value of `NORMS`.

    Returns:
      A scalar.

    Source: Gatys et al. 2016, eq. 1.
    """
    return norm.distance(features - target, form(target.size))


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


def total_variation(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Roughness of an image: `mean |dx| + mean |dy|` (Ranka's report)."""
    return _mean_of_differences(image, jnp.abs)


def total_variation_l2(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Roughness of an image: `mean dx^2 + mean dy^2` (Mahendran and Vedaldi 2015, with beta = 2)."""
    return _mean_of_differences(image, jnp.square)


def _mean_of_differences(image: Array, of: Callable[[Array], Array]) -> Array:
    differences = [of(jnp.diff(image, axis=axis)) for axis in (0, 1)]
    # A side of one pixel has no differences, and adds nothing.
    return sum((jnp.sum(each) / max(each.size, 1) for each in differences), start=jnp.zeros(()))


TOTAL_VARIATIONS: Mapping[str, Callable[[Array], Array]] = {"l1": total_variation, "l2": total_variation_l2}


def out_of_range(image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """How far an image leaves [0, 1]: the mean square of what clipping would cut off."""
    return jnp.mean(jnp.square(image - jnp.clip(image, 0, 1)))


def laplacian(image: Float[Array, "h w c"], window: int) -> Float[Array, "h2 w2"]:
    """Edges of an image at one scale: the Laplacian of its means over windows, summed over the colours.

    Args:
      image: `[H, W, C]`, both sides at least three windows.
      window: side of the windows that are averaged first, in pixels.

    Returns:
      `[H // window - 2, W // window - 2]`: the centre four times, less its four neighbours.

    Source: Li, Xu, Nie and Liu 2017, Laplacian-steered neural style transfer, eq. 5-6.
    """
    height, width = (side // window * window for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // window, window, width // window, window, -1)
    x = jnp.sum(jnp.mean(blocks, axis=(1, 3)), axis=-1)
    return 4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
