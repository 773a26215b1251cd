"""One run: pictures and settings are read and checked, then the solver's steps, scale by scale.

Knows sizes, starts and when a run has diverged; knows nothing of files written, bars drawn or Ctrl-C.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
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
from jaxnst.memory import check_fits, check_large_enough
from jaxnst.weights import Weights, load_weights

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.images import Picture

log = logging.getLogger("jaxnst")

# The picture itself is not donated, so that a callback may keep it; the optimiser's history, many times
# larger, is.
_step = jax.jit(solver.step, static_argnums=0, donate_argnums=3)
_start = jax.jit(solver.start, static_argnums=0)
_targets = jax.jit(objective.make_targets, static_argnums=0)
_with_winograd = jax.jit(vgg.with_winograd)


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each step.

    Attributes:
      step: steps done so far, from 1.
      steps: steps in all.
      losses: the parts of the objective, unweighted, before this step.
      size: height and width of the picture at the present scale.
      unclipped: the picture after this step as the solver has it, on the device, outside [0, 1] too.
    """

    step: int
    steps: int
    losses: objective.Losses
    size: tuple[int, int]
    unclipped: Array

    @functools.cached_property
    def image(self) -> Float[np.ndarray, "h w 3"]:
        """The picture after this step, float32 [H, W, 3] in [0, 1]; computed only if it is read."""
        return np.clip(np.asarray(self.unclipped), 0, 1)


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, read and checked.

    Attributes:
      config: the settings.
      content, styles, start: pictures at their own sizes, float32 [H, W, 3] in [0, 1]; `start` only where it
        is a file.
      sizes: height and width of the picture at each scale, coarse to fine.
      weights: the network's, as read; `params` are the same on the device.
      loss_weights: for the core.
    """

    config: Config
    content: np.ndarray
    styles: list[np.ndarray]
    start: np.ndarray | None
    sizes: list[tuple[int, int]]
    weights: Weights
    params: Mapping[str, Any]
    loss_weights: objective.LossWeights


def prepare(content: Picture, style: Picture | Sequence[Picture], config: Config) -> Plan:
    """Read the pictures and the weights, and refuse what cannot work before anything is compiled.

    Args:
      content: a picture.
      style: one picture, or a list or tuple of several.
      config: checked settings.

    Raises:
      InputError: a picture, the weights or a size that cannot be used.
    """
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
    return Plan(
        config, content_array, styles, start, sizes, weights, jax.device_put(weights.params), loss_weights
    )


def _read_start(start: str) -> np.ndarray:
    path = Path(start).expanduser()
    if not path.suffix and len(path.parts) < 2 and not path.exists():
        choose("start", start, STARTS)  # a word, not a file: offer the words
    return images.read_image(start, "start")


def targets_at(plan: Plan, size: tuple[int, int]) -> objective.Targets:
    """What a picture of this height and width is compared with; styles have its longer side."""
    content = images.resize(plan.content, size)
    styles = [images.resize(style, images.fit_size(style.shape[:2], max(size))) for style in plan.styles]
    return _targets(to_problem(plan.config).objective, plan.params, content, styles)


def _noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """Gray with Gaussian noise of a quarter of the range."""
    noise = 0.5 + 0.25 * jax.random.normal(jax.random.key(seed), (*size, 3))
    return np.clip(np.asarray(noise), 0, 1)


def _first_picture(plan: Plan, size: tuple[int, int]) -> np.ndarray:
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


class DivergedError(Exception):
    """The loss or the picture is no longer finite; carries the last picture whose loss was."""

    def __init__(self, step: int, picture: Array | None) -> None:
        """`picture`: the last one whose loss was finite, None if the first one's was not."""
        super().__init__(
            f"the loss is no longer a finite number at step {step}, so the run ends with the last picture "
            "that had one; a smaller learning_rate or clamp may help"
        )
        self.picture = picture


def optimise(plan: Plan) -> Iterator[Progress]:
    """Work through the scales, coarse to fine, and yield after each step.

    Raises:
      DivergedError: the loss or the picture is not finite any more.
    """
    config = plan.config
    problem = to_problem(config)
    key = jax.random.key(config.seed)
    params = _with_winograd(plan.params) if jax.default_backend() == "cpu" else plan.params
    picture, good, done = None, None, 0
    for scale, size in enumerate(plan.sizes):
        array = _first_picture(plan, size) if picture is None else images.resize(np.asarray(picture), size)
        picture = jnp.asarray(array)
        inputs = solver.Inputs(
            params, targets_at(plan, size), plan.loss_weights, jnp.float32(config.learning_rate)
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
                raise DivergedError(step, good)
            good = picture
            if not jnp.isfinite(moved).all():
                raise DivergedError(step, good)
            picture = moved
            yield Progress(step, config.steps, losses, size, picture)
        done = last
