"""Masks in: which part of a picture a style goes to, or comes from, as float32 [H, W] in [0, 1]."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst import images
from jaxnst.color import luminance
from jaxnst.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.images import Picture

LEAST_SHARE = 1e-3
"""A region whose share of all positions of a layer sums to less than this is empty there."""


def read_masks(
    masks: Sequence[Picture], pictures: Sequence[np.ndarray], argument: str
) -> list[Float[np.ndarray, "h w"]]:
    """Read one mask for each picture.

    Args:
      masks: paths, PIL images or arrays (`[H, W]`, bool, uint8 or float in [0, 1]); colours count by their
        luminance, edges may be soft.
      pictures: `[H, W, 3]`, what each mask lies over.
      argument: the name of the argument in messages.

    Returns:
      Float32 `[H, W]` in [0, 1], each of its picture's size; one of another size is resized, with a warning.

    Raises:
      InputError: not a picture, or nothing in it is marked.
    """
    found = []
    for index, (mask, picture) in enumerate(zip(masks, pictures, strict=True), start=1):
        name = f"{argument} {index}"
        array = luminance(images.read_image(_as_numbers(mask), name))
        if array.shape != picture.shape[:2]:
            given, wanted = (f"{of.shape[1]}x{of.shape[0]}" for of in (array, picture))
            warnings.warn(f"{name}: {given} pixels, resized to its picture's {wanted}", stacklevel=2)
            array = resize(array, (picture.shape[0], picture.shape[1]))
        if not array.any():
            raise InputError(f"{name}: the region is empty; mark it with white.")
        found.append(array)
    return found


def resize(mask: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "h2 w2"]:
    """`jaxnst.images.resize` for a mask."""
    return images.resize(mask[..., None], size)[..., 0]


def coverage(masks: Sequence[Float[np.ndarray, "h w"]]) -> Float[np.ndarray, "h w"]:
    """How much of each pixel belongs to some region, [0, 1]."""
    return np.clip(np.sum(masks, axis=0), 0, 1)


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


def _as_numbers(mask: Any) -> Any:
    """Truth values as 0 and 1: images are never made of them, masks often."""
    if not hasattr(mask, "dtype"):
        return mask
    return np.asarray(mask, np.float32) if str(mask.dtype).endswith("bool") else mask
