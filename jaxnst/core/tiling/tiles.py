"""Cuts a picture into tiles and says which positions of its feature maps belong to each tile.

The features of a tile depend on pixels around it, so the network sees a *window*: the tile and a halo as wide
as the receptive field of the deepest layer. All windows of a picture have the same shape, so one compiled
program serves them all. Windows never reach beyond the picture, so padding is the same as for the whole
picture.
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
    """Locates a window and its tile, in rows and columns of the picture.

    Attributes:
      start: first row and column of the window.
      begin: first row and column of the tile.
      end: row and column after the last ones of the tile.
    """

    start: Int[np.ndarray, " axes"]
    begin: Int[np.ndarray, " axes"]
    end: Int[np.ndarray, " axes"]


def halo(layers: Iterable[str]) -> int:
    """Computes how many pixels the features of a tile look beyond it: 80 for relu5_1.

    It is a multiple of the deepest layer's stride, for tiles whose borders are such multiples too.
    """
    deepest = max(map(vgg.LAYERS.index, layers), default=-1)
    reach = sum(vgg.stride(layer) for layer in vgg.LAYERS[: deepest + 1] if layer.startswith("conv"))
    stride = _largest_stride(vgg.LAYERS[: deepest + 1])
    return -(-reach // stride) * stride


def _largest_stride(layers: Iterable[str]) -> int:
    return max(map(vgg.stride, layers), default=1)


def places(layers: Sequence[str], size: tuple[int, int], tile: int) -> tuple[tuple[int, int], list[Place]]:
    """Cuts a picture into tiles with sides of at most `tile`; returns every window's size, and all places."""
    margin, stride = halo(layers), _largest_stride(layers)
    window = window_of(layers, size, tile)
    axes = [_spans(*lengths, margin, stride) for lengths in zip(size, window, strict=True)]
    return window, [
        Place(*(np.array(ends, np.int32) for ends in zip(*spans, strict=True)))
        for spans in itertools.product(*axes)
    ]


def window_of(layers: Sequence[str], size: tuple[int, int], tile: int) -> tuple[int, int]:
    """Computes height and width of the windows into which `places` cuts a picture."""
    margin, stride = halo(layers), _largest_stride(layers)
    height, width = (_window_length(length, tile, margin, stride) for length in size)
    return height, width


def _window_length(length: int, tile: int, margin: int, stride: int) -> int:
    """Computes the length of the windows along one side: the shortest for the smallest number of windows."""
    # Windows begin at Winograd's 4x4 blocks of every layer, so that they round as the whole picture does.
    # Each window has `remainder` more pixels, so that the last window begins at a block too.
    block = 4 * stride
    blocks, remainder = divmod(length - 2 * margin, block)
    most = max(tile // block, 1)
    if blocks <= most:
        return length
    count = -(-blocks // most)
    return 2 * margin + -(-blocks // count) * block + remainder


def _spans(length: int, window: int, margin: int, stride: int) -> list[tuple[int, int, int]]:
    """Lists the window's start and the tile's begin and end along one side, for all tiles."""
    remainder = (length - 2 * margin) % (4 * stride)
    spans, begin = [], 0
    while begin < length:
        start = min(max(begin - margin, 0), length - window)
        end = start + window - remainder - margin if start + window < length else length
        spans.append((start, begin, end))
        begin = end
    return spans


def crop(array: Array, start: Any, window: tuple[int, int]) -> Array:
    """Cuts a window out of a picture or a map `[H, W, ...]`; `start` may be traced."""
    return lax.dynamic_slice(array, (*start, *(0,) * (array.ndim - 2)), (*window, *array.shape[2:]))


def crop_layer(array: Array, layer: str, place: Place, window: tuple[int, int]) -> Array:
    """Cuts the positions of a window out of a layer's map of the whole picture, `[H_l, W_l, ...]`."""
    stride = vgg.stride(layer)
    return crop(array, place.start // stride, (window[0] // stride, window[1] // stride))


def counted(layers: Iterable[str], place: Place, window: tuple[int, int]) -> dict[str, Array]:
    """Marks by layer the positions of a window that belong to its tile: 1 there and 0 at all others."""

    def in_tile(axis: int, stride: int) -> Array:
        positions = place.start[axis] + stride * jnp.arange(window[axis] // stride)
        return ((positions >= place.begin[axis]) & (positions < place.end[axis])).astype(jnp.float32)

    strides = {layer: vgg.stride(layer) for layer in layers}
    return {layer: jnp.outer(in_tile(0, stride), in_tile(1, stride)) for layer, stride in strides.items()}
