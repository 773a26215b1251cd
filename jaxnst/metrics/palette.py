"""How far the colours of a picture are from a painting's, as a share of how far the photo's are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.io import images

if TYPE_CHECKING:
    from jaxtyping import Float

SIDE, DIRECTIONS, SEED = 160, 64, 0
"""Pictures are compared as 160 x 160 colours, along 64 random directions of the RGB cube, always the same."""

LEAST_DISTANCE = 1 / 255
"""A photo whose colours are as near as this to the painting's, one level of 8 bits, has the same palette."""


def palette_ratio(
    image: Float[np.ndarray, "h w 3"],
    content: Float[np.ndarray, "h2 w2 3"],
    styles: Sequence[Float[np.ndarray, "h3 w3 3"]],
) -> float:
    """Computes how much of the distance from the photo's palette to the painting's is left.

    Args:
      image: the finished picture, float32 `[H, W, 3]` in [0, 1].
      content: the photo, float32 `[H2, W2, 3]` in [0, 1].
      styles: the paintings, float32 `[H3, W3, 3]` in [0, 1]; the colours of several are pooled.

    Returns:
      The `palette_distance` of picture and paintings over that of photo and paintings, at least 0. It is 0 if
      the palettes are equal, 1 for the photo itself, and more for a picture that is farther away.
    """
    return palette_distance(image, styles) / max(palette_distance(content, styles), LEAST_DISTANCE)


def palette_distance(
    image: Float[np.ndarray, "h w 3"], styles: Sequence[Float[np.ndarray, "h2 w2 3"]]
) -> float:
    """Computes the sliced 2-Wasserstein distance of RGB values (Rabin, Peyre, Delon and Bernot 2011).

    Args:
      image: float32 `[H, W, 3]` in [0, 1].
      styles: float32 `[H2, W2, 3]` in [0, 1]; the colours of several are pooled.

    Returns:
      The root of the mean over directions of the squared 2-Wasserstein distance along each. If all colours
      shift alike, it is the length of the shift over the root of 3, up to the choice of the directions.
    """
    normal = np.random.default_rng(SEED).standard_normal((DIRECTIONS, 3))
    directions = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    ours = np.sort(directions @ _colors(image).T)
    theirs = np.sort(directions @ np.concatenate([_colors(style) for style in styles]).T)
    return float(np.sqrt(np.mean(np.square(np.repeat(ours, len(styles), axis=1) - theirs))))


def _colors(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "n 3"]:
    return images.resize(image, (SIDE, SIDE)).reshape(-1, 3).astype(np.float64)
