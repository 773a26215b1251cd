"""Masks in: which part of a picture a style goes to, or comes from, as float32 [H, W] in [0, 1]."""

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
"""A region whose share of all positions of a layer sums to less than this is empty there."""


def read_masks(
    masks: Sequence[Picture], shapes: Sequence[tuple[int, int]], argument: str
) -> list[Float[np.ndarray, "h w"]]:
    """Read one mask for each picture.

    Args:
      masks: paths, PIL images or arrays (`[H, W]`, bool, uint8 or float in [0, 1]); colours count by their
        luminance, what is transparent counts as black, edges may be soft.
      shapes: height and width of the picture that each mask lies over.
      argument: the name of the argument in messages.

    Returns:
      Float32 `[H, W]` in [0, 1], each of its picture's size; one of another size is resized, with a warning.

    Raises:
      InputError: not a picture, or nothing in it is marked.
    """
    found = []
    for index, (mask, shape) in enumerate(zip(masks, shapes, strict=True), start=1):
        name = f"{argument} {index}"
        array = luminance(images.read_image(_over_black(mask, name), name))
        if array.shape != tuple(shape):
            given, wanted = (f"{width}x{height}" for height, width in (array.shape, shape))
            warnings.warn(f"{name}: {given} pixels, resized to its picture's {wanted}", stacklevel=2)
            array = resize(array, (shape[0], shape[1]))
        if not array.any():
            raise InputError(f"{name}: the region is empty; mark it with white.")
        if array.max() < 0.1:
            warnings.warn(f"{name}: its brightest value is {array.max():.2g}; white is 1", stacklevel=2)
        found.append(array)
    return found


def resize(mask: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "h2 w2"]:
    """Resample a mask; unlike `jaxnst.io.images.resize` without ringing: what is outside stays outside."""
    if mask.shape == tuple(size):
        return mask
    resized = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def coverage(masks: Sequence[Float[np.ndarray, "h w"]]) -> Float[np.ndarray, "h w"]:
    """How much of each pixel belongs to some region, [0, 1]."""
    return np.clip(np.sum(masks, axis=0), 0, 1)


def core(mask: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where a region is at least half as strong as anywhere; never empty, however faint the mask."""
    return mask >= mask.max() / 2


def check_regions(guides: Mapping[str, Any], name: str, size: tuple[int, int]) -> None:
    """Refuse a region of which nothing is left at some layer.

    Args:
      guides: `{layer: [H_l, W_l]}`, from `jaxnst.core.guides.carry_down`.
      name: of the mask, for the message.
      size: height and width of its picture.

    Raises:
      InputError: with the layer.
    """
    for layer, guide in guides.items():
        if float(np.sum(guide)) < LEAST_SHARE:
            raise InputError(
                f"{name}: at {size[1]}x{size[0]} pixels the region is empty at {layer}; "
                "mark more, use shallower layers, a larger size or guidance simple."
            )


def _over_black(mask: Any, name: str) -> Any:
    """The mask with transparent parts in black; truth values as 0 and 1, which images are never made of."""
    if isinstance(mask, str | os.PathLike):
        mask = images.open_image(mask, name)
    if isinstance(mask, Image.Image) and mask.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask.convert("RGBA"))
    if str(getattr(mask, "dtype", "")).endswith("bool"):
        return np.asarray(mask, np.float32)
    return mask
