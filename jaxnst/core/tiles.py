"""How a picture is cut into tiles, and what of its feature maps belongs to each.

A tile's features depend on pixels around it, so the network sees a *window*: the tile and a halo as wide as
the deepest layer looks. All windows of a picture have the same shape, and those at its border end there, so
that one compiled program serves all of them and padding is as in the whole picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnst.core import vgg

if TYPE_CHECKING:
    from jaxtyping import Array, Int


class Place(NamedTuple):
    """Where a window is, and which part of it is its tile; rows and columns of the picture.

    Attributes:
      start: of the window.
      begin, end: of the tile.
    """

    start: Int[np.ndarray, " axes"]
    begin: Int[np.ndarray, " axes"]
    end: Int[np.ndarray, " axes"]


def halo(layers: Iterable[str]) -> int:
    """How far from a tile its features look, in pixels, as a multiple of the deepest layer's stride.

    For tiles that begin and end at multiples of the stride; 80 for relu5_1.
    """
    deepest = max(map(vgg.LAYERS.index, layers), default=-1)
    reach = sum(vgg.stride(layer) for layer in vgg.LAYERS[: deepest + 1] if layer.startswith("conv"))
    stride = _stride(vgg.LAYERS[: deepest + 1])
    return -(-reach // stride) * stride


def _stride(layers: Iterable[str]) -> int:
    return max(map(vgg.stride, layers), default=1)


def places(layers: Sequence[str], size: tuple[int, int], tile: int) -> tuple[tuple[int, int], list[Place]]:
    """Cut a picture into tiles.

    Args:
      layers: that are looked at.
      size: height and width of the picture.
      tile: largest side of a tile, in pixels.

    Returns:
      Height and width of a window, and all tiles' places.
    """
    axes = [_along(length, tile, halo(layers), _stride(layers)) for length in size]
    window = (axes[0][0], axes[1][0])
    found = [
        Place(*(np.array(ends, np.int32) for ends in zip(*spans, strict=True)))
        for spans in itertools.product(axes[0][1], axes[1][1])
    ]
    return window, found


def _along(length: int, tile: int, around: int, stride: int) -> tuple[int, list[tuple[int, int, int]]]:
    """Length of the windows along one side, and start, begin and end of each."""
    # Windows begin where Winograd's blocks of 4x4 positions do in every layer, so rounding does not change.
    step = 4 * stride
    odd = (length - 2 * around) % step  # by which windows are longer, so that the last one begins there, too
    tile = max(tile // step, 1) * step

    def cover(window: int) -> list[tuple[int, int, int]]:
        spans, begin = [], 0
        while True:
            start = min(max(begin - around, 0), length - window)
            end = start + window - odd - around if start + window < length else length
            spans.append((start, begin, end))
            if end == length:
                return spans
            begin = end

    if length <= tile + 2 * around + odd:
        return length, [(0, 0, length)]
    largest = cover(tile + 2 * around + odd)
    # As many windows as it takes, none larger than they must be.
    smaller = (2 * around + count * step + odd for count in range(1, tile // step + 1))
    return next((window, cover(window)) for window in smaller if len(cover(window)) <= len(largest))


def crop(array: Array, start: Any, window: tuple[int, int]) -> Array:
    """The part of a picture or a map that begins at `start` and has the window's height and width."""
    return lax.dynamic_slice(array, (*start, *(0,) * (array.ndim - 2)), (*window, *array.shape[2:]))


def crop_layer(of_layer: Array, layer: str, place: Place, window: tuple[int, int]) -> Array:
    """The part of a whole picture's map at one layer that belongs to a window."""
    stride = vgg.stride(layer)
    return crop(of_layer, place.start // stride, (window[0] // stride, window[1] // stride))


def counted(layers: Iterable[str], place: Place, window: tuple[int, int]) -> dict[str, Array]:
    """For each layer, 1 at the positions of the tile and 0 at the others of the window."""

    def along(axis: int, stride: int) -> Array:
        positions = place.start[axis] + stride * jnp.arange(window[axis] // stride)
        return ((positions >= place.begin[axis]) & (positions < place.end[axis])).astype(jnp.float32)

    strides = {layer: vgg.stride(layer) for layer in layers}
    return {layer: jnp.outer(along(0, stride), along(1, stride)) for layer, stride in strides.items()}
