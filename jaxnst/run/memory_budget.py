"""The memory that a run will need, estimated before anything is compiled; it decides on tiles and devices."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import jax
import jax.numpy as jnp

from jaxnst.config.build import to_objective
from jaxnst.core import tiling, vgg
from jaxnst.core.sharding import ONE_DEVICE, Placement
from jaxnst.core.tiling import tiles
from jaxnst.errors import InputError, TooLargeError

if TYPE_CHECKING:
    from jaxnst.config.config import Config

Tile: TypeAlias = int | Literal["auto"] | None
"""Largest side of a tile in pixels; auto: what memory asks for; None: no tiles."""

SCRATCH_BYTES_PER_PIXEL = {"cpu": 1200}
"""By backend, XLA's own figure for one step in float32 up to conv5_1, from `compile().memory_analysis()`."""

OTHER_BYTES_PER_PIXEL = 2776
"""XLA's own figure for one plain evaluation, used for backends that have not been measured."""

NETWORK_BYTES = 900_000_000
"""Estimated for programs and libraries, the weights, and Winograd's filters on a CPU."""

MOST_TILE = 2048
"""A larger tile saves nothing: the halo around this one is a sixth of the work."""

LEAST_TILE = 64


SHARE = 0.8
"""Share of the free memory that `auto` plans with: estimates may be low, and others use the machine."""


def estimate_bytes(
    config: Config, height: int, width: int, tile: int | None = None, placement: Placement = ONE_DEVICE
) -> int:
    """Estimates the peak memory of a run: features, the optimiser's history and the network.

    Args:
      config: the settings; the optimiser and the layers count.
      height: of the largest picture, in pixels.
      width: of the largest picture, in pixels.
      tile: largest side of a tile, in pixels; None: there are no tiles.
      placement: where the picture's rows lie; default one device.

    Returns:
      Bytes of each device; on CPUs, whose devices share the host's memory, of all.
    """
    pictures = 2 * config.history_size + 4 if config.optimizer == "lbfgs" else 5
    window, kept = height * width, content_bytes(config, height, width)
    if tile is not None:
        window = math.prod(tiles.window_of(to_objective(config).layers, (height, width), tile))
        pictures += 3
        kept = kept if jax.default_backend() == "cpu" and keeps_content(config, height, width) else 0
    scratch = SCRATCH_BYTES_PER_PIXEL.get(jax.default_backend(), OTHER_BYTES_PER_PIXEL)
    picture_bytes = window * scratch + height * width * pictures * 12 + kept
    # The CPU devices of a process share one memory. A mesh with several processes has one row of pairs.
    memories = placement.processes if jax.default_backend() == "cpu" else placement.rows
    return picture_bytes // memories + NETWORK_BYTES


def content_bytes(config: Config, height: int, width: int) -> int:
    """Computes the size of the content's feature maps, in bytes."""
    layers = dict.fromkeys(config.content_layers)
    return sum(4 * vgg.channels(layer) * height * width // vgg.stride(layer) ** 2 for layer in layers)


def keeps_content(config: Config, height: int, width: int) -> bool:
    """Says whether a run in tiles keeps the content's feature maps in the host's memory."""
    return content_bytes(config, height, width) <= host_bytes() // 4


def host_bytes() -> int:
    """Returns the memory that the host has left, in bytes."""
    import psutil

    return psutil.virtual_memory().available


def available_bytes(placement: Placement = ONE_DEVICE) -> int | None:
    """Returns the memory that each device of a placement has left, in bytes; None where it is not known.

    Of several processes, this one's devices count.
    """
    devices = jax.local_devices()[:1] if placement.mesh is None else placement.mesh.local_devices
    if devices[0].platform == "cpu":
        return host_bytes()
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in device_stats for device_stats in stats):
        return None
    return min(device_stats["bytes_limit"] - device_stats.get("bytes_in_use", 0) for device_stats in stats)


def fit_in_memory(
    config: Config,
    sizes: Sequence[tuple[int, int]],
    tile: Tile,
    available: int | None = None,
    placements: Sequence[Placement] = (ONE_DEVICE,),
) -> tuple[int | None, Placement]:
    """Chooses tiles and devices for a run, and refuses what cannot fit.

    Args:
      config: checked settings.
      sizes: height and width of the picture at its largest, and of the style pictures.
      tile: largest side of a tile; auto: the largest that fits, and none if memory is enough; None: no tiles.
      available: memory of each device that may be used, in bytes; None: what is free now.
      placements: in order of preference; only one device takes tiles.

    Returns:
      The side of the tiles in pixels, or None, also where one tile would hold everything; and the first
      placement that fits.

    Raises:
      InputError: an impossible side, or settings that do not go with tiles.
      TooLargeError: with the estimate, the free memory, and what would fit.
    """
    side = _checked_side(config, tile)
    available = available_bytes(placements[0]) if available is None else available
    # The optimiser's history is the picture's alone, but styles are seldom larger.
    size = max(sizes, key=math.prod)

    def fits(side: int | None, placement: Placement = ONE_DEVICE, share: float = 1.0) -> bool:
        return available is None or estimate_bytes(config, *size, side, placement) <= share * available

    spread = [placement for placement in placements if placement != ONE_DEVICE]
    if spread:
        placements = _usable(config, placements, side)
    layers = to_objective(config).layers
    if side is not None and all(tiles.window_of(layers, shape, side) == tuple(shape) for shape in sizes):
        side = None  # one tile holds everything; two passes over it would be a waste
    for placement in placements:
        if fits(side, placement):
            return side, placement
    smaller = [] if _why_no_tiles(config) else range(MOST_TILE, LEAST_TILE - 1, -64)
    largest = next((side for side in smaller if fits(side, share=SHARE)), None)
    if tile == "auto" and largest is not None and ONE_DEVICE in placements:
        return largest, ONE_DEVICE
    widest = max(spread, key=lambda placement: placement.rows, default=ONE_DEVICE)
    raise TooLargeError(_does_not_fit(config, size, side, widest, largest, available or 0))


def _checked_side(config: Config, tile: Tile) -> int | None:
    if tile is None or tile == "auto":
        return None
    if not isinstance(tile, numbers.Integral) or isinstance(tile, bool) or tile < LEAST_TILE:
        raise InputError(f"tile: {tile!r} is not usable; give at least {LEAST_TILE} pixels, 'auto' or None.")
    if refusal := _why_no_tiles(config):
        raise InputError(f"tile: {refusal}.")
    return int(tile)


def _usable(config: Config, placements: Sequence[Placement], side: int | None) -> list[Placement]:
    """Keeps the placements that go with the settings."""
    if side is not None:
        raise InputError(f"tile: {side} and devices do not go together; leave one of them out.")
    refusal = _not_additive(config)
    usable = [placement for placement in placements if placement.rows == 1 or not refusal]
    if not usable:
        raise InputError(f"devices: {refusal}; its rows cannot be spread.")
    return usable


def _not_additive(config: Config) -> str | None:
    """Names the statistic that needs a picture as a whole, if there is one."""
    try:
        tiling.check(to_objective(config))
    except ValueError as error:
        return str(error)
    return None


def _why_no_tiles(config: Config) -> str | None:
    """Says why the settings do not go with tiles, if they do not."""
    if refusal := _not_additive(config):
        return refusal
    if config.optimizer == "lbfgs" and config.line_search != "none":
        return (
            f"line_search {config.line_search!r} needs the whole picture at once; only 'none' goes with tiles"
        )
    return None


def _does_not_fit(
    config: Config,
    size: tuple[int, int],
    tile: int | None,
    placement: Placement,
    fitting: int | None,
    available: int,
) -> str:
    needed = estimate_bytes(config, *size, tile, placement)
    side = int(config.size * (max(available - NETWORK_BYTES, 0) / (needed - NETWORK_BYTES)) ** 0.5)
    advice = f"a size of {side // 16 * 16} would fit" if side >= 16 else "no size would fit"
    over_devices = placement != ONE_DEVICE
    if fitting is not None:
        advice = f"tile={fitting} would fit, and so would {advice.replace(' would fit', '')}"
    elif refusal := _why_no_tiles(config):
        advice += f"; tiles cannot help ({refusal})"
    elif config.optimizer == "lbfgs" and config.history_size > 5:
        advice += "; history_size=5, for L-BFGS, needs less"
    if over_devices and fitting is not None:
        advice = f"without devices, {advice}"
    where = " on each device" if over_devices else ""
    return (
        f"size: {size[1]}x{size[0]} pixels need about {needed / 1e9:.1f} GB{where} and "
        f"{available / 1e9:.1f} GB are free; {advice}."
    )


def check_large_enough(config: Config, height: int, width: int, argument: str) -> None:
    """Refuses a picture with a side shorter than the deepest layer's stride.

    Raises:
      InputError: with the size, and the least that would work.
    """
    deepest = max(to_objective(config).layers, key=vgg.LAYERS.index, default=vgg.LAYERS[0])
    least = vgg.stride(deepest)
    picture = jax.ShapeDtypeStruct((height, width), jnp.float32)
    if min(jax.eval_shape(to_objective(config).frame, picture).shape) < least:
        raise InputError(
            f"{argument}: {width}x{height} pixels at size {config.size} are too "
            f"few for {deepest}, which needs at least {least} on each side."
        )
