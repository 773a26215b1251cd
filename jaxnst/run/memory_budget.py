"""How much memory a run will need, estimated from its size before anything is compiled."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import jax

from jaxnst.config.build import to_objective
from jaxnst.core import vgg
from jaxnst.core.tiling import targets as tiled_targets
from jaxnst.core.tiling import tiles
from jaxnst.errors import InputError, TooLargeError

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxnst.config.config import Config

Tile: TypeAlias = int | Literal["auto"] | None
"""Side of the tiles in pixels, or who decides it."""

SCRATCH_BYTES_PER_PIXEL = {"cpu": 1200}
"""By backend, XLA's own figure for one step in float32 up to conv5_1, from `compile().memory_analysis()`."""

OTHER_BYTES_PER_PIXEL = 2776
"""The same of a plain evaluation, where it has not been looked at."""

NETWORK_BYTES = 900_000_000
"""Programs and libraries, the weights, and Winograd's filters on a CPU."""

MOST_TILE = 2048
"""A larger tile saves nothing: the halo around this one is a sixth of the work."""

LEAST_TILE = 64


SHARE = 0.8
"""Of the free memory that `auto` plans with: estimates may be low, and others use the machine."""


def rows_of(mesh: Mesh | None) -> int:
    """Over how many devices the rows of a picture go."""
    return 1 if mesh is None else mesh.shape["rows"]


def estimate_bytes(
    config: Config, height: int, width: int, tile: int | None = None, mesh: Mesh | None = None
) -> int:
    """Estimate the peak memory of a run: features, the optimiser's history and the network.

    Args:
      config: the settings; the optimiser and the layers count.
      height: of the largest picture, in pixels.
      width: of the largest picture, in pixels.
      tile: side of the tiles, in pixels; None: there are none.
      mesh: devices over which its rows go; None: one.

    Returns:
      Bytes of each device; on CPUs, whose memory is one, of all.
    """
    pictures = 2 * config.memory + 4 if config.optimizer == "lbfgs" else 5
    window, kept = height * width, content_bytes(config, height, width)
    if tile is not None:
        window = math.prod(tiles.window_of(to_objective(config).layers, (height, width), tile))
        pictures += 3
        kept = kept if jax.default_backend() == "cpu" and keeps_content(config, height, width) else 0
    scratch = SCRATCH_BYTES_PER_PIXEL.get(jax.default_backend(), OTHER_BYTES_PER_PIXEL)
    of_picture = window * scratch + height * width * pictures * 12 + kept
    return of_picture // _memories(mesh) + NETWORK_BYTES


def _memories(mesh: Mesh | None) -> int:
    """Over how many memories the rows of a picture go: those of devices, but a process's CPUs share one."""
    if mesh is None or jax.default_backend() != "cpu":
        return rows_of(mesh)
    return len({device.process_index for device in mesh.devices[0]})


def content_bytes(config: Config, height: int, width: int) -> int:
    """Size of the feature maps that the picture is compared with at each position."""
    layers = dict.fromkeys(config.content_layers)
    return sum(4 * vgg.channels(layer) * height * width // vgg.stride(layer) ** 2 for layer in layers)


def keeps_content(config: Config, height: int, width: int) -> bool:
    """Whether a run in tiles keeps these maps in the host's memory, and does not compute them each time."""
    return content_bytes(config, height, width) <= host_bytes() // 4


def host_bytes() -> int:
    """Memory that the host has left, in bytes."""
    import psutil

    return psutil.virtual_memory().available


def available_bytes(mesh: Mesh | None = None) -> int | None:
    """Memory that each of some devices has left, in bytes; None where it cannot be told.

    Args:
      mesh: of the devices, of which this process's count; None: JAX's default device.
    """
    devices = jax.local_devices()[:1] if mesh is None else mesh.local_devices
    if devices[0].platform == "cpu":
        return host_bytes()
    found = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in stats for stats in found):
        return None
    return min(stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in found)


def fit_in_memory(
    config: Config,
    sizes: Sequence[tuple[int, int]],
    tile: Tile,
    available: int | None = None,
    meshes: Sequence[Mesh | None] = (None,),
) -> tuple[int | None, Mesh | None]:
    """Decide in which pieces or on which devices pictures are worked through, and refuse what cannot fit.

    Args:
      config: checked settings.
      sizes: height and width of the picture at its largest, and of the style pictures.
      tile: largest side of a tile; auto: the largest that fits, and none if memory is enough; None: none.
      available: memory of each device that may be used, in bytes; None: what is free now.
      meshes: devices to be used, in order of preference; None among them: one device, which takes tiles.

    Returns:
      The side of the tiles in pixels, or None, also where one tile would do; and the first mesh that will do.

    Raises:
      InputError: a side that cannot be, or settings with which there can be no tiles.
      TooLargeError: with the estimate, what there is, and what would fit.
    """
    if tile not in (None, "auto"):
        if not isinstance(tile, numbers.Integral) or isinstance(tile, bool) or tile < LEAST_TILE:
            raise InputError(
                f"tile: {tile!r} will not do; give at least {LEAST_TILE} pixels, 'auto' or None."
            )
        if refusal := _why_no_tiles(config):
            raise InputError(f"tile: {refusal}.")
        tile = int(tile)
    available = available_bytes(meshes[0]) if available is None else available
    # The optimiser's history is the picture's alone, but styles are seldom larger.
    size = max(sizes, key=math.prod)

    def fits(side: int | None, mesh: Mesh | None = None, share: float = 1.0) -> bool:
        return available is None or estimate_bytes(config, *size, side, mesh) <= share * available

    given = tile if isinstance(tile, int) else None
    last = max(filter(None, meshes), key=rows_of, default=None)
    if last is not None:
        meshes = _usable(config, meshes, given)
    layers = to_objective(config).layers
    if given is not None and all(tiles.window_of(layers, one, given) == tuple(one) for one in sizes):
        given = None  # nothing is larger than a tile with what is around it, and would be gone through twice
    fitting = [mesh for mesh in meshes if fits(given, mesh)]
    if fitting:
        return given, fitting[0]
    sides = [] if _why_no_tiles(config) else range(MOST_TILE, LEAST_TILE - 1, -64)
    largest = next((side for side in sides if fits(side, share=SHARE)), None)
    if tile == "auto" and largest is not None and None in meshes:
        return largest, None
    raise TooLargeError(_does_not_fit(config, size, given, last, largest, available or 0))


def _usable(config: Config, meshes: Sequence[Mesh | None], tile: int | None) -> list[Mesh | None]:
    """Those that go with the settings; if none does, refuse."""
    if tile is not None:
        raise InputError(f"tile: {tile} and devices do not go together; leave one of them out.")
    refusal = _not_additive(config)
    usable = [mesh for mesh in meshes if rows_of(mesh) == 1 or not refusal]
    if not usable:
        raise InputError(f"devices: {refusal}; its rows cannot be spread.")
    return usable


def _not_additive(config: Config) -> str | None:
    """Which statistic needs a picture as a whole."""
    try:
        tiled_targets.check(to_objective(config))
    except ValueError as error:
        return str(error)
    return None


def _why_no_tiles(config: Config) -> str | None:
    """Why these settings do not go with tiles."""
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
    mesh: Mesh | None,
    fitting: int | None,
    available: int,
) -> str:
    needed = estimate_bytes(config, *size, tile, mesh)
    side = int(config.size * (max(available - NETWORK_BYTES, 0) / (needed - NETWORK_BYTES)) ** 0.5)
    advice = f"a size of {side // 16 * 16} would fit" if side >= 16 else "no size would fit"
    if fitting is not None:
        advice = f"tile={fitting} would fit, and so would {advice.replace(' would fit', '')}"
    elif refusal := _why_no_tiles(config):
        advice += f"; tiles cannot help ({refusal})"
    elif config.optimizer == "lbfgs" and config.memory > 5:
        advice += "; memory=5, for L-BFGS, needs less"
    if mesh is not None and fitting is not None:
        advice = f"without devices, {advice}"
    each = " on each device" if mesh is not None else ""
    return (
        f"size: {size[1]}x{size[0]} pixels need about {needed / 1e9:.1f} GB{each} and "
        f"{available / 1e9:.1f} GB are free; {advice}."
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
