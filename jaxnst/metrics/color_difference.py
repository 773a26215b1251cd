"""Colour in CIELAB: the conversion from sRGB, CIEDE2000, and the distance of two colour distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

RGB_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
"""XYZ of linear RGB, for the primaries of ITU-R BT.709 and white D65."""

WHITE = np.array([0.95047, 1.0, 1.08883])
"""XYZ of D65, for the observer of 2 degrees."""


def to_lab(image: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Converts sRGB to CIELAB (IEC 61966-2-1 and CIE 1976, white D65).

    Args:
      image: float `[..., 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float64 `[..., 3]`: L* in [0, 100], a* and b*.
    """
    rgb = image.astype(np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ RGB_TO_XYZ.T / WHITE
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(
    first: Float[np.ndarray, "*shape 3"], second: Float[np.ndarray, "*shape 3"]
) -> Float[np.ndarray, "*shape"]:
    """Computes the CIEDE2000 difference of colours (Sharma, Wu and Dalal 2005, eq. 2-22, all k = 1).

    Args:
      first: float `[..., 3]`, CIELAB.
      second: float `[..., 3]`, CIELAB.

    Returns:
      Float `[...]`, at least 0; about 1 is just noticeable.
    """
    (L1, a1, b1), (L2, a2, b2) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    stretch = 1.5 - 0.5 * _saturation((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)
    C1, C2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    # Mean and difference of the hues go the shorter way round the circle. If a colour is gray and has no hue,
    # all terms with a hue are zero.
    turn = np.where(np.abs(h2 - h1) > 180, 360 * np.sign(h2 - h1), 0)
    h = (h1 + h2 + turn) / 2 % 360
    dH = 2 * np.sqrt(C1 * C2) * np.sin(np.radians(h2 - h1 - turn) / 2)
    waves = np.cos(np.radians([h - 30, 2 * h, 3 * h + 6, 4 * h - 63]))
    T = 1 + np.tensordot([-0.17, 0.24, 0.32, -0.2], waves, 1)
    lightness = (L2 - L1) / (1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2))
    chroma = (C2 - C1) / (1 + 0.045 * C)
    hue = dH / (1 + 0.015 * C * T)
    rotation = -2 * _saturation(C) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    return np.sqrt(lightness**2 + chroma**2 + hue**2 + rotation * chroma * hue)


def _saturation(chroma: np.ndarray) -> np.ndarray:
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def distribution_distance(first: Float[np.ndarray, "h w 3"], second: Float[np.ndarray, "h2 w2 3"]) -> float:
    """Computes the distance of two colour distributions (Rubner, Tomasi and Guibas 2000), axis by axis.

    Args:
      first: float `[H, W, 3]`, CIELAB.
      second: float `[H2, W2, 3]`, CIELAB.

    Returns:
      The root of the summed squares of the earth mover's distances along L*, a* and b*. It is at most the
      earth mover's distance in the whole space, and is the length of the shift if all colours shift alike.
    """
    from scipy.stats import wasserstein_distance

    axes = zip(first.reshape(-1, 3).T, second.reshape(-1, 3).T, strict=True)
    return float(np.linalg.norm([wasserstein_distance(*axis) for axis in axes]))
