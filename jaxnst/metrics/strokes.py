"""How far the strokes of a picture are from a painting's, as a share of how far the photo's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.core.color import covariance_map
from jaxnst.metrics.inputs import SUMMARY_LAYERS
from jaxnst.metrics.sliced_wasserstein import sliced_wasserstein

if TYPE_CHECKING:
    from jaxtyping import Float

    Features = Mapping[str, Float[np.ndarray, "h w c"]]

LEAST_SPREAD = 0.02
"""Standard deviation that colours have at least, so that the faint chroma of a gray photo is not blown up."""

LEAST_DISTANCE = 1e-3
"""Least distance of a photo from the painting that counts, so that a copy of the painting can be measured."""


def in_colors_of(
    image: Float[np.ndarray, "h w 3"], styles: Sequence[Float[np.ndarray, "h2 w2 3"]]
) -> Float[np.ndarray, "h w 3"]:
    """Gives a picture the mean and covariance of the paintings' colours.

    The linear map of `core.color`, with `LEAST_SPREAD` added to both covariances: it changes next to nothing
    in a colourful picture, and enlarges no spread more than the paintings' spread over `LEAST_SPREAD`.

    Args:
      image: float32 `[H, W, 3]` in [0, 1].
      styles: float32 `[H2, W2, 3]` in [0, 1]; the colours of several are pooled.

    Returns:
      Float32 `[H, W, 3]`, clipped to [0, 1].
    """
    colors = np.concatenate([style.reshape(1, -1, 3) for style in styles], axis=1)
    floor = LEAST_SPREAD**2 * np.eye(3)
    matrix, offset = covariance_map(image, colors, lambda covariance: np.linalg.cholesky(covariance + floor))
    return (image @ matrix.T + offset).clip(0, 1).astype(np.float32)


def style_ratio(features: Features, photo: Features, paintings: Sequence[Features]) -> float:
    """Computes how much of the distance from the photo's features to the painting's is left.

    Bring picture and photo to the colours of the painting first, by `in_colors_of`. Then colour and contrast
    alone gain nothing, and what is compared are strokes, hatching, edges and shapes.

    Args:
      features: feature maps of the picture, float32 `[H, W, C]`, at `SUMMARY_LAYERS`.
      photo: feature maps of the photo.
      paintings: feature maps of each painting; their positions are pooled.

    Returns:
      The sliced 2-Wasserstein distance (Heitz, Vanhoey, Chambon and Belcour 2021) of picture and paintings
      over that of photo and paintings, averaged over the layers: at least 0, and 1 for the photo.
    """
    ratios = []
    for layer in SUMMARY_LAYERS:
        channels = features[layer].shape[-1]
        theirs = np.concatenate([maps[layer].reshape(1, -1, channels) for maps in paintings], axis=1)
        distance, unit = (sliced_wasserstein(maps[layer], theirs) for maps in (features, photo))
        ratios.append(np.sqrt(distance / max(unit, LEAST_DISTANCE)))
    return float(np.mean(ratios))
