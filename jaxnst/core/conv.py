"""Computes the 3x3 convolutions of VGG19: by XLA, or by Winograd's algorithm, which is faster on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# At a lower precision accelerators round the operands to TF32 or bfloat16, and only three digits agree with
# PyTorch's.
EXACT = jax.lax.Precision.HIGHEST


def direct(
    x: Float[Array, "h w i"], kernel: Float[Array, "3 3 i o"], precision: jax.lax.Precision = EXACT
) -> Float[Array, "h w o"]:
    """Computes a cross-correlation with a 3x3 kernel, stride 1 and zero padding, by XLA.

    Args:
      x: one feature map, `[H, W, in]`.
      kernel: `[3, 3, in, out]`.
      precision: precision of float32 products on accelerators (default: exact).

    Returns:
      The feature map `[H, W, out]`.
    """
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )[0]


# F(4x4, 3x3) of Lavin and Gray 2016, Fast algorithms for convolutional neural networks, built by Toom and
# Cook's method: two polynomials are multiplied by way of their values at six points, the last being infinity.
# The usual finite points are 0, 1, -1, 2, -2. Ours contain the inverse of each point: the values of a kernel
# at the inverse points are those of its mirror image, up to a factor, so one set of filters also serves the
# gradient. These points also halve the rounding error.
_POINTS = np.array([0, 3 / 2, -3 / 2, 2 / 3, -2 / 3])
_INVERSE = [5, 3, 4, 1, 2, 0]
"""Index of each point's inverse among the six points."""


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Builds Toom and Cook's 1-D matrices: for inputs `[6, 6]`, kernels `[6, 3]` and outputs `[4, 6]`."""
    others = [np.delete(_POINTS, index) for index in range(5)]
    scale = [np.prod(point - rest) for point, rest in zip(_POINTS, others, strict=True)]
    inputs = [np.append(np.poly(rest)[::-1], 0) for rest in others]
    kernels = np.vander(_POINTS, 3, increasing=True) / np.array(scale)[:, None]
    outputs = np.vander(_POINTS, 4, increasing=True)
    return (
        np.array([*inputs, np.poly(_POINTS)[::-1]]),
        np.array([*kernels, [0, 0, 1]]),
        np.array([*outputs, [0, 0, 0, 1]]).T,
    )


def _two_dimensional(matrix: np.ndarray) -> np.ndarray:
    """Turns a 1-D transform into a 2-D one, so that one matrix product transforms the whole image."""
    return np.kron(matrix, matrix).astype(np.float32)


_INPUT, _KERNEL, _OUTPUT = _transforms()
# The transform of a mirrored kernel is the kernel's own transform at the inverse points, times this factor.
_MIRRORED = np.sum(_KERNEL[:, ::-1] * _KERNEL[_INVERSE], axis=1) / np.sum(_KERNEL[_INVERSE] ** 2, axis=1)


@dataclass(frozen=True, eq=False)
class _Direction:
    """Holds the matrices with which Winograd's algorithm runs through a layer, forward or backward.

    Attributes:
      inputs: `[36, 36]`, transforms input blocks of 6x6 pixels.
      outputs: `[16, 36]`, transforms products to output blocks of 4x4 pixels.
      axis: axis of the filters over which products are summed.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    axis: int


_FORWARD = _Direction(_two_dimensional(_INPUT), _two_dimensional(_OUTPUT), axis=1)
_BACKWARD = _Direction(
    _two_dimensional((_MIRRORED[:, None] * _INPUT)[_INVERSE]),
    _two_dimensional(_OUTPUT[:, _INVERSE]),
    axis=2,
)


def winograd_filters(kernel: Float[Array, "3 3 i o"]) -> Float[Array, "36 i o"]:
    """Transforms a kernel for `winograd`, once for all steps.

    Args:
      kernel: `[3, 3, in, out]`.

    Returns:
      Filters `[36, in, out]`.
    """
    taps = kernel.reshape(9, -1)
    return jnp.matmul(_two_dimensional(_KERNEL), taps, precision=EXACT).reshape(36, *kernel.shape[2:])


def _input_blocks(x: Float[Array, "h w i"], rows: int, columns: int) -> Float[Array, "6 6 r c i"]:
    """Cuts a feature map into the overlapping blocks of 6x6 that outputs of 4x4 need, padded with zeros.

    The padded map is cut into squares of 4x4. A block is a square with the first two rows and columns of its
    neighbours below, on the right and across, joined from four slices. Slicing each of the 36 positions by
    itself would run longer and take XLA four times as long to compile.
    """
    height, width, channels = x.shape
    padded = jnp.pad(x, ((1, 4 * rows + 3 - height), (1, 4 * columns + 3 - width), (0, 0)))
    squares = padded.reshape(rows + 1, 4, columns + 1, 4, channels).transpose(1, 3, 0, 2, 4)
    own, below = squares[:, :, :rows], squares[:2, :, 1:]
    return jnp.concatenate(
        [jnp.concatenate([part[:, :, :, :columns], part[:, :2, :, 1:]], axis=1) for part in (own, below)]
    )


# Jitted by itself, so that layers of equal shape are traced once; XLA inlines it into the outer program.
@partial(jax.jit, static_argnums=2)
def _winograd(x: Array, filters: Float[Array, "36 i o"], direction: _Direction) -> Array:
    """Computes the output, of which each 4x4 block depends on one input block of 6x6 pixels."""
    height, width, _ = x.shape
    rows, columns = -(-height // 4), -(-width // 4)
    blocks = _input_blocks(x, rows, columns)
    transformed = jnp.matmul(direction.inputs, blocks.reshape(36, -1), precision=EXACT)
    products = jax.lax.dot_general(
        transformed.reshape(36, rows * columns, -1),
        filters,
        (((2,), (direction.axis,)), ((0,), (0,))),
        precision=EXACT,
    )
    pixels = jnp.matmul(direction.outputs, products.reshape(36, -1), precision=EXACT)
    by_block = pixels.reshape(4, 4, rows, columns, -1).transpose(2, 0, 3, 1, 4)
    return by_block.reshape(4 * rows, 4 * columns, -1)[:height, :width]


@jax.custom_vjp
def winograd(x: Float[Array, "h w i"], filters: Float[Array, "36 i o"]) -> Float[Array, "h w o"]:
    """Computes the same function as `direct`, with a quarter of the multiplications.

    On two AVX-512 cores it is 1.3 to 2 times faster at 256 and 512 channels, and slower at fewer. The result
    differs from that of `direct` by about 1e-6 of its norm. The gradient of the filters is zero.

    Args:
      x: one feature map, `[H, W, in]`.
      filters: `winograd_filters(kernel)`, `[36, in, out]`.

    Returns:
      The feature map `[H, W, out]`.
    """
    return _winograd(x, filters, _FORWARD)


def _winograd_forward(x: Array, filters: Array) -> tuple[Array, Array]:
    return _winograd(x, filters, _FORWARD), filters


def _winograd_backward(filters: Array, gradient: Array) -> tuple[Array, Array]:
    return _winograd(gradient, filters, _BACKWARD), jnp.zeros_like(filters)


winograd.defvjp(_winograd_forward, _winograd_backward)
