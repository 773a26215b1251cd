"""Pictures to measure: read, checked, brought to one size, and their features in the one network.

The network is always VGG19 with the shipped weights, max pooling and zero padding, whatever made the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.io.weights.load import load_weights

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture

CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SLICED_WASSERSTEIN_LAYERS = ("pool1", "pool2", "relu3_3", "relu4_3")
"""Layers that neither the defaults nor any preset optimises, so that no run is tuned to this metric."""

SUMMARY_LAYERS = ("relu3_3", "relu4_3")
"""The deeper two of them, which see strokes and shapes; `pool1` and `pool2` take noise for strokes."""

LAYERS = tuple(sorted({*CONTENT_LAYERS, *STYLE_LAYERS, *SLICED_WASSERSTEIN_LAYERS}, key=vgg.LAYERS.index))

LEAST_SIDE = max(11, *map(vgg.stride, LAYERS))
"""Least length of each side, in pixels: what the deepest layer needs, and SSIM's window of 11 pixels."""

SIZE = 256
"""Default length of the longer side, in pixels, at which pictures are compared."""

_features = jax.jit(vgg.features, static_argnums=(2, 3, 4))


class Pictures(NamedTuple):
    """Holds the finished picture, the photo and the paintings, float32 `[H, W, 3]` in [0, 1]."""

    image: Float[np.ndarray, "h w 3"]
    photo: Float[np.ndarray, "h2 w2 3"] | None
    paintings: Sequence[Float[np.ndarray, "h3 w3 3"]]


def read(image: Picture, content: Picture | None, style: Picture | Sequence[Picture] | None) -> Pictures:
    """Reads pictures at their own sizes.

    Args:
      image: the finished picture.
      content: the photo; None: no photo.
      style: the painting, a list or tuple of paintings, or None: no painting.

    Raises:
      InputError: a picture cannot be read, or there is neither content nor style.
    """
    styles = images.as_list(style)
    if content is None and style is None:
        raise InputError("content and style are both missing; give at least one picture.")
    if style is not None and not styles:
        raise InputError("style: no picture is given; give at least one, or None to leave it out.")
    return Pictures(
        images.read_image(image, "image"),
        None if content is None else images.read_image(content, "content"),
        [images.read_image(picture, "style") for picture in styles],
    )


def resize(pictures: Pictures, size: int) -> Pictures:
    """Brings pictures to the size at which they are compared.

    Args:
      pictures: as read.
      size: new length of the longer side of `image` and of each painting. The photo gets the size of `image`.

    Raises:
      InputError: `size` or a resized picture is too small to measure.
    """
    if size < LEAST_SIDE:
        raise InputError(f"size: {size} is too small to measure; the least is {LEAST_SIDE}.")
    image = _fit(pictures.image, "image", size)
    return Pictures(
        image,
        None if pictures.photo is None else images.resize(pictures.photo, image.shape[:2]),
        [_fit(painting, "style", max(image.shape[:2])) for painting in pictures.paintings],
    )


def _fit(array: Float[np.ndarray, "h w 3"], argument: str, size: int) -> Float[np.ndarray, "h2 w2 3"]:
    height, width = images.fit_size((array.shape[0], array.shape[1]), size)
    if min(height, width) < LEAST_SIDE:
        raise InputError(
            f"{argument}: {width}x{height} pixels after resizing are too few to measure; "
            f"each side needs at least {LEAST_SIDE}."
        )
    return images.resize(array, (height, width))


def features(
    array: Float[np.ndarray, "h w 3"], layers: tuple[str, ...] = LAYERS
) -> Mapping[str, Float[np.ndarray, "h_l w_l c_l"]]:
    """Computes the feature maps of a picture in one program, which is compiled once for each size.

    Args:
      array: float32 `[H, W, 3]` in [0, 1].
      layers: names of layers; default `LAYERS`.

    Returns:
      Float32 `[H_l, W_l, C_l]` by layer.
    """
    params = load_weights("caffe").params
    maps = _features(params, jnp.asarray(array), layers, vgg.max_pool, vgg.zeros)
    return {layer: np.asarray(values) for layer, values in maps.items()}
