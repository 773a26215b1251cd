"""How far the strokes of a picture are from a painting's, as a share of how far the photo's are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.core.color import match_histogram, to_gray
from jaxnst.metrics.inputs import features
from jaxnst.metrics.sliced_wasserstein import sliced_wasserstein

if TYPE_CHECKING:
    from jaxtyping import Float

STROKE_LAYERS = ("pool2", "relu3_3", "relu4_3")
"""Layers at which strokes are compared; neither the defaults nor any preset optimises them."""

LEAST_DISTANCE = 1e-3
"""Least distance of a photo from the painting that counts, so that a copy of the painting can be measured."""


def style_ratio(
    image: Float[np.ndarray, "h w 3"],
    content: Float[np.ndarray, "h2 w2 3"],
    styles: Sequence[Float[np.ndarray, "h3 w3 3"]],
) -> float:
    """Computes how much of the distance from the photo's texture to the painting's is left, without colour.

    The pictures are compared in gray, and picture and photo get the painting's histogram of gray first. So new
    colours and tones alone change nothing: what is compared are strokes, hatching, edges and shapes.

    Args:
      image: the finished picture, float32 `[H, W, 3]` in [0, 1].
      content: the photo, float32 `[H2, W2, 3]` in [0, 1].
      styles: the paintings, float32 `[H3, W3, 3]` in [0, 1]; the features of several are pooled.

    Returns:
      The sliced 2-Wasserstein distance of the features (Heitz et al. 2021) of picture and paintings over that
      of photo and paintings, averaged over `STROKE_LAYERS`: at least 0, and 1 for the photo.
    """
    grays = [to_gray(style) for style in styles]
    tones = np.concatenate([gray.reshape(1, -1, 3) for gray in grays], axis=1)
    maps = [features(gray, STROKE_LAYERS) for gray in grays]
    ours, photos = (
        features(match_histogram(to_gray(picture), tones), STROKE_LAYERS) for picture in (image, content)
    )
    ratios = []
    for layer in STROKE_LAYERS:
        channels = ours[layer].shape[-1]
        theirs = np.concatenate([style[layer].reshape(1, -1, channels) for style in maps], axis=1)
        distance, unit = (sliced_wasserstein(picture[layer], theirs) for picture in (ours, photos))
        ratios.append(np.sqrt(distance / max(unit, LEAST_DISTANCE)))
    return float(np.mean(ratios))
