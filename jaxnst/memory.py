"""How much memory a run will need, estimated from its size before anything is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.translate import to_objective

if TYPE_CHECKING:
    from jaxnst.config import Config

BYTES_PER_PIXEL = 2776
"""XLA's own figure for one evaluation in float32 up to conv5_1, from `compile().memory_analysis()`."""

NETWORK_BYTES = 900_000_000
"""The weights, and Winograd's filters on a CPU."""


def estimate_bytes(config: Config, height: int, width: int) -> int:
    """Estimate the peak memory of a run: features, the optimiser's history and the network.

    Args:
      config: the settings; only the optimiser counts.
      height: of the largest picture, in pixels.
      width: of the largest picture, in pixels.

    Returns:
      Bytes.
    """
    pictures = 2 * config.memory + 4 if config.optimizer == "lbfgs" else 5
    return height * width * (BYTES_PER_PIXEL + pictures * 12) + NETWORK_BYTES


def available_bytes() -> int | None:
    """Memory that JAX's default device has left, in bytes; None where it cannot be told."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        import psutil

        return psutil.virtual_memory().available
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def check_fits(config: Config, height: int, width: int) -> None:
    """Refuse a run that cannot fit.

    Raises:
      InputError: with the estimate, what there is, and the size that would fit.
    """
    needed, available = estimate_bytes(config, height, width), available_bytes()
    if available is None or needed <= available:
        return
    side = int(config.size * (max(available - NETWORK_BYTES, 0) / (needed - NETWORK_BYTES)) ** 0.5)
    advice = f"a size of {side // 16 * 16} would fit" if side >= 16 else "no size would fit"
    raise InputError(
        f"size: {width}x{height} pixels need about {needed / 1e9:.1f} GB and {available / 1e9:.1f} GB are "
        f"free; {advice}."
    )


def check_large_enough(config: Config, height: int, width: int, argument: str) -> None:
    """Refuse a picture with a side shorter than the deepest layer's stride.

    Raises:
      InputError: with the size, and the least that would work.
    """
    deepest = max(to_objective(config).layers, key=vgg.LAYERS.index, default=vgg.LAYERS[0])
    least = vgg.stride(deepest)
    if min(height, width) < least:
        raise InputError(
            f"{argument}: {width}x{height} pixels at size {config.size} are too "
            f"few for {deepest}, which needs at least {least} on each side."
        )
