"""The function people call: pictures in, a picture and its history out."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.config.config import Config
from jaxnst.config.resolve import resolve_config
from jaxnst.errors import InputError
from jaxnst.io import film, save
from jaxnst.run.checkpoint import Checkpoint
from jaxnst.run.hooks import Callback, StopWhen
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.loop import Hook, Progress
from jaxnst.run.memory_budget import Tile, estimate_bytes
from jaxnst.run.mesh import Devices, for_one_picture
from jaxnst.run.plan import Plan, gather, prepare
from jaxnst.run.preview import Evolution, Preview
from jaxnst.run.progress_bar import step_bar
from jaxnst.run.result import Result, run_plan

if TYPE_CHECKING:
    from jaxnst.io.files import PathLike
    from jaxnst.io.images import Picture

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
    preview: PathLike | None = None,
    evolution: PathLike | None = None,
    tile: Tile = "auto",
    devices: Devices = None,
    checkpoint: PathLike | None = None,
    checkpoint_minutes: float = 10.0,
    **settings: Any,
) -> Result:
    """Makes a picture with the content of one picture and the style of another.

    Args:
      content: a path, a `PIL.Image`, or an array (NumPy, JAX, PyTorch; uint8 or float in [0, 1]; gray, RGB
        or RGBA). None: a texture of the style alone, of the shape of its (first) picture.
      style: a picture, or a list or tuple of several. None: the content alone is reconstructed.
      content_masks: for each style its region of the picture: a mask of the content's size, white there
        (arrays may be bool, `[H, W]`). What no mask covers keeps the photo. Default: those in the config.
      style_masks: for each style a mask, white on the part of its picture that is the style.
      preset: name of a look or a published system, see `jaxnst.LOOKS` and `jaxnst.PRESETS`.
      config: a whole `Config` instead of a preset.
      progress: whether to show a progress bar on standard error.
      callback: called with a `Progress` after each step. If it returns False, the run stops and the picture
        so far is returned.
      snapshots: keep the picture after every so many steps in the result; 0 keeps none.
      preview: write the picture so far to this file every few seconds, at most 5 percent of the time.
      evolution: show how the picture was made in this file: a film (.gif or .webp) or a contact sheet (.png),
        of at most 60 frames. A run that goes on from a checkpoint shows the steps from there.
      tile: largest side, in pixels, of the tiles in which a picture too large for the memory is computed, to
        the same result. auto: only if the whole picture does not fit, the largest tiles that do. None: never.
      devices: spread the rows of the picture over several devices, to the same result: how many, "all" (those
        of other processes too, under `jax.distributed`), a sequence of `jax.Device`, or a
        `jax.sharding.Mesh` with an axis `rows`. None: the first alone. Several processes must all make the
        same calls, and so must the callback in each; Ctrl-C in one of them stops all.
      checkpoint: an HDF5 file (.h5) for all that the run needs to go on. If it exists, the run goes on from
        it, on the same device to the same bits as if it had never stopped; if it holds a finished run, its
        result is returned at once. Delete it to start again.
      checkpoint_minutes: time between two checkpoints; 0: after each step. One is also made at the end of
        each scale and of the run, and when a callback or Ctrl-C stops it.
      **settings: fields of `Config` by name, over the preset or config.

    Returns:
      A `Result`. Ctrl-C ends the run early, as a callback that returns False does. If memory runs out, or the
      loss becomes NaN or infinite, the run ends with a warning and its last good picture.

    Raises:
      InputError: an argument that cannot work, a checkpoint of another run included, before any compilation;
        or the first picture has no finite loss.
      TooLargeError: memory ran out before there was a picture.

    Source: Gatys, Ecker and Bethge 2016, Image style transfer using convolutional neural networks.
    """
    began = time.perf_counter()
    config = resolve_config(preset, config, settings)
    if snapshots < 0:
        raise InputError(f"snapshots: {snapshots} is negative; 0 keeps none.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: {callback!r} is not a function.")
    if preview is not None:
        save.check_output(preview, "preview")
    if evolution is not None:
        film.check_film(evolution)
    file = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_minutes)
    with contextlib.ExitStack() as stack:
        pictures, config = gather(content, style, content_masks, style_masks, config)
        if file is not None:
            stack.enter_context(file.alone())
            tile = file.tile(tile, config) if devices is None else tile
        plan = prepare(pictures, config, tile=tile, placements=for_one_picture(devices))
        done = 0 if file is None else file.load(plan, snapshots)
        _log(plan)
        prepared = time.perf_counter()
        hooks: list[Hook] = [StopWhen(stack.enter_context(stop_on_interrupt()).is_set, plan.steps.placement)]
        if callback is not None:
            hooks.insert(0, Callback(callback))
        if progress:
            hooks.insert(0, stack.enter_context(step_bar(plan.ends[-1], done)))
        if preview is not None:
            hooks.append(Preview(preview, plan.steps.placement))
        if evolution is not None:
            frames = Evolution.of(evolution, plan.sizes[-1], plan.ends[-1])
            hooks.append(frames)
            stack.callback(frames.write)
        kept = range(snapshots, plan.ends[-1] + 1, snapshots) if snapshots else ()
        result = run_plan(plan, hooks, kept, file)
    return dataclasses.replace(result, seconds=result.seconds + prepared - began)


def _log(plan: Plan) -> None:
    placement, tile = plan.steps.placement, plan.steps.tile
    log.info("devices: %s", placement.mesh or jax.local_devices()[0])
    log.info("sizes: %s", ", ".join(f"{width}x{height}" for height, width in plan.sizes))
    log.info("memory: about %.2f GB", estimate_bytes(plan.config, *plan.sizes[-1], tile, placement) / 1e9)
    log.info("tile: %s", tile)
