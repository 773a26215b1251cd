"""The binding people call: pictures in, a picture and its history out. All compute is in `jaxnst.core`."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst import images, saving
from jaxnst.config import Config, to_loss_weights, to_problem
from jaxnst.core import objective, vgg
from jaxnst.errors import InputError, choose
from jaxnst.memory import check_large_enough, estimate_bytes
from jaxnst.presets import PRESETS
from jaxnst.run import DivergedError, Progress, optimise, prepare, targets_at
from jaxnst.weights import load_weights

if TYPE_CHECKING:
    import os

    import PIL.Image
    from jaxtyping import Float

    from jaxnst.images import Picture

log = logging.getLogger("jaxnst")

_evaluate = jax.jit(objective.evaluate, static_argnums=0)
_features = jax.jit(vgg.features, static_argnums=(2, 3))


@dataclass(frozen=True)
class Result:
    """A finished picture and how it came about.

    Attributes:
      array: float32 [H, W, 3], RGB, [0, 1].
      history: `total`, `content`, `style`, `tv`: one value for each step, before it; the parts unweighted.
      config: the settings that made it.
      seconds: wall-clock time, with compilation.
      ended: why the run ended: finished, stopped (by the callback), interrupted (by Ctrl-C) or diverged.
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

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture; the extension chooses PNG, JPEG, WebP or TIFF.

        Raises:
          InputError: an unknown extension, or a folder that does not exist.
        """
        saving.check_output(path)
        saving.save_image(path, self.array, self.metadata)


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
    content: Picture,
    style: Picture | Sequence[Picture],
    *,
    preset: str | None = None,
    config: Config | None = None,
    progress: bool = True,
    callback: Callable[[Progress], Any] | None = None,
    snapshots: int = 0,
    **settings: Any,
) -> Result:
    """Make a picture with the content of one picture and the style of another.

    Args:
      content: a path, a `PIL.Image`, or an array (NumPy, JAX, PyTorch; uint8 or float in [0, 1]; gray, RGB
        or RGBA).
      style: the same, or a list or tuple of several.
      preset: name of a published system, see `jaxnst.PRESETS`.
      config: a whole `Config` instead.
      progress: show a progress bar on standard error.
      callback: called with a `Progress` after each step; returning False stops, and what exists is returned.
      snapshots: keep the picture after every so many steps in the result; 0 keeps none.
      **settings: fields of `Config` by name, over the preset or config.

    Returns:
      A `Result`. Ctrl-C ends the run early as a callback's False does.

    Raises:
      InputError: anything given that cannot work, before any compilation.

    Source: Gatys, Ecker and Bethge 2016, Image style transfer using convolutional neural networks.
    """
    began = time.perf_counter()
    config = resolve_config(preset, config, settings)
    if snapshots < 0:
        raise InputError(f"snapshots: {snapshots} is negative; 0 keeps none.")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: {callback!r} is not a function.")
    plan = prepare(content, style, config)
    log.info("device: %s", jax.devices()[0])
    log.info("sizes: %s", ", ".join(f"{width}x{height}" for height, width in plan.sizes))
    log.info("memory: about %.2f GB", estimate_bytes(config, *plan.sizes[-1]) / 1e9)

    picture, ended = None, "finished"
    history: list[objective.Losses] = []
    kept: dict[int, np.ndarray] = {}
    with _stop_on_interrupt() as interrupted, _progress_bar(progress, config.steps) as show:
        try:
            for state in optimise(plan):
                picture = state.unclipped
                history.append(state.losses)
                show(state)
                if snapshots and state.step % snapshots == 0:
                    kept[state.step] = state.image
                if callback is not None and callback(state) is False:
                    ended = "stopped"
                    break
                if interrupted.is_set():
                    ended = "interrupted"
                    break
        except DivergedError as error:
            picture, ended = error.picture, "diverged"
            warnings.warn(str(error), stacklevel=2)
    if picture is None:
        raise InputError("the loss of the first picture is not a finite number; use smaller weights.")
    return Result(
        array=np.clip(np.asarray(picture), 0, 1),
        history={
            name: np.array([getattr(losses, name) for losses in history], np.float32)
            for name in objective.Losses._fields
        },
        config=config,
        seconds=time.perf_counter() - began,
        ended=ended,
        weights_sha256=plan.weights.sha256,
        snapshots=kept,
    )


def evaluate(
    image: Picture,
    content: Picture,
    style: Picture | Sequence[Picture],
    config: Config | None = None,
    *,
    preset: str | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Compute the loss parts of any picture, for example of another program's output.

    Args:
      image: the picture to judge, at its own size (`config.size` does not count).
      content: resized to the size of `image`.
      style: one or several, resized so that their longer side is that of `image`.
      config: the objective; default `Config()`.
      preset: name of a published system instead.
      **settings: fields of `Config` by name.

    Returns:
      `{"total", "content", "style", "tv"}`; the parts are unweighted.

    Raises:
      InputError: anything given that cannot work.
    """
    config = resolve_config(preset, config, settings)
    array = images.read_image(image, "image")
    config = config.replace(size=max(array.shape[:2]), scales=1, start="content")
    check_large_enough(config, *array.shape[:2], argument="image")
    plan = prepare(content, style, config)
    found = _evaluate(
        to_problem(config).objective,
        plan.params,
        targets_at(plan, array.shape[:2]),
        to_loss_weights(config, len(plan.styles)),
        jnp.asarray(array),
    )
    return {name: float(value) for name, value in found._asdict().items()}


def features(
    image: Picture,
    layers: Sequence[str] = ("relu4_2",),
    weights: str = "caffe",
    pooling: str = "max",
) -> dict[str, Float[np.ndarray, "h_l w_l c_l"]]:
    """Compute VGG19's feature maps of a picture at its own size.

    Args:
      image: a path, a `PIL.Image` or an array.
      layers: names from `jaxnst.LAYERS`.
      weights: caffe, torchvision, or the path of an HDF5 file.
      pooling: max or average.

    Returns:
      `{layer: float32 [H_l, W_l, C_l]}`.

    Raises:
      InputError: an unknown name, or a picture too small for a layer.
    """
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    for layer in layers:
        choose("layers", layer, vgg.LAYERS)
    if not layers:
        raise InputError("layers: none is named; name at least one.")
    config = Config(content_layers=layers, style_layers=(), weights=weights, pooling=pooling).checked()
    array = images.read_image(image, "image")
    check_large_enough(config.replace(size=max(array.shape[:2])), *array.shape[:2], argument="image")
    params = load_weights(weights).params
    found = _features(params, jnp.asarray(array), layers, vgg.POOLINGS[pooling])
    return {layer: np.asarray(found[layer]) for layer in layers}


@contextlib.contextmanager
def _progress_bar(wanted: bool, steps: int) -> Iterator[Callable[[Progress], None]]:
    if not wanted:
        yield lambda state: None
        return
    from tqdm import tqdm

    with tqdm(total=steps, unit="step", dynamic_ncols=True) as bar:

        def show(state: Progress) -> None:
            losses = {name: f"{value:.3g}" for name, value in state.losses._asdict().items()}
            bar.set_postfix(losses, refresh=False)
            bar.update()

        yield show


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
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
