"""Keep the content's colours (Gatys et al. 2016, "Preserving Color in Neural Style Transfer").

Two ways: give the style picture the content's colours before the run, or transfer luminance only and put
the content's chroma back after it. NumPy on float pictures; knows no files, no network and no settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.core.transforms import LUMA
from jaxnst.errors import choose

if TYPE_CHECKING:
    from jaxtyping import Float

_LUMA = np.array(LUMA)

LEAST_VARIANCE = 1e-10
"""A smaller variance counts as this one, so that flat and gray pictures have a covariance to invert.

Its root, 1e-5, is less than one level of 16 bits: colours that vary so little are all the same to a file.
"""


def luminance(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Y of YIQ, the brightness in which the eye sees structure.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W]` in [0, 1]. In gray pixels it is the pixels' own value, to the last bit.
    """
    return (image @ _LUMA).astype(np.float32)


def to_gray(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """The picture without its colour: its luminance in three channels.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W, 3]` in [0, 1].
    """
    return np.repeat(luminance(image)[..., None], 3, axis=-1)


def chroma(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """The colour without the picture: what `to_gray` takes away.

    To add it to a gray picture is to put that picture's Y beside this one's I and Q, since Y counts alike
    in red, green and blue.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W, 3]` in [-1, 1], of luminance 0. The sum with another picture can leave [0, 1].
    """
    return image - to_gray(image)


def match_luminance(
    style: Float[np.ndarray, "h w 3"], content: Float[np.ndarray, "h2 w2 3"]
) -> Float[np.ndarray, "h w 3"]:
    """The style in gray, as bright and as rich in contrast as the content, for luminance-only transfer.

    Args:
      style: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      content: the same, of any size.

    Returns:
      Float32 `[H, W, 3]`, three equal channels, clipped to [0, 1]. Before clipping, mean and standard
      deviation are those of the content's luminance; a flat style takes the content's mean.
    """
    style_y, content_y = (luminance(image).astype(np.float64) for image in (style, content))
    contrast = np.sqrt(content_y.var() / max(style_y.var(), LEAST_VARIANCE))
    matched = contrast * (style_y - style_y.mean()) + content_y.mean()
    return np.repeat(matched[..., None], 3, axis=-1).clip(0, 1).astype(np.float32)


def match_covariance(
    source: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h2 w2 3"], form: str
) -> Float[np.ndarray, "h w 3"]:
    """Move the source's colours to the reference's mean and covariance, by a linear map.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: the same, of any size.
      form: which of the linear maps that do so: "cholesky" or "pca"; see `covariance_map`.

    Returns:
      Float32 `[H, W, 3]`, clipped to [0, 1].

    Raises:
      InputError: unknown form.
    """
    matrix, offset = covariance_map(source, reference, form)
    return (source @ matrix.T + offset).clip(0, 1).astype(np.float32)


def covariance_map(
    source: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h2 w2 3"], form: str
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """The linear map of colours that gives a picture another's mean and covariance.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: the same, of any size.
      form: how a covariance S is taken apart, S = F F^T, to make A = F_reference F_source^-1: "cholesky",
        F lower triangular; or "pca", F the symmetric square root, as in Image Analogies (Hertzmann 2001).

    Returns:
      A `[3, 3]` and b `[3]`, float64, of x -> A x + b. The moments come out exactly, but for a source that
      does not vary along some direction of colour: gray becomes shades of one colour, flat stays flat.

    Raises:
      InputError: unknown form.
    """
    factor = FACTORS[choose("form", form, FACTORS)]
    source_mean, source_covariance = _moments(source)
    mean, covariance = _moments(reference)
    matrix = np.linalg.solve(factor(source_covariance).T, factor(covariance).T).T
    return matrix, mean - matrix @ source_mean


def match_histogram(
    source: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h2 w2 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Give each channel of the source the reference's distribution of values, as scikit-image does.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: the same, of any size.

    Returns:
      Float32 `[H, W, 3]`, within the range of the reference's values; between two of them, interpolated.
    """
    matched = [_match_channel(source[..., i], reference[..., i]) for i in range(3)]
    return np.stack(matched, axis=-1).astype(np.float32)


def _match_channel(source: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h2 w2"]) -> np.ndarray:
    _, places, shares = _distribution(source)
    values, _, reference_shares = _distribution(reference)
    return np.interp(shares, reference_shares, values)[places]


def _distribution(channel: Float[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values that occur, where each pixel's stands among them, and the share of pixels up to each."""
    values, places, counts = np.unique(channel, return_inverse=True, return_counts=True)
    return values, places, counts.cumsum() / channel.size


def _moments(image: Float[np.ndarray, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the pixels, no variance below `LEAST_VARIANCE`."""
    pixels = image.reshape(-1, 3).astype(np.float64)
    variances, axes = np.linalg.eigh(np.cov(pixels.T, ddof=0))
    return pixels.mean(axis=0), (axes * variances.clip(LEAST_VARIANCE)) @ axes.T


def _symmetric_root(covariance: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    variances, axes = np.linalg.eigh(covariance)
    return (axes * np.sqrt(variances)) @ axes.T


FACTORS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "cholesky": np.linalg.cholesky,
    "pca": _symmetric_root,
}
"""F of a covariance S = F F^T, by the name of the form."""

COLOR_TRANSFERS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cholesky": partial(match_covariance, form="cholesky"),
    "pca": partial(match_covariance, form="pca"),
    "histogram": match_histogram,
}
"""What to do to the style picture before the run, `(style, content) -> style`, by name."""
