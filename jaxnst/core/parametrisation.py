"""Changes the variable that the optimiser moves: `decode` turns it into a picture, `encode` does the reverse.

Both are linear and lossless, so the minimum of the objective is the same picture. What changes is the
optimiser's path, because the direction of steepest descent depends on the variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Parametrisation(Protocol):
    """Describes a linear map from a variable to a picture; hashable, static under `jit`.

    The variable has as many numbers as the picture, or more: then it may be wider, and an attribute
    `overcomplete = True` says that several variables make one picture.
    """

    def decode(self, variable: Float[Array, "h v 3"]) -> Float[Array, "h w 3"]:
        """Computes the picture from the variable."""
        ...

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h v 3"]:
        """Computes a variable from a picture; `decode` makes the same picture of it."""
        ...


def hartley(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Computes the orthonormal discrete Hartley transform of each channel, which is its own inverse.

    Coefficient `(u, v)` is the amplitude of the wave `cos a + sin a`, `a = 2 pi (u y / H + v x / W)`.

    Args:
      x: real `[H, W, C]`.

    Returns:
      Real coefficients `[H, W, C]`.

    Source: Bracewell 1983, Discrete Hartley transform.
    """
    spectrum = jnp.fft.fft2(x, axes=(0, 1), norm="ortho")
    return spectrum.real - spectrum.imag


@dataclass(frozen=True)
class Fourier:
    """Represents a picture by its waves, of which long ones get larger amplitudes.

    `image = hartley(scale * variable)`, where `scale` is proportional to `1 / frequency^decay` and has root
    mean square 1, so that white noise decodes to noise of the same variance.

    The basis is Hartley's, not Fourier's. `rfft2` returns complex numbers in an array of another shape, and
    they are not independent: some are real and some are conjugates of others. Inner products, norms and
    clipped steps would then weigh frequencies unevenly. Hartley's coefficients are real, orthonormal and as
    many as the pixels, so every optimiser treats them as it treats pixels.

    Attributes:
      decay: exponent, default 1, which is the amplitude spectrum of natural pictures; 0 only rotates pixel
        space.

    Source: Mordvintsev et al. 2018, Differentiable image parameterizations, distill.pub.
    """

    decay: float = 1.0

    def _scale(self, x: Float[Array, "h w 3"]) -> Float[Array, "h w 1"]:
        height, width = x.shape[:2]
        rows = jnp.fft.fftfreq(height, dtype=x.dtype)[:, None]
        columns = jnp.fft.fftfreq(width, dtype=x.dtype)[None, :]
        # The mean has frequency zero; it is scaled like the longest wave.
        frequency = jnp.maximum(jnp.hypot(rows, columns), 1 / max(height, width))
        scale = frequency**-self.decay
        return (scale / jnp.sqrt(jnp.mean(jnp.square(scale))))[..., None]

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Computes pixels from the coefficients of the waves."""
        return hartley(self._scale(variable) * variable)

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Computes the coefficients of the waves from pixels."""
        return hartley(image) / self._scale(image)


_COLOR_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A square root of the covariance of RGB over ImageNet's pixels. Its columns are brightness, red to blue, and
magenta to green, each as long as its standard deviation. The values are those of the lucid library (Olah et
al. 2017, Feature Visualization, distill.pub; `lucid/optvis/param/color.py`)."""

_RGB = _COLOR_ROOT / np.linalg.norm(_COLOR_ROOT, axis=0).max()


@dataclass(frozen=True)
class Decorrelated:
    """Represents colours along axes on which the colours of natural pictures are uncorrelated.

    White noise decodes to colours that are correlated as in ImageNet: mostly brightness, little hue. The axis
    of brightness has length 1.

    Source: Olah et al. 2017, Feature Visualization, distill.pub.
    """

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Computes RGB from uncorrelated colours."""
        return jnp.matmul(variable, jnp.asarray(_RGB.T, variable.dtype), precision="highest")

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Computes uncorrelated colours from RGB."""
        return jnp.matmul(image, jnp.asarray(np.linalg.inv(_RGB).T, image.dtype), precision="highest")


@dataclass(frozen=True)
class LaplacianPyramid:
    """Represents a picture by the levels of its Laplacian pyramid.

    A level is what the next coarser level cannot show: `g_k - up(g_k+1)`, where `g_0` is the picture and
    `g_k+1` is `g_k` at half the size; the last level is `g_L` itself. The picture is the sum of all levels,
    each enlarged. Both resizings are bilinear, with antialiasing. An optimiser that scales its steps by the
    size of each number's gradient thus moves large areas as fast as single pixels.

    The variable is one array, `[H, W + W // 2, 3]`: the picture's own level on the left, and the others
    below each other on the right. What they leave free stays zero.

    Attributes:
      levels: number of levels (default 5); a small picture has fewer.

    Source: Burt and Adelson 1983, The Laplacian pyramid as a compact image code; as a parametrisation Kolkin
    et al. 2019, Style transfer by relaxed optimal transport and self-similarity.
    """

    levels: int = 5
    overcomplete: ClassVar[bool] = True

    def decode(self, variable: Float[Array, "h v 3"]) -> Float[Array, "h w 3"]:
        """Adds the levels up, from coarse to fine."""
        height, both = variable.shape[:2]
        width = both // 3 * 2 + both % 3
        coarser, row = [], 0
        for rows, columns in self._sizes(height, width)[1:]:
            coarser.append(variable[row : row + rows, width : width + columns])
            row += rows
        image, *finer = [variable[:, :width], *coarser][::-1]
        for level in finer:
            image = level + _resized(image, (level.shape[0], level.shape[1]))
        return image

    def encode(self, image: Float[Array, "h w 3"]) -> Float[Array, "h v 3"]:
        """Splits a picture into the levels."""
        height, width = image.shape[:2]
        levels = [image]
        for size in self._sizes(height, width)[1:]:
            finer = levels[-1]
            coarser = _resized(finer, size)
            levels[-1:] = [finer - _resized(coarser, (finer.shape[0], finer.shape[1])), coarser]
        strip, row = jnp.zeros((height, width // 2, 3), image.dtype), 0
        for level in levels[1:]:
            strip = strip.at[row : row + level.shape[0], : level.shape[1]].set(level)
            row += level.shape[0]
        return jnp.concatenate([levels[0], strip], axis=1)

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        sizes = [(height >> level, width >> level) for level in range(self.levels)]
        return [size for size in sizes if min(size) > 0]


def _resized(image: Float[Array, "h w c"], size: tuple[int, int]) -> Float[Array, "h2 w2 c"]:
    """Resamples an image bilinearly; antialiased where it gets smaller."""
    return jax.image.resize(image, (*size, image.shape[-1]), "linear")


def decode(parts: Sequence[Parametrisation], variable: Float[Array, "h v 3"]) -> Float[Array, "h w 3"]:
    """Computes the picture from the optimiser's variable.

    Args:
      parts: parametrisations, applied in order. `(Fourier(), Decorrelated())` turns waves into uncorrelated
        colours, and these into RGB. If empty, the variable is the picture.
      variable: real `[H, W, 3]`, or wider if a part is overcomplete.

    Returns:
      The picture `[H, W, 3]`, not clipped.
    """
    for part in parts:
        variable = part.decode(variable)
    return variable


def encode(parts: Sequence[Parametrisation], image: Float[Array, "h w 3"]) -> Float[Array, "h v 3"]:
    """Computes the optimiser's variable from a picture; `decode` makes the same picture of it.

    Args:
      parts: parametrisations, in the order in which `decode` applies them.
      image: `[H, W, 3]`.

    Returns:
      The variable, real `[H, W, 3]`, or wider if a part is overcomplete.
    """
    for part in reversed(parts):
        image = part.encode(image)
    return image
