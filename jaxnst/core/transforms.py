"""What happens between the variable and the network.

Some belong to the picture, `(image) -> image`, and are there when it is finished (`KeepPhoto`, `KeepChroma`).
`gray` is what the network sees of any picture's colours, `RandomShift`, `(image, key) -> image`, where a step
looks. Those with numbers of their own are pytrees, so that the numbers are traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray


LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue give to Y of YIQ, the luminance in Gatys 2016, Preserving color."""


def unchanged(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """See the colours as they are."""
    return image


def gray(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """See the luminance only, in three channels."""
    luminance = jnp.matmul(image, jnp.array(LUMA, image.dtype), precision="highest")
    return jnp.broadcast_to(luminance[..., None], image.shape)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeepPhoto:
    """The photo where no style shall go.

    Attributes:
      photo: `[H, W, 3]`.
      share: of the picture being made, `[H, W]`, 0 (the photo) to 1.
    """

    photo: Float[Array, "h w 3"]
    share: Float[Array, "h w"]

    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Mix the two."""
        share = self.share[..., None]
        return share * image + (1 - share) * self.photo


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeepChroma:
    """The content's colours under the luminance of the picture being made (Gatys 2016, Preserving color).

    The luminance is kept within what the colours allow, so that no clipping changes them later; its gradient
    is that of the unlimited one, which can return.

    Attributes:
      chroma: `[H, W, 3]`: the content picture less its luminance.
    """

    chroma: Float[Array, "h w 3"]

    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Replace the colours."""
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
    """Resample a scaled and rotated window of an image to the image's own size, differentiably.

    Output position `p` (row, column) shows the input at `centre + scale * R(angle) (p - middle)`, by bilinear
    interpolation; beyond the border the border's pixels are repeated.

    Args:
      image: `[H, W, C]`.
      centre: row and column of the window's middle, in pixels.
      scale: side of the window, as a part of the image's side.
      angle: rotation in radians.

    Returns:
      `[H, W, C]`.
    """
    height, width = image.shape[:2]
    rows = jnp.arange(height)[:, None] - (height - 1) / 2
    columns = jnp.arange(width)[None, :] - (width - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    at = [
        centre[0] + scale * (cos * rows - sin * columns),
        centre[1] + scale * (sin * rows + cos * columns),
    ]

    def sample(channel: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(channel, at, order=1, mode="nearest")

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RandomShift:
    """See the picture through a new random crop and rotation at each step (Joshi and Hu).

    The report gives the factor only. Here a window of `factor` times the picture's sides lies anywhere within
    the picture and is turned by an angle drawn evenly from +-(1 - factor) radians.

    Attributes:
      factor: side of the window, as a part of the picture's side; they use 0.95 to 0.99. Traced.
    """

    factor: Float[Array, ""] | float = 0.97

    def __call__(self, image: Float[Array, "h w 3"], key: PRNGKeyArray) -> Float[Array, "h w 3"]:
        """Draw a window and resample it to the picture's size."""
        middle = (jnp.array(image.shape[:2]) - 1) / 2
        margin = (1 - self.factor) * middle
        to_centre, to_angle = jax.random.split(key)
        centre = middle + margin * jax.random.uniform(to_centre, (2,), minval=-1, maxval=1)
        angle = (1 - self.factor) * jax.random.uniform(to_angle, minval=-1, maxval=1)
        return sample_window(image, centre, self.factor, angle)
