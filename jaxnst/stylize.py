"""The binding people call: pictures in, a picture and its history out. All compute is in `jaxnst.core`."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst import images
from jaxnst.config import STARTS, Config, to_loss_weights, to_problem
from jaxnst.core import objective, solver, vgg
from jaxnst.errors import InputError, choose
from jaxnst.memory import check_fits, check_large_enough, estimate_bytes
from jaxnst.presets import PRESETS
from jaxnst.weights import Weights, load_weights

if TYPE_CHECKING:
    import os

    import PIL.Image
    from jaxtyping import Array, Float

    from jaxnst.images import Picture

log = logging.getLogger("jaxnst")

# The picture itself is not donated, so that a callback may keep it; the optimiser's history, many times
# larger, is.
_step = jax.jit(solver.step, static_argnums=0, donate_argnums=3)
_start = jax.jit(solver.start, static_argnums=0)
_targets = jax.jit(objective.make_targets, static_argnums=0)
_evaluate = jax.jit(objective.evaluate, static_argnums=0)
_features = jax.jit(vgg.features, static_argnums=(2, 3))
_with_winograd = jax.jit(vgg.with_winograd)


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each step.

    Attributes:
      step: steps done so far, from 1.
      steps: steps in all.
      losses: the parts of the objective, unweighted, before this step.
      size: height and width of the picture at the present scale.
    """

    step: int
    steps: int
    losses: objective.Losses
    size: tuple[int, int]
    _picture: Array

    @functools.cached_property
    def image(self) -> Float[np.ndarray, "h w 3"]:
        """The picture after this step, float32 [H, W, 3] in [0, 1]; computed only if it is read."""
        return np.clip(np.asarray(self._picture), 0, 1)


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
        return images.to_pil(self.array)

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
        images.check_output(path)
        images.save_image(path, self.array, self.metadata)


def resolve_config(preset: str | None, config: Config | None, settings: Mapping[str, Any]) -> Config:
    """Settle which settings hold: a preset or a Config or the defaults, with single fields changed.

    Raises:
      InputError: both a preset and a config, an unknown preset, or an unknown or impossible setting.
    """
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
    plan = _prepare(content, style, config)
    log.info("device: %s", jax.devices()[0])
    log.info("sizes: %s", ", ".join(f"{width}x{height}" for height, width in plan.sizes))
    log.info("memory: about %.2f GB", estimate_bytes(config, *plan.sizes[-1]) / 1e9)

    picture, ended = None, "finished"
    history: list[objective.Losses] = []
    kept: dict[int, np.ndarray] = {}
    with _stop_on_interrupt() as interrupted, _progress_bar(progress, config.steps) as show:
        try:
            for state in _optimise(plan):
                picture = state._picture
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
        except _DivergedError as error:
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
    plan = _prepare(content, style, config)
    found = _evaluate(
        to_problem(config).objective,
        plan.params,
        _targets_at(plan, array.shape[:2]),
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


@dataclass(frozen=True)
class _Plan:
    """Everything a run needs, read and checked."""

    config: Config
    content: np.ndarray
    styles: list[np.ndarray]
    start: np.ndarray | None
    sizes: list[tuple[int, int]]
    weights: Weights
    params: Mapping[str, Any]
    loss_weights: objective.LossWeights


def _prepare(content: Picture, style: Picture | Sequence[Picture], config: Config) -> _Plan:
    content_array = images.read_image(content, "content")
    several: list[Any] = list(style) if isinstance(style, list | tuple) else [style]
    if not several:
        raise InputError("style: no picture is given; give at least one.")
    styles = [images.read_image(picture, "style") for picture in several]
    start = None if config.start in STARTS else _read_start(config.start)
    loss_weights = to_loss_weights(config, len(styles))
    sides = [config.size // 2**i for i in reversed(range(config.scales))]
    sizes = [images.fit_size(content_array.shape[:2], side) for side in sides]
    check_large_enough(config, *sizes[0], argument="content")
    for array in styles:
        check_large_enough(config, *images.fit_size(array.shape[:2], sides[0]), argument="style")
    largest = [sizes[-1], *(images.fit_size(array.shape[:2], config.size) for array in styles)]
    check_fits(config, *max(largest, key=math.prod))
    weights = load_weights(config.weights)
    return _Plan(
        config, content_array, styles, start, sizes, weights, jax.device_put(weights.params), loss_weights
    )


def _read_start(start: str) -> np.ndarray:
    path = Path(start).expanduser()
    if not path.suffix and len(path.parts) < 2 and not path.exists():
        choose("start", start, STARTS)  # a word, not a file: offer the words
    return images.read_image(start, "start")


def _targets_at(plan: _Plan, size: tuple[int, int]) -> objective.Targets:
    content = images.resize(plan.content, size)
    styles = [images.resize(style, images.fit_size(style.shape[:2], max(size))) for style in plan.styles]
    return _targets(to_problem(plan.config).objective, plan.params, content, styles)


def _noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """Gray with Gaussian noise of a quarter of the range."""
    noise = 0.5 + 0.25 * jax.random.normal(jax.random.key(seed), (*size, 3))
    return np.clip(np.asarray(noise), 0, 1)


def _first_picture(plan: _Plan, size: tuple[int, int]) -> np.ndarray:
    """The start named in the settings, at one size."""
    config = plan.config

    def content() -> np.ndarray:
        return images.resize(plan.content, size)

    def blend() -> np.ndarray:
        return np.float32(config.blend) * content() + np.float32(1 - config.blend) * _noise(size, config.seed)

    starts = {
        "content": content,
        "style": lambda: images.resize(plan.styles[0], size),
        "noise": lambda: _noise(size, config.seed),
        "black": lambda: np.zeros((*size, 3), np.float32),
        "white": lambda: np.ones((*size, 3), np.float32),
        "blend": blend,
    }
    if plan.start is not None:
        return images.resize(plan.start, size)
    return starts[config.start]()


class _DivergedError(Exception):
    """The loss or the picture is no longer finite; carries the last picture whose loss was."""

    def __init__(self, step: int, picture: Array | None) -> None:
        super().__init__(
            f"the loss is no longer a finite number at step {step}, so the run ends with the last picture "
            "that had one; a smaller learning_rate or clamp may help"
        )
        self.picture = picture


def _optimise(plan: _Plan) -> Iterator[Progress]:
    """Work through the scales, coarse to fine, and yield after each step."""
    config = plan.config
    problem = to_problem(config)
    key = jax.random.key(config.seed)
    params = _with_winograd(plan.params) if jax.default_backend() == "cpu" else plan.params
    picture, good, done = None, None, 0
    for scale, size in enumerate(plan.sizes):
        array = _first_picture(plan, size) if picture is None else images.resize(np.asarray(picture), size)
        picture = jnp.asarray(array)
        inputs = solver.Inputs(
            params, _targets_at(plan, size), plan.loss_weights, jnp.float32(config.learning_rate)
        )
        memory = _start(problem, inputs, picture, jax.random.fold_in(key, scale))
        last = config.steps * (scale + 1) // config.scales
        began = time.perf_counter()
        for step in range(done + 1, last + 1):
            moved, memory, losses = _step(problem, inputs, picture, memory)
            losses = jax.tree.map(float, losses)
            if step == done + 1:
                log.info(
                    "first step at %dx%d, with compilation: %.1f s", *size[::-1], time.perf_counter() - began
                )
            if not math.isfinite(losses.total):
                raise _DivergedError(step, good)
            good = picture
            if not jnp.isfinite(moved).all():
                raise _DivergedError(step, good)
            picture = moved
            yield Progress(step, config.steps, losses, size, picture)
        done = last


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
