"""Single coloured pixels and checkerboards: how much finest chroma a picture has beside its painting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.io import images

if TYPE_CHECKING:
    from jaxtyping import Float

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
"""Weights of Burt and Adelson's low-pass filter of one octave: zero for a period of two pixels."""

LEAST_GRAIN = 1 / 255
"""Grain of one level of 8 bits, which nobody sees: the least that a painting counts for."""


def speckle(image: Float[np.ndarray, "h w 3"], styles: Sequence[Float[np.ndarray, "h2 w2 3"]]) -> float:
    """Computes the grain of a picture's colours relative to the painting's.

    Args:
      image: the finished picture at its own pixels, float32 `[H, W, 3]` in [0, 1].
      styles: the paintings, float32 `[H2, W2, 3]` in [0, 1]. They are shrunk so that their longer side is as
        long as the picture's. They are never enlarged, since that makes no fine detail. Of several, the mean
        square counts.

    Returns:
      The `chroma_grain` of the picture over that of the paintings: 1 if equal; above 1.2 dots are seen.
    """
    grains = []
    for style in styles:
        side = min(max(image.shape[:2]), max(style.shape[:2]))
        grains.append(chroma_grain(images.resize(style, images.fit_size(style.shape[:2], side))))
    return chroma_grain(image) / max(float(np.sqrt(np.mean(np.square(grains)))), LEAST_GRAIN)


def chroma_grain(image: Float[np.ndarray, "h w 3"]) -> float:
    """Computes the root mean square of the highest octave of the chroma R - G and (R + G) / 2 - B.

    The octave is the finest level of a Laplacian pyramid (Burt and Adelson 1983) without its subsampling:
    the picture less its low-pass by `BINOMIAL`. A period of two pixels passes whole, one of four by 3/4.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], at least 1 pixel on each side; its border is mirrored.

    Returns:
      The root of the mean square over all pixels and both channels, at least 0.
    """
    from scipy import ndimage

    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    chroma = np.stack([red - green, (red + green) / 2 - blue])
    # This mirror does not repeat the pixel of the border, so that a checkerboard goes on beyond it.
    smooth = ndimage.correlate1d(chroma, BINOMIAL, axis=1, mode="mirror")
    smooth = ndimage.correlate1d(smooth, BINOMIAL, axis=2, mode="mirror")
    return float(np.sqrt(np.mean(np.square(chroma - smooth))))
