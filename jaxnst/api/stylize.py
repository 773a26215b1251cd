"""The binding people call: pictures in, a picture and its history out. All compute is in `jaxnst.core`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.config.config import Config
from jaxnst.config.resolve import gather, resolve_config
from jaxnst.errors import InputError
from jaxnst.run.checkpoint import Checkpoint
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.loop import Progress
from jaxnst.run.memory_budget import Tile, estimate_bytes
from jaxnst.run.mesh import Devices, any_of, for_one_picture
from jaxnst.run.plan import prepare
from jaxnst.run.record import new_record
from jaxnst.run.result import Result, run_plan

if TYPE_CHECKING:
    from jaxnst.io.images import PathLike, Picture

log = logging.getLogger("jaxnst")


def stylize(
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    *,
    content_masks: Picture | Sequence[Picture] | None = None,
    style_masks: Picture | Sequence[Picture] | None = None,
    preset: str | None = None,
    config: Config | None = None,
    progress: bool = True,
    callback: Callable[[Progress], Any] | None = None,
    snapshots: int = 0,
    tile: Tile = "auto",
    devices: Devices = None,
    checkpoint: PathLike | None = None,
    checkpoint_minutes: float = 10.0,
    **settings: Any,
) -> Result:
    """Make a picture with the content of one picture and the style of another.

    Args:
      content: a path, a `PIL.Image`, or an array (NumPy, JAX, PyTorch; uint8 or float in [0, 1]; gray, RGB
        or RGBA). None: a texture of the style alone, of the shape of its (first) picture.
      style: the same, or a list or tuple of several. None: the content alone is reconstructed.
      content_masks: for each style, where it shall go: a picture of the content's size, white there (arrays
        may be bool, `[H, W]`). What no mask covers keeps the photo. Default: those in the config.
      style_masks: for each style, the part of its picture that is the style.
      preset: name of a published system, see `jaxnst.PRESETS`.
      config: a whole `Config` instead.
      progress: show a progress bar on standard error.
      callback: called with a `Progress` after each step; returning False stops, and what exists is returned.
      snapshots: keep the picture after every so many steps in the result; 0 keeps none.
      tile: a picture too large for the memory is worked through in pieces of this side in pixels, to the same
        result. auto: if it must be, in pieces as large as memory allows. None: never.
      devices: spread the rows of the picture over several, to the same result: how many, "all" (those of
        other processes too, under `jax.distributed`), a sequence of `jax.Device`, or a `jax.sharding.Mesh`
        with an axis `rows`. None: the first alone. Several processes must all make the same calls, and so
        must the callback in each; Ctrl-C in one of them stops all.
      checkpoint: an HDF5 file (.h5) for all that the run needs to go on. If it is there, the run goes on from
        it, on the same device to the same bits as if it had never stopped; if it holds a finished run, its
        result is returned at once. Delete it to start anew.
      checkpoint_minutes: between two checkpoints; 0: at each step. One is also made at the end of each scale
        and of the run, and when a callback or Ctrl-C stops it.
      **settings: fields of `Config` by name, over the preset or config.

    Returns:
      A `Result`. Ctrl-C ends the run early as a callback's False does; so does memory that runs out, or a
      loss that is no number any more, with a warning and the last good picture.

    Raises:
      InputError: anything given that cannot work, a checkpoint of another run included, before any
        compilation; or the first picture has no finite loss.
      TooLargeError: memory ran out before there was a picture.

    Source: Gatys, Ecker and Bethge 2016, Image style transfer using convolutional neural networks.
    """
    began = time.perf_counter()
    config = resolve_config(preset, config, settings)
    if snapshots < 0:
        raise InputError(f"snapshots: {snapshots} is negative; 0 keeps none.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: {callback!r} is not a function.")
    file = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_minutes)
    with contextlib.nullcontext() if file is None else file.alone():
        given, config = gather(content, style, content_masks, style_masks, config)
        tile = tile if file is None or devices is not None else file.tile(tile, config)
        plan = prepare(given, config, tile=tile, meshes=for_one_picture(devices))
        record = new_record(plan) if file is None else file.record(plan, snapshots)
        log.info("devices: %s", jax.local_devices()[0] if plan.mesh is None else plan.mesh)
        log.info("sizes: %s", ", ".join(f"{width}x{height}" for height, width in plan.sizes))
        estimated = estimate_bytes(plan.config, *plan.sizes[-1], plan.tile, plan.mesh)
        log.info("memory: about %.2f GB", estimated / 1e9)
        log.info("tile: %s", plan.tile)
        prepared = time.perf_counter()
        with (
            stop_on_interrupt() as interrupted,
            _progress_bar(progress, plan.config.steps, record.steps) as show,
        ):

            def after(state: Progress) -> str | None:
                show(state)
                if callback is not None and callback(state) is False:
                    return "stopped"
                return "interrupted" if any_of(plan.mesh, interrupted.is_set()) else None

            # A callback may stop the run at any step, whose state must be at hand then.
            result = run_plan(
                plan, after, snapshots, record, file, lambda: bool(callback) or interrupted.is_set()
            )
    return dataclasses.replace(result, seconds=result.seconds + prepared - began)


@contextlib.contextmanager
def _progress_bar(wanted: bool, steps: int, done: int) -> Iterator[Callable[[Progress], None]]:
    if not wanted:
        yield lambda state: None
        return
    from tqdm import tqdm

    with tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) as bar:

        def show(state: Progress) -> None:
            losses = {name: f"{value:.3g}" for name, value in state.losses.items()}
            bar.set_postfix(losses, refresh=False)
            bar.update()

        yield show
