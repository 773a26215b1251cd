"""The 3x3 convolution of VGG19, in two ways that agree: XLA's own, and Winograd's, which a CPU prefers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# With less, accelerators round operands to TF32 or bfloat16, and parity with PyTorch ends at three digits.
EXACT = jax.lax.Precision.HIGHEST


def direct(
    x: Float[Array, "h w i"], kernel: Float[Array, "3 3 i o"], precision: jax.lax.Precision = EXACT
) -> Float[Array, "h w o"]:
    """Cross-correlation with a 3x3 kernel, stride 1, one ring of zeros around the input, by XLA.

    Args:
      x: one feature map, `[H, W, in]`.
      kernel: `[3, 3, in, out]`.
      precision: of products of float32 on accelerators.

    Returns:
      `[H, W, out]`.
    """
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )[0]


# F(4x4, 3x3) of Lavin and Gray 2016, Fast algorithms for convolutional neural networks. Each 2-D transform is
# the Kronecker product of the 1-D one with itself, so that it is one matrix product over the whole image.
_INPUT = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_FILTER = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _squared(matrix: Sequence[Sequence[float]]) -> np.ndarray:
    return np.kron(matrix, matrix).astype(np.float32)


class WinogradFilters(NamedTuple):
    """A kernel as Winograd's algorithm multiplies with it, transformed once and used at every step.

    Attributes:
      forward: of the kernel, `[36, in, out]`.
      backward: of the flipped and transposed kernel, which takes the gradient back, `[36, out, in]`.
    """

    forward: Float[Array, "36 i o"]
    backward: Float[Array, "36 o i"]


def winograd_filters(kernel: Float[Array, "3 3 i o"]) -> WinogradFilters:
    """Transform a kernel for `winograd`."""

    def transform(k: Array) -> Array:
        taps = k.reshape(9, *k.shape[2:])
        return jnp.einsum("tk,kio->tio", _squared(_FILTER), taps, precision=EXACT)

    return WinogradFilters(transform(kernel), transform(kernel[::-1, ::-1].swapaxes(2, 3)))


def _winograd(x: Float[Array, "h w i"], filters: Float[Array, "36 i o"]) -> Float[Array, "h w o"]:
    """Tiles of 6x6 pixels, 4 apart, each of which gives 4x4 pixels of the output."""
    height, width, _ = x.shape
    rows, columns = -(-height // 4), -(-width // 4)
    padded = jnp.pad(x, ((1, 4 * rows + 1 - height), (1, 4 * columns + 1 - width), (0, 0)))
    tiles = jnp.stack(
        [
            padded[row : row + 4 * rows : 4, column : column + 4 * columns : 4]
            for row in range(6)
            for column in range(6)
        ]
    )
    transformed = jnp.matmul(_squared(_INPUT), tiles.reshape(36, -1), precision=EXACT)
    products = jnp.matmul(transformed.reshape(36, rows * columns, -1), filters, precision=EXACT)
    pixels = jnp.matmul(_squared(_OUTPUT), products.reshape(36, -1), precision=EXACT)
    by_tile = pixels.reshape(4, 4, rows, columns, -1).transpose(2, 0, 3, 1, 4)
    return by_tile.reshape(4 * rows, 4 * columns, -1)[:height, :width]


@jax.custom_vjp
def winograd(x: Float[Array, "h w i"], filters: WinogradFilters) -> Float[Array, "h w o"]:
    """Do what `direct` does with a quarter of the multiplications.

    On two AVX-512 cores it is 1.4 to 1.9 times faster at 256 and 512 channels, and slower below. It differs
    from `direct` by about 2e-6 of the output's norm. The filters count as constants: their gradient is zero.

    Args:
      x: one feature map, `[H, W, in]`.
      filters: `winograd_filters(kernel)`.

    Returns:
      `[H, W, out]`.
    """
    return _winograd(x, filters.forward)


def _winograd_forward(x: Array, filters: WinogradFilters) -> tuple[Array, WinogradFilters]:
    return _winograd(x, filters.forward), filters


def _winograd_backward(filters: WinogradFilters, gradient: Array) -> tuple[Array, WinogradFilters]:
    return _winograd(gradient, filters.backward), jax.tree.map(jnp.zeros_like, filters)


winograd.defvjp(_winograd_forward, _winograd_backward)
