"""How much of the photo's structure a picture keeps, whatever its tones, colours and strokes are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.metrics.inputs import SUMMARY_LAYERS

if TYPE_CHECKING:
    from jaxtyping import Float

RADIUS = 3
"""Each position is compared with those up to 3 rows and columns away."""

OFFSETS = tuple(
    (down, right)
    for down in range(RADIUS + 1)
    for right in range(-RADIUS, RADIUS + 1)
    if down > 0 or right > 0  # each pair of positions once
)


def structure_kept(
    features: Mapping[str, Float[np.ndarray, "h w c"]], photo: Mapping[str, Float[np.ndarray, "h w c"]]
) -> float:
    """Computes how well the local self-similarity of a picture follows the photo's.

    That parts of a picture are like each other where the photo's are was proposed by Shechtman and Irani 2007
    (Matching local self-similarities) and, for deep features with the cosine similarity, by Kolkin, Salavon
    and Shakhnarovich 2019 (STROTSS, eq. 7). Unlike there, only near positions are compared, so that a part in
    the wrong place costs, and the result is a correlation, which is 0 for unrelated pictures.

    Args:
      features: the picture's feature maps at `SUMMARY_LAYERS`.
      photo: the photo's, of the same sizes.

    Returns:
      The correlation coefficient of the self-similarities, averaged over the layers, -1 to 1: 1 for the
      photo, about 0 for a picture that has nothing to do with it.
    """
    return float(np.mean([_correlation(features[layer], photo[layer]) for layer in SUMMARY_LAYERS]))


def _correlation(features: Float[np.ndarray, "h w c"], photo: Float[np.ndarray, "h w c"]) -> float:
    ours, theirs = _self_similarity(features), _self_similarity(photo)
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return float(ours @ theirs / norms) if norms > 0 else float(np.array_equal(ours, theirs))


def _self_similarity(features: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, " n"]:
    """Computes the cosine similarity of all near positions, less the mean of all that are equally far apart.

    Near positions are alike in every picture; without the mean, unrelated pictures would correlate by 0.3.
    """
    units = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-6)
    height, width = units.shape[:2]
    parts = []
    for down, right in OFFSETS:
        left, end = max(0, -right), min(width, width - right)
        if down < height and left < end:
            here, there = units[: height - down, left:end], units[down:, left + right : end + right]
            similarity = np.einsum("hwc,hwc->hw", here, there, dtype=np.float64).ravel()
            parts.append(similarity - similarity.mean())
    return np.concatenate(parts)
