"""Sums up how good a finished picture is in four numbers between 0 and 1 that agree with the eye."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.metrics import inputs
from jaxnst.metrics.palette import palette_ratio
from jaxnst.metrics.speckle import speckle
from jaxnst.metrics.strokes import in_colors_of, style_ratio
from jaxnst.metrics.structure import structure_kept

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture
    from jaxnst.metrics.strokes import Features


def summary(
    image: Picture,
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    size: int = inputs.SIZE,
) -> dict[str, float]:
    """Measures a finished picture by four numbers between 0 and 1; `SUMMARY` says what they mean.

    Args:
      image: the finished picture: a path, a `PIL.Image` or an array.
      content: the photo; None leaves only `speckle`.
      style: the painting; or a list or tuple of paintings, which are pooled as if they were one; None leaves
        only `structure`.
      size: length of the longer side at which `style` and `structure` are compared, in pixels; default
        `SIZE`. A smaller picture is compared at its own size. Numbers of different sizes cannot be compared.

    Returns:
      The numbers by name:
        palette: `palette_ratio`, at most 1. Lower is better.
        style: `style_ratio` in the paintings' colours, at most 1. Lower is better.
        structure: `structure_kept`, at least 0. Higher is better.
        speckle: 1 - 1 / s, at least 0, for the ratio s of `speckle`; 1.2 becomes 0.17. Lower is better.

    Raises:
      InputError: a picture cannot be read or is too small, or there is neither content nor style.
    """
    whole = inputs.read(image, content, style)
    # Enlarging adds no detail: a picture of 128 pixels would count as a blurred one of 256.
    resized = inputs.resize(whole, min(size, max(inputs.LEAST_SIDE, *whole.image.shape[:2])))
    numbers = {}
    if whole.photo is not None and whole.paintings:
        numbers["palette"] = min(palette_ratio(whole.image, whole.photo, whole.paintings), 1.0)
    if resized.photo is not None and resized.paintings:
        numbers["style"] = min(_style(resized.image, resized.photo, resized.paintings), 1.0)
    if resized.photo is not None:
        ours, theirs = (_features(picture) for picture in (resized.image, resized.photo))
        numbers["structure"] = max(structure_kept(ours, theirs), 0.0)
    if whole.paintings:
        numbers["speckle"] = 1 - 1 / max(speckle(whole.image, whole.paintings), 1.0)
    return numbers


def _features(picture: Float[np.ndarray, "h w 3"]) -> Features:
    return _features_of(picture.tobytes(), picture.shape)


@functools.lru_cache(maxsize=16)
def _features_of(pixels: bytes, shape: tuple[int, ...]) -> Features:
    """Computes the feature maps that `style_ratio` and `structure_kept` compare.

    They are kept, since many pictures are measured against one pair. At 256 pixels each takes 6 MB.
    """
    picture = np.frombuffer(pixels, np.float32).reshape(shape)
    return inputs.features(picture, inputs.SUMMARY_LAYERS)


def _style(
    image: Float[np.ndarray, "h w 3"],
    photo: Float[np.ndarray, "h w 3"],
    paintings: Sequence[Float[np.ndarray, "h2 w2 3"]],
) -> float:
    ours, photos = (_features(in_colors_of(picture, paintings)) for picture in (image, photo))
    return style_ratio(ours, photos, [_features(painting) for painting in paintings])
