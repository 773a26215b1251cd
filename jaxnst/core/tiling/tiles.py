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
    around, stride = halo(layers), _stride(layers)
    window = window_of(layers, size, tile)
    axes = [_spans(*lengths, around, stride) for lengths in zip(size, window, strict=True)]
    return window, [
        Place(*(np.array(ends, np.int32) for ends in zip(*spans, strict=True)))
        for spans in itertools.product(*axes)
    ]


def window_of(layers: Sequence[str], size: tuple[int, int], tile: int) -> tuple[int, int]:
    """Height and width of the windows that `places` makes; arguments as there."""
    around, stride = halo(layers), _stride(layers)
    height, width = (_window(length, tile, around, stride) for length in size)
    return height, width


def _window(length: int, tile: int, around: int, stride: int) -> int:
    """Length of the windows along one side: as few as tiles of this side make, and no larger than that."""
    # Windows begin where Winograd's blocks of 4x4 positions do in every layer, so rounding does not change.
    step = 4 * stride
    steps, odd = divmod(length - 2 * around, step)  # `odd`: so that the last one, too, begins there
    most = max(tile // step, 1)
    if steps <= most:
        return length
    count = -(-steps // most)
    return 2 * around + -(-steps // count) * step + odd


def _spans(length: int, window: int, around: int, stride: int) -> list[tuple[int, int, int]]:
    """Start, begin and end of each window along one side."""
    odd = (length - 2 * around) % (4 * stride)
    spans, begin = [], 0
    while begin < length:
        start = min(max(begin - around, 0), length - window)
        end = start + window - odd - around if start + window < length else length
        spans.append((start, begin, end))
        begin = end
    return spans


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
