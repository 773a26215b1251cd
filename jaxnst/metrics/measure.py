"""Measures how good a finished picture is, by a yardstick that no setting of a run can change.

One network sees all pictures, and all are resized to one size. So pictures of different settings, sizes and
programs can be compared. Knows nothing of Config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxnst.core.color import luminance
from jaxnst.metrics import inputs
from jaxnst.metrics.color_difference import ciede2000, distribution_distance, to_lab
from jaxnst.metrics.inputs import CONTENT_LAYERS, LAYERS, SIZE, SLICED_WASSERSTEIN_LAYERS, STYLE_LAYERS
from jaxnst.metrics.similarity import gradient_magnitude, structural_similarity
from jaxnst.metrics.sliced_wasserstein import sliced_wasserstein

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture


class _Analysis(NamedTuple):
    """Holds a picture, its CIELAB colours and its feature maps at `LAYERS`."""

    array: Float[np.ndarray, "h w 3"]
    lab: Float[np.ndarray, "h w 3"]
    features: Mapping[str, Float[np.ndarray, "h_l w_l c_l"]]


def measure(
    image: Picture,
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    size: int = SIZE,
) -> dict[str, float]:
    """Measures how near a finished picture is to its photo and to its painting.

    `METRICS` explains the numbers. Unlike in its paper, `gradient_ssim` leaves out the brightness of the
    pictures, so that a new tone costs nothing.

    Args:
      image: the finished picture: a path, a `PIL.Image` or an array.
      content: the photo, resized to exactly the size of `image`; None: no comparison with a photo.
      style: the painting, resized so that its longer side is as long as that of `image`; or a list or tuple
        of paintings; None: no comparison with a painting.
      size: length of the longer side to which `image` is resized, in pixels; default `SIZE`. Each side of a
        resized picture must have `LEAST_SIDE` pixels. Numbers of different sizes cannot be compared.

    Returns:
      Numbers by key, in this order: `content/LAYER` for `CONTENT_LAYERS`, `ssim`, `gradient_ssim`,
      `color/content`, `color/style`, `style/LAYER` for `STYLE_LAYERS`, and `sliced_wasserstein/LAYER` for
      `SLICED_WASSERSTEIN_LAYERS`. With several styles the last three have a number: `color/style 1`,
      `style 1/LAYER`, ..., `color/style 2`, ...

    Raises:
      InputError: a picture cannot be read or is too small, or there is neither content nor style.
    """
    pictures = inputs.resize(inputs.read(image, content, style), size)
    analysis, numbers = _analyse(pictures.image), {}
    if pictures.photo is not None:
        numbers |= _compare_with_photo(analysis, _analyse(pictures.photo))
    for number, painting in enumerate(pictures.paintings, start=1):
        suffix = f" {number}" if len(pictures.paintings) > 1 else ""
        numbers |= _compare_with_style(analysis, _analyse(painting), suffix)
    return numbers


def _analyse(array: Float[np.ndarray, "h w 3"]) -> _Analysis:
    return _Analysis(array, to_lab(array), inputs.features(array, LAYERS))


def _compare_with_photo(image: _Analysis, photo: _Analysis) -> dict[str, float]:
    ours, theirs = (luminance(picture.array).astype(np.float64) for picture in (image, photo))
    return {
        **{
            f"content/{layer}": _relative(image.features[layer], photo.features[layer])
            for layer in CONTENT_LAYERS
        },
        "ssim": structural_similarity(ours, theirs),
        "gradient_ssim": structural_similarity(gradient_magnitude(ours), gradient_magnitude(theirs)),
        "color/content": float(np.mean(ciede2000(photo.lab, image.lab))),
    }


def _compare_with_style(image: _Analysis, painting: _Analysis, suffix: str) -> dict[str, float]:
    """Compares with one painting; `suffix` is its number after a space, or nothing if there is only one."""
    return {
        f"color/style{suffix}": distribution_distance(image.lab, painting.lab),
        **{
            f"style{suffix}/{layer}": _relative(_gram(image.features[layer]), _gram(painting.features[layer]))
            for layer in STYLE_LAYERS
        },
        **{
            f"sliced_wasserstein{suffix}/{layer}": sliced_wasserstein(
                image.features[layer], painting.features[layer]
            )
            for layer in SLICED_WASSERSTEIN_LAYERS
        },
    }


def _relative(values: np.ndarray, target: np.ndarray) -> float:
    return float(np.sum(np.square(values - target)) / np.sum(np.square(target)))


def _gram(features: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "c c"]:
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat / len(flat)
