"""Keeps the content's colours (Gatys et al. 2016, Preserving color in neural style transfer).

There are two ways. Either the style picture gets the content's colours before the run, or the run transfers
luminance only and the content's chroma is added to its result. All functions take and return NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxnst.core.transforms import LUMA

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Factorisation = Callable[[Float[np.ndarray, "3 3"]], Float[np.ndarray, "3 3"]]

_LUMA = np.array(LUMA)

LEAST_VARIANCE = 1e-10
"""Lower bound for variances, so that the covariance of a flat or gray picture can be inverted.

Its square root, 1e-5, is less than one level of 16 bits: colours that vary so little are equal in a file.
"""


def luminance(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Computes Y of YIQ, the brightness in which the eye sees structure.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W]` in [0, 1]. The luminance of a gray pixel equals its value exactly.
    """
    return (image @ _LUMA).astype(np.float32)


def to_gray(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Removes the colour of a picture and repeats its luminance in three channels.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W, 3]` in [0, 1].
    """
    return np.repeat(luminance(image)[..., None], 3, axis=-1)


def chroma(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Computes the difference between a picture and its gray version.

    Adding it to a gray picture combines that picture's Y with this picture's I and Q, because a change of Y
    adds the same value to red, green and blue.

    Args:
      image: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.

    Returns:
      Float32 `[H, W, 3]` in [-1, 1], of luminance 0. Its sum with another picture can leave [0, 1].
    """
    return image - to_gray(image)


def match_luminance(
    style: Float[np.ndarray, "h w 3"], content: Float[np.ndarray, "h2 w2 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Makes the style gray and gives it the content's brightness and contrast, for luminance-only transfer.

    Args:
      style: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      content: float32 `[H', W', 3]` in [0, 1], sRGB-encoded, of any size.

    Returns:
      Float32 `[H, W, 3]`, three equal channels, clipped to [0, 1]. Before clipping, its mean and standard
      deviation are those of the content's luminance. A flat style becomes the content's mean.
    """
    style_y, content_y = (luminance(image).astype(np.float64) for image in (style, content))
    contrast = np.sqrt(content_y.var() / max(style_y.var(), LEAST_VARIANCE))
    matched = contrast * (style_y - style_y.mean()) + content_y.mean()
    return np.repeat(matched[..., None], 3, axis=-1).clip(0, 1).astype(np.float32)


def symmetric_root(covariance: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Computes the symmetric square root of a covariance matrix.

    Args:
      covariance: symmetric, positive definite `[3, 3]`.

    Returns:
      Symmetric F `[3, 3]` with F F = covariance.
    """
    variances, axes = np.linalg.eigh(covariance)
    return (axes * np.sqrt(variances)) @ axes.T


def match_covariance(
    source: Float[np.ndarray, "h w 3"],
    reference: Float[np.ndarray, "h2 w2 3"],
    factorise: Factorisation = np.linalg.cholesky,
) -> Float[np.ndarray, "h w 3"]:
    """Gives the source's colours the mean and covariance of the reference's colours, by a linear map.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: float32 `[H', W', 3]` in [0, 1], sRGB-encoded, of any size.
      factorise: chooses one of the linear maps that do so; see `covariance_map`.

    Returns:
      Float32 `[H, W, 3]`, clipped to [0, 1].
    """
    matrix, offset = covariance_map(source, reference, factorise)
    return (source @ matrix.T + offset).clip(0, 1).astype(np.float32)


def covariance_map(
    source: Float[np.ndarray, "h w 3"],
    reference: Float[np.ndarray, "h2 w2 3"],
    factorise: Factorisation = np.linalg.cholesky,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Computes a linear map of colours that gives a picture another picture's mean and covariance.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: float32 `[H', W', 3]` in [0, 1], sRGB-encoded, of any size.
      factorise: returns F of a covariance S = F F^T; the map is A = F_reference F_source^-1. Either
        `np.linalg.cholesky` (the default), where F is lower triangular, or `symmetric_root`, as in Image
        Analogies (Hertzmann 2001).

    Returns:
      A `[3, 3]` and b `[3]`, float64, of x -> A x + b. The mapped source has the reference's mean and
      covariance, unless the source has no variance along some direction of colour: a gray source becomes
      shades of one colour, a flat source stays flat.
    """
    source_mean, source_covariance = _moments(source)
    mean, covariance = _moments(reference)
    matrix = np.linalg.solve(factorise(source_covariance).T, factorise(covariance).T).T
    return matrix, mean - matrix @ source_mean


def match_histogram(
    source: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h2 w2 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Gives each channel of the source the reference's distribution of values, as scikit-image does.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: float32 `[H', W', 3]` in [0, 1], sRGB-encoded, of any size.

    Returns:
      Float32 `[H, W, 3]`, interpolated between the reference's values and never outside their range.
    """
    matched = [_match_channel(source[..., i], reference[..., i]) for i in range(3)]
    return np.stack(matched, axis=-1).astype(np.float32)


def _match_channel(source: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h2 w2"]) -> np.ndarray:
    _, indices, cumulative = _distribution(source)
    values, _, reference_cumulative = _distribution(reference)
    return np.interp(cumulative, reference_cumulative, values)[indices]


def _distribution(channel: Float[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the distinct values, the index of each pixel's value, and the cumulative share of pixels."""
    values, indices, counts = np.unique(channel, return_inverse=True, return_counts=True)
    return values, indices, counts.cumsum() / channel.size


def transport_colors(
    source: Float[np.ndarray, "h w 3"],
    reference: Float[np.ndarray, "h2 w2 3"],
    rounds: int = 16,
    seed: int = 0,
) -> Float[np.ndarray, "h w 3"]:
    """Gives the source's colours the distribution of the reference's in three dimensions.

    Each round turns the axes of colour at random and matches the distribution along each axis by itself. The
    result tends to the reference's distribution, along every direction.

    Args:
      source: float32 `[H, W, 3]` in [0, 1], sRGB-encoded.
      reference: float32 `[H', W', 3]` in [0, 1], sRGB-encoded, of any size.
      rounds: number of rotations (default 16).
      seed: seed of the rotations (default 0).

    Returns:
      Float32 `[H, W, 3]`, clipped to [0, 1].

    Source: Pitie, Kokaram and Dahyot 2007, Automated colour grading using colour distribution transfer.
    """
    moved, wanted = (image.astype(np.float64) for image in (source, reference))
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        axes = np.linalg.qr(generator.standard_normal((3, 3)))[0]
        ours, theirs = moved @ axes, wanted @ axes
        moved = np.stack([_match_channel(ours[..., i], theirs[..., i]) for i in range(3)], axis=-1) @ axes.T
    return moved.clip(0, 1).astype(np.float32)


def _moments(image: Float[np.ndarray, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and covariance of the pixels, with no variance below `LEAST_VARIANCE`."""
    pixels = image.reshape(-1, 3).astype(np.float64)
    variances, axes = np.linalg.eigh(np.cov(pixels.T, ddof=0))
    return pixels.mean(axis=0), (axes * variances.clip(LEAST_VARIANCE)) @ axes.T


def match_regions(
    transfer: Callable[[np.ndarray, np.ndarray], np.ndarray],
    styles: Sequence[Float[np.ndarray, "h w 3"]],
    content: Float[np.ndarray, "h2 w2 3"],
    style_regions: Sequence[Bool[np.ndarray, "h w"]] = (),
    content_regions: Sequence[Bool[np.ndarray, "h2 w2"]] = (),
) -> list[Float[np.ndarray, "h w 3"]]:
    """Gives each style picture the content's colours, those of its region.

    Args:
      transfer: `match_luminance` or a value of `COLOR_TRANSFERS`.
      styles: float32 `[H, W, 3]` in [0, 1].
      content: the content picture, float32 `[H, W, 3]` in [0, 1].
      style_regions: for each style the pixels that change; default all of them.
      content_regions: for each style the pixels of the content whose colours count; default all of them.

    Returns:
      For each style a new picture, float32 `[H, W, 3]` in [0, 1].
    """
    matched = []
    for index, style in enumerate(styles):
        inside = style_regions[index] if style_regions else np.ones(style.shape[:2], bool)
        wanted = content_regions[index] if content_regions else np.ones(content.shape[:2], bool)
        picture = style.copy()
        # Pictures one pixel high: no transfer looks at where a pixel stands.
        picture[inside] = transfer(style[inside][None], content[wanted][None])[0]
        matched.append(picture)
    return matched


def without_grain(
    recolored: Float[np.ndarray, "h w 3"], content: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Makes the new colours of a picture a smooth function of its old ones, from place to place.

    Transfers that match distributions stretch the grain of flat areas to all the colours they need. Here the
    new colours become an affine function of the old ones within windows of a sixteenth of the longer side, by
    a guided filter. It is computed at 256 pixels or fewer.

    Args:
      recolored: float32 `[H, W, 3]` in [0, 1].
      content: the picture with its own colours, float32 `[H, W, 3]` in [0, 1].

    Returns:
      Float32 `[H, W, 3]`, about [0, 1].

    Source: He, Sun and Tang 2013, Guided image filtering; He and Sun 2015, Fast guided filter.
    """
    height, width = content.shape[:2]
    shrink = min(1.0, 256 / max(height, width))
    small = max(1, round(shrink * height)), max(1, round(shrink * width))
    old, new = (
        np.asarray(jax.image.resize(image, (*small, 3), "linear"), np.float64)
        for image in (content, recolored)
    )

    def mean(values: np.ndarray) -> np.ndarray:
        return _window_mean(values, max(1, max(small) // 32))

    old_mean, new_mean = mean(old), mean(new)
    variance = mean(old[..., :, None] * old[..., None, :]) - old_mean[..., :, None] * old_mean[..., None, :]
    covariance = mean(old[..., :, None] * new[..., None, :]) - old_mean[..., :, None] * new_mean[..., None, :]
    slope = np.linalg.solve(variance + LEAST_CONTRAST**2 * np.eye(3), covariance)
    offset = new_mean - np.einsum("hwi,hwij->hwj", old_mean, slope)
    slope, offset = (
        np.asarray(
            jax.image.resize(mean(part).astype(np.float32), (height, width, *part.shape[2:]), "linear")
        )
        for part in (slope, offset)
    )
    return np.einsum("hwi,hwij->hwj", content, slope) + offset


LEAST_CONTRAST = 0.03
"""Standard deviation of colours, 0 to 1, below which `without_grain` takes a window as flat."""


def _window_mean(values: Float[np.ndarray, "h w ..."], radius: int) -> Float[np.ndarray, "h w ..."]:
    """Computes the mean over the square window around each position; the border is mirrored."""
    for axis in (0, 1):
        padding = [(radius + 1, radius) if axis == other else (0, 0) for other in range(values.ndim)]
        sums = np.cumsum(np.pad(values, padding, mode="symmetric"), axis=axis)
        length, window = values.shape[axis], 2 * radius + 1
        after, before = (np.take(sums, range(start, start + length), axis=axis) for start in (window, 0))
        values = (after - before) / window
    return values


def recolor(
    transfer: Callable[[np.ndarray, np.ndarray], np.ndarray],
    content: Float[np.ndarray, "h w 3"],
    styles: Sequence[Float[np.ndarray, "h2 w2 3"]],
    shares: Sequence[float],
    strength: float = 1.0,
    content_masks: Sequence[Float[np.ndarray, "h w"]] = (),
    style_regions: Sequence[Bool[np.ndarray, "h2 w2"]] = (),
) -> Float[np.ndarray, "h w 3"]:
    """Gives the content picture the colours of the styles, as a picture to start from.

    Args:
      transfer: a value of `COLOR_TRANSFERS`.
      content: float32 `[H, W, 3]` in [0, 1].
      styles: float32 `[H', W', 3]` in [0, 1], of any size.
      shares: of the styles, not negative; only their ratios count.
      strength: 0 returns the content picture, 1 changes the colours fully.
      content_masks: for each style its region of the content, `[H, W]` in [0, 1]; default: everywhere.
      style_regions: for each style the pixels that count; default: all.

    Returns:
      Float32 `[H, W, 3]` in [0, 1]: the mean of the content in each style's colours. What no mask covers
      keeps its colours.
    """
    masks = content_masks or [np.ones(content.shape[:2], np.float32)] * len(styles)
    weights = np.stack([share * mask for share, mask in zip(shares, masks, strict=True)])
    covered = np.max(np.stack(masks), axis=0)
    weights *= covered / np.maximum(weights.sum(axis=0), 1e-12)
    change = np.zeros_like(content)
    for index, style in enumerate(styles):
        wanted = style[style_regions[index]][None] if style_regions else style
        inside = masks[index] > 0
        recolored = content.copy()
        recolored[inside] = transfer(content[inside][None], wanted)[0]
        if transfer in (match_histogram, transport_colors):
            recolored = without_grain(recolored, content)
        change[inside] += weights[index][inside][:, None] * (recolored - content)[inside]
    return (content + np.float32(strength) * change).clip(0, 1).astype(np.float32)


COLOR_TRANSFERS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cholesky": partial(match_covariance, factorise=np.linalg.cholesky),
    "pca": partial(match_covariance, factorise=symmetric_root),
    "histogram": match_histogram,
    "transport": transport_colors,
}
"""Ways to give one picture the colours of another before the run, `(source, reference) -> source`."""
