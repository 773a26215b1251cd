"""The binding people call: pictures in, a picture and its history out. All compute is in `jaxnst.core`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxnst import images, saving
from jaxnst.config import Config
from jaxnst.devices import Devices, any_of, for_one_picture, processes_of
from jaxnst.errors import InputError, TooLargeError, choose
from jaxnst.memory import Tile, estimate_bytes
from jaxnst.plan import Pictures, Plan, prepare
from jaxnst.presets import PRESETS
from jaxnst.resuming import Checkpoint, Record, new_record
from jaxnst.run import DivergedError, OutOfMemoryError, Progress, optimise

if TYPE_CHECKING:
    import PIL.Image
    from jaxtyping import Float

    from jaxnst.images import PathLike, Picture

log = logging.getLogger("jaxnst")

NO_FIRST_LOSS = "the loss of the first picture is not a finite number; use smaller weights."

NO_MEMORY = (
    "size: memory ran out before there was a picture; a smaller size or tile, or for lbfgs a smaller memory, "
    "needs less."
)

OVER = ("finished", "diverged")
"""Ways for a run to end after which the same call would come to the same."""


@dataclass(frozen=True)
class Result:
    """A finished picture and how it came about.

    Attributes:
      array: float32 [H, W, 3], RGB, [0, 1].
      history: `total`, `content`, `style`, `tv`, and every other part that has a weight: one value for each
        step, before it; the parts unweighted.
      config: the settings that made it.
      seconds: wall-clock time, with compilation; of all parts of a run that was resumed.
      ended: why the run ended: finished, stopped (by the callback), interrupted (by Ctrl-C), diverged or out
        of memory.
      weights_sha256: digest of the network's weights.
      snapshots: `{step: array}` for every step asked for.
    """

    array: Float[np.ndarray, "h w 3"]
    history: dict[str, Float[np.ndarray, " steps"]]
    config: Config
    seconds: float
    ended: str
    weights_sha256: str
    snapshots: dict[int, Float[np.ndarray, "h w 3"]]

    @property
    def image(self) -> PIL.Image.Image:
        """The picture as a `PIL.Image`, RGB, 8 bits."""
        return saving.to_pil(self.array)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a saved picture says about itself: settings, version, weights; enough to repeat it."""
        from jaxnst import __version__

        return {
            "software": "jaxnst",
            "version": __version__,
            "weights_sha256": self.weights_sha256,
            "config": self.config.to_dict(),
            "steps_done": len(self.history["total"]),
        }

    def save(self, path: str | os.PathLike, bits: int = 8, dither: bool = False) -> None:
        """Write the picture.

        Args:
          path: the extension chooses PNG, JPEG, WebP or TIFF.
          bits: of each colour, 8 or, for PNG and TIFF, 16.
          dither: round to 8 bits with noise, so that smooth areas show no bands.

        Raises:
          InputError: an unknown extension, a folder that does not exist, or 16 bits where they cannot be.
        """
        saving.check_output(path, bits=bits, dither=dither)
        saving.save_image(path, self.array, self.metadata, bits=bits, dither=dither)


def resolve_config(preset: str | None, config: Config | None, settings: Mapping[str, Any]) -> Config:
    """Settle which settings hold: a preset or a Config or the defaults, with single fields changed.

    Raises:
      InputError: both a preset and a config, an unknown preset, or an unknown or impossible setting.
    """
    if config is not None and not isinstance(config, Config):
        raise InputError(f"config: {config!r} is not a jaxnst.Config; a preset goes by preset=.")
    if preset is not None and config is not None:
        raise InputError("preset and config are both given; each is a whole set of settings, so give one.")
    if preset is not None:
        config = PRESETS[choose("preset", preset, PRESETS)]
    return (config or Config()).replace(**settings).checked()


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
    with stop_on_interrupt() as interrupted, _progress_bar(progress, plan.config.steps, record.steps) as show:

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


def run_plan(
    plan: Plan,
    after: Callable[[Progress], str | None],
    snapshots: int = 0,
    record: Record | None = None,
    file: Checkpoint | None = None,
    stoppable: Callable[[], bool] = lambda: True,
) -> Result:
    """Make the picture of a plan.

    Args:
      plan: from `prepare`.
      after: called after each step; a reason to stop, as for `Result.ended`, and what exists is returned.
      snapshots: as for `stylize`.
      record: to go on from; None: a new one.
      file: where to keep it.
      stoppable: asked at each step; where there is a file, the run stops only after saying True, because each
        such step has to wait for the one before.

    Raises:
      InputError: not even the first picture has a loss.
      TooLargeError: memory ran out before there was a picture.
    """
    record = record or new_record(plan)
    if not record.ended:
        _work(plan, after, snapshots, record, file, stoppable)
    if record.why:
        warnings.warn(record.why, stacklevel=3)
    return Result(
        # A run that ended at a coarse scale still has a picture of the size that was asked for.
        array=images.resize(record.picture(), plan.sizes[-1]),
        history={name: np.array(losses, np.float32) for name, losses in record.history.items()},
        config=plan.config,
        seconds=record.seconds,
        ended=record.ended,
        weights_sha256=plan.weights.sha256,
        snapshots=record.snapshots,
    )


def _work(
    plan: Plan,
    after: Callable[[Progress], str | None],
    snapshots: int,
    record: Record,
    file: Checkpoint | None,
    stoppable: Callable[[], bool],
) -> None:
    """Make the steps, take them down in the record and the record to the file."""
    ended, state = "", None
    settle = None if file is None else (lambda step: any_of(plan.mesh, stoppable()) or file.due(step))
    try:
        for progress in optimise(plan, record.take_state(), settle):
            record.add(progress, snapshots)
            ended, state = after(progress) or "", progress.state
            if ended and (file is None or state is not None):
                break
            if file is not None and state is not None and file.due(progress.step):
                file.save(record, state)
    except DivergedError as error:
        record.image, record.why, ended, state = error.image, str(error), "diverged", None
    except OutOfMemoryError as error:
        if processes_of(plan.mesh) > 1:  # nor can one make a picture of what it has
            raise TooLargeError(f"{error}.") from error
        record.why, ended, state = str(error), "out of memory", error.state
    if record.image is None:
        raise InputError(NO_FIRST_LOSS) if ended == "diverged" else TooLargeError(NO_MEMORY)
    record.ended = ended or "finished"
    if file is not None and record.ended in OVER:
        file.save(record, None)
    elif file is not None and state is not None:
        file.save(record, state)
    if file is not None and record.ended == "out of memory":
        record.why += f"; the same call goes on after step {file.step}"


def gather(
    content: Picture | None, style: Any, content_masks: Any, style_masks: Any, config: Config
) -> tuple[Pictures, Config]:
    """The pictures and the masks, which the config keeps by their paths (arrays by a name that is none)."""
    found: dict[str, list[Picture]] = {}
    for name, given in (("content_masks", content_masks), ("style_masks", style_masks)):
        found[name] = images.as_list(getattr(config, name) if given is None else given)
        config = config.replace(**{name: tuple(map(_name_of_mask, found[name]))})
    styles = images.as_list(style)
    if style is not None and not styles:
        raise InputError("style: no picture is given; give at least one, or None to reconstruct the content.")
    return Pictures(content, styles, **found), config


def _name_of_mask(mask: Picture) -> str:
    if isinstance(mask, str | os.PathLike):
        return os.fspath(mask)
    return f"<{type(mask).__name__}>"


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


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C, between two steps of many runs."""


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that it cannot fall between a picture and its losses.

    The second Ctrl-C interrupts as usual. Outside the main thread Python allows no handler, and none is set.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        del number, frame
        flag.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
