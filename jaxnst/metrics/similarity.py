"""Structural similarity of two gray pictures, and the gradient magnitudes that `gradient_ssim` compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

SIGMA, RADIUS = 1.5, 5
"""Standard deviation and radius, in pixels, of the Gaussian window, which is 11 pixels wide."""


def structural_similarity(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> float:
    """Computes the mean structural similarity (SSIM) of two pictures (Wang et al. 2004, eq. 13 and 17).

    Only windows that lie inside the pictures count.

    Args:
      x: float64 `[H, W]` in [0, 1], at least 11 pixels on each side.
      y: float64 `[H, W]` in [0, 1], of the same size.

    Returns:
      The mean over all windows, -1 to 1; 1 if the pictures are equal.
    """
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = map(_window_means, (x, y, x * x, y * y, x * y))
    covariance = mean_xy - mean_x * mean_y
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    brightness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(np.mean(brightness * (2 * covariance + c2) / (variances + c2)))


def gradient_magnitude(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Computes the root mean square of the two Sobel derivatives, each divided by 4, its largest value.

    Args:
      image: float `[H, W]` in [0, 1]; its border is mirrored.

    Returns:
      Float `[H, W]` in [0, 1].
    """
    from scipy import ndimage

    return np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1)) / (4 * np.sqrt(2))


def _window_means(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2"]:
    from scipy import ndimage

    means = ndimage.gaussian_filter(image, SIGMA, radius=RADIUS)
    return means[RADIUS:-RADIUS, RADIUS:-RADIUS]
