"""Masks in: float32 [H, W] in [0, 1], which mark where in a picture a style is applied or taken from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jaxnst.core.color import luminance
from jaxnst.errors import InputError
from jaxnst.io import images

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from jaxnst.io.images import Picture

LEAST_SHARE = 1e-3
"""A region counts as empty at a layer if its guide sums to less than this, in positions of the layer."""


def read_masks(
    masks: Sequence[Picture], shapes: Sequence[tuple[int, int]], argument: str
) -> list[Float[np.ndarray, "h w"]]:
    """Reads no masks or one for each picture; one of another size is resized, with a warning.

    Args:
      masks: paths, PIL images or arrays (`[H, W]`, bool, uint8 or float in [0, 1]). Colours are reduced to
        their luminance; transparent pixels count as black; soft edges stay soft.
      shapes: height and width of each mask's picture in pixels.
      argument: name of the argument in messages.

    Returns:
      For each mask, float32 `[H, W]` in [0, 1] of the size of its picture.

    Raises:
      InputError: there are neither no masks nor one for each picture; a mask cannot be read as a picture, or
        is black everywhere.
    """
    if len(masks) not in (0, len(shapes)):
        raise InputError(
            f"{argument}: {len(masks)} masks for {len(shapes)} style pictures; give one for each, or none."
        )
    arrays = []
    for index, (mask, shape) in enumerate(zip(masks, shapes, strict=False), start=1):
        name = f"{argument} {index}"
        array = luminance(images.read_image(_over_black(mask, name), name))
        if array.shape != tuple(shape):
            before, after = (f"{width}x{height}" for height, width in (array.shape, shape))
            warnings.warn(f"{name}: {before} pixels, resized to its picture's {after}", stacklevel=2)
            array = resize(array, (shape[0], shape[1]))
        if not array.any():
            raise InputError(f"{name}: the region is empty; mark it with white.")
        if array.max() < 0.1:
            warnings.warn(f"{name}: its brightest value is {array.max():.2g}; white is 1", stacklevel=2)
        arrays.append(array)
    return arrays


def resize(mask: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "h2 w2"]:
    """Resamples a mask bilinearly: unlike Lanczos this cannot overshoot, so pixels outside a region stay 0.

    Args:
      mask: float32 `[H, W]` in [0, 1].
      size: new height and width in pixels.

    Returns:
      Float32 `[*size]` in [0, 1]; `mask` itself if it has this size.
    """
    if mask.shape == tuple(size):
        return mask
    resized = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def coverage(masks: Sequence[Float[np.ndarray, "h w"]]) -> Float[np.ndarray, "h w"]:
    """Sums masks to the part of each pixel that any region covers, clipped to [0, 1]."""
    return np.clip(np.sum(masks, axis=0), 0, 1)


def core(mask: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Marks the pixels where a mask has at least half its maximum; even a faint mask has some."""
    return mask >= mask.max() / 2


def check_regions(guides: Mapping[str, Any], name: str, size: tuple[int, int]) -> None:
    """Checks that a region is not empty at any layer.

    Args:
      guides: the region at each layer, `{layer: [H_l, W_l]}`, from `jaxnst.core.guides.carry_down`.
      name: name of the mask in the error message.
      size: height and width of the mask's picture in pixels.

    Raises:
      InputError: the region is empty at a layer, which the message names.
    """
    for layer, guide in guides.items():
        if float(np.sum(guide)) < LEAST_SHARE:
            raise InputError(
                f"{name}: at {size[1]}x{size[0]} pixels the region is empty at {layer}; "
                "mark more, use shallower layers, a larger size or guidance simple."
            )


def _over_black(mask: Any, name: str) -> Any:
    """Composites a mask over black, and converts booleans, which `read_image` refuses, to floats."""
    if isinstance(mask, str | os.PathLike):
        mask = images.open_image(mask, name)
    if isinstance(mask, Image.Image) and mask.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask.convert("RGBA"))
    if str(getattr(mask, "dtype", "")).endswith("bool"):
        return np.asarray(mask, np.float32)
    return mask
