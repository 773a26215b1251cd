"""The 3x3 convolution of VGG19, and nothing else: what every other file calls when it convolves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def conv3x3(x: Float[Array, "h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "h w o"]:
    """Cross-correlation with a 3x3 kernel, stride 1, one ring of zeros around the input.

    Args:
      x: one feature map, `[H, W, in]`.
      kernel: `[3, 3, in, out]`.

    Returns:
      `[H, W, out]`, in full float32 precision on every backend (accelerators would otherwise round the
      operands to TF32 or bfloat16, and parity with PyTorch would end at three digits).
    """
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[0]
