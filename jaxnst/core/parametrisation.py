"""Which numbers the optimiser moves: `decode` turns them into the picture, `encode` a picture into them.

Both are linear and neither loses anything. The minimum of the objective stays where it is; what changes is
the way there, because a gradient is steepest with respect to the numbers it is taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Parametrisation(Protocol):
    """A linear, invertible view of pictures: hashable, for it is static under `jit`."""

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """The picture of the numbers."""
        ...

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """The numbers of a picture: the inverse of `decode`."""
        ...


def hartley(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Discrete Hartley transform of each channel, orthonormal: real numbers to as many, and its own inverse.

    Coefficient `(u, v)` weighs the wave `cos a + sin a` with `a = 2 pi (u y / H + v x / W)` (Bracewell 1983).
    """
    spectrum = jnp.fft.fft2(x, axes=(0, 1), norm="ortho")
    return spectrum.real - spectrum.imag


@dataclass(frozen=True)
class Fourier:
    """Waves instead of pixels, the long ones larger (Mordvintsev et al. 2018, distill.pub).

    `image = hartley(scale * variable)`, with `scale` proportional to `1 / frequency^decay` and of root mean
    square 1, so that white noise decodes to noise of the same variance.

    The basis is Hartley's. `rfft2` gives complex numbers in an array of another shape, and not all of them
    are free: at frequency zero and, in even sizes, at the highest they are real or conjugates of one another,
    so that an inner product, a norm or a clipped step would weigh frequencies unevenly. Hartley's
    coefficients are real, as many as the pixels, and orthonormal: every optimiser works on them as on pixels.

    Attributes:
      decay: 1 is the amplitude spectrum of natural pictures, 0 a mere rotation of pixel space.
    """

    decay: float = 1.0

    def _scale(self, like: Float[Array, "h w 3"]) -> Float[Array, "h w 1"]:
        height, width = like.shape[:2]
        rows = jnp.fft.fftfreq(height, dtype=like.dtype)[:, None]
        columns = jnp.fft.fftfreq(width, dtype=like.dtype)[None, :]
        # The mean, whose frequency is zero, is treated like the longest wave.
        frequency = jnp.maximum(jnp.hypot(rows, columns), 1 / max(height, width))
        scale = frequency**-self.decay
        return (scale / jnp.sqrt(jnp.mean(jnp.square(scale))))[..., None]

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Coefficients of the waves to pixels."""
        return hartley(self._scale(variable) * variable)

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Pixels to coefficients of the waves."""
        return hartley(image) / self._scale(image)


_COLOR_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A square root of the covariance of RGB over ImageNet's pixels: its columns are brightness, red to blue,
and magenta to green, each as large as it varies. Values as published with the lucid library (Olah et al.
2017, Feature Visualization, distill.pub; `lucid/optvis/param/color.py`)."""

_RGB = _COLOR_ROOT / np.linalg.norm(_COLOR_ROOT, axis=0).max()


@dataclass(frozen=True)
class Decorrelated:
    """Colours along the axes in which those of natural pictures are independent (Olah et al. 2017).

    White noise decodes to colours as correlated as ImageNet's: mostly brightness, little hue. The axis of
    brightness has length 1.
    """

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Independent colours to RGB."""
        return jnp.matmul(variable, jnp.asarray(_RGB.T, variable.dtype), precision="highest")

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """RGB to independent colours."""
        return jnp.matmul(image, jnp.asarray(np.linalg.inv(_RGB).T, image.dtype), precision="highest")


def decode(parts: Sequence[Parametrisation], variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The picture of the optimiser's numbers.

    Args:
      parts: applied in order: `(Fourier(), Decorrelated())` takes spectra of independent colours to these
        colours and on to RGB. Empty: the numbers are the pixels.
      variable: `[H, W, 3]`, real.

    Returns:
      `[H, W, 3]`, unbounded.
    """
    for part in parts:
        variable = part.decode(variable)
    return variable


def encode(parts: Sequence[Parametrisation], image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The optimiser's numbers for a picture: the inverse of `decode`.

    Args:
      parts: as for `decode`.
      image: `[H, W, 3]`.

    Returns:
      `[H, W, 3]`, real.
    """
    for part in reversed(parts):
        image = part.encode(image)
    return image
