"""Transforms between the optimiser's variable and the network.

`KeepPhoto` and `KeepChroma`, `(image) -> image`, are part of the picture: the finished picture shows them.
`gray`, `(image) -> image`, and `RandomShift`, `(image, key) -> image`, change only what the network sees.
Transforms that hold arrays are pytrees, so that the arrays are traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray


LUMA = (0.299, 0.587, 0.114)
"""Coefficients of red, green and blue in Y of YIQ, the luminance in Gatys 2016, Preserving color."""


def unchanged(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Returns the image as it is."""
    return image


def gray(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Returns the luminance of the image `[H, W, 3]` in three equal channels."""
    luminance = jnp.matmul(image, jnp.array(LUMA, image.dtype), precision="highest")
    return jnp.broadcast_to(luminance[..., None], image.shape)


@dataclass(frozen=True)
class Mirrored:
    """Shows the network a picture that goes on beyond its borders as in a mirror; hashable, static.

    Pooling drops odd edges. With sides that are multiples of the deepest layer's stride it drops none, so
    that every pixel of the picture counts.

    Attributes:
      multiple: both sides become multiples of this, by more pixels at the bottom and at the right.
      border: pixels on every side.
    """

    multiple: int = 1
    border: int = 0

    def __call__(self, image: Float[Array, "h w ..."]) -> Float[Array, "h2 w2 ..."]:
        """Appends mirrored pixels to a picture or a mask."""
        sides = [
            (self.border, self.border + -(length + 2 * self.border) % self.multiple)
            for length in image.shape[:2]
        ]
        if not np.any(sides):
            return image
        return jnp.pad(image, [*sides, *[(0, 0)] * (image.ndim - 2)], mode="symmetric")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeepPhoto:
    """Puts the photo back where the style must not go.

    Attributes:
      photo: `[H, W, 3]` in [0, 1].
      share: `[H, W]`, from 0 (the photo) to 1 (the picture being made).
    """

    photo: Float[Array, "h w 3"]
    share: Float[Array, "h w"]

    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Mixes the photo and the picture being made."""
        share = self.share[..., None]
        return share * image + (1 - share) * self.photo


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeepChroma:
    """Combines the luminance of the picture being made with the content's colours.

    The luminance is limited to the range in which the sum stays in [0, 1], so that later clipping does not
    change the colours. The gradient ignores the limit, so that a luminance beyond it can come back.

    Attributes:
      chroma: `[H, W, 3]`, the content picture minus its luminance; see `color.chroma`.

    Source: Gatys et al. 2016, Preserving color in neural style transfer.
    """

    chroma: Float[Array, "h w 3"]

    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Replaces the colours of the image."""
        luminance = gray(image)
        least = -jnp.min(self.chroma, axis=-1, keepdims=True)
        most = 1 - jnp.max(self.chroma, axis=-1, keepdims=True)
        limited = jnp.clip(luminance, least, most)
        return luminance + jax.lax.stop_gradient(limited - luminance) + self.chroma


def sample_window(
    image: Float[Array, "h w c"],
    centre: Float[Array, 2],
    scale: Float[Array, ""] | float,
    angle: Float[Array, ""] | float,
) -> Float[Array, "h w c"]:
    """Resamples a scaled and rotated window of an image to the image's own size.

    Output position `p` (row, column) shows the input at `centre + scale * R(angle) (p - middle)`, where
    `middle` is the middle of the image. Interpolation is bilinear and differentiable; pixels of the border
    are repeated beyond it.

    Args:
      image: `[H, W, C]`.
      centre: row and column of the window's middle, in pixels.
      scale: side of the window divided by the side of the image.
      angle: rotation in radians.

    Returns:
      `[H, W, C]`.
    """
    height, width = image.shape[:2]
    rows = jnp.arange(height)[:, None] - (height - 1) / 2
    columns = jnp.arange(width)[None, :] - (width - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    coordinates = [
        centre[0] + scale * (cos * rows - sin * columns),
        centre[1] + scale * (sin * rows + cos * columns),
    ]

    def sample(channel: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(channel, coordinates, order=1, mode="nearest")

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RandomShift:
    """Shows the network a new random crop and rotation of the picture at each step (Joshi and Hu).

    The report gives only the factor. Here the window has `factor` times the sides of the picture, its centre
    is drawn uniformly such that the unrotated window lies within the picture, and its angle is drawn
    uniformly from +-(1 - factor) radians.

    Attributes:
      factor: side of the window divided by the side of the picture, traced; default 0.97, and 0.95 to 0.99 in
        the report.
    """

    factor: Float[Array, ""] | float = 0.97

    def __call__(self, image: Float[Array, "h w 3"], key: PRNGKeyArray) -> Float[Array, "h w 3"]:
        """Draws a window and resamples it to the size of the picture."""
        middle = (jnp.array(image.shape[:2]) - 1) / 2
        margin = (1 - self.factor) * middle
        to_centre, to_angle = jax.random.split(key)
        centre = middle + margin * jax.random.uniform(to_centre, (2,), minval=-1, maxval=1)
        angle = (1 - self.factor) * jax.random.uniform(to_angle, minval=-1, maxval=1)
        return sample_window(image, centre, self.factor, angle)
