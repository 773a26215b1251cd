"""Everything that decides a picture, as one frozen dataclass: Python argument, CLI flag and saved key in one.

The strings in it are looked up here, once; the core receives functions and values.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxnst.core import losses, optimizers, solver, transforms, vgg
from jaxnst.core.objective import LossWeights, Objective
from jaxnst.errors import InputError, choose

OPTIMIZERS = ("lbfgs", "adam", "adagrad", "sgd")
FLOAT32_MAX = 3.4e38
STARTS = ("content", "style", "noise", "black", "white", "blend")


@dataclass(frozen=True)
class Config:
    """All settings of a run; two runs with equal settings, pictures and machine give equal bytes.

    They are checked when they are used: `checked`.
    """

    size: int = 256
    """Longer side of the finished picture in pixels; the style pictures get the same longer side."""
    steps: int = 60
    """Steps of the optimiser in all, shared evenly by the scales."""
    scales: int = 1
    """Sizes to work through, coarse to fine, each twice the one before and the last one `size`."""
    seed: int = 0
    """Of the noise in the start and of the random shift."""
    start: str = "content"
    """First picture: content, style, noise, black, white, blend, or the path of an image file."""
    blend: float = 0.5
    """Share of the content picture in a start of `blend`, 0 to 1; the rest is noise."""

    weights: str = "caffe"
    """Network weights: caffe, torchvision, or the path of an HDF5 file."""
    pooling: str = "max"
    """max or average."""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers whose features are compared with the content picture's."""
    content_layer_weights: tuple[float, ...] = (1.0,)
    """One weight for each content layer, or one for all."""
    content_loss: str = "mean"
    """sum: 1/2 sum (F - P)^2. mean: mean (F - P)^2."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers whose Gram matrices are compared with the style pictures'."""
    style_layer_weights: tuple[float, ...] = (1.0,)
    """One weight for each style layer, or one for all."""
    style_weights: tuple[float, ...] = ()
    """One weight for each style picture; none: equal shares."""
    gram: str = "chw"
    """Form of the Gram loss: gatys, hw, chw or dhw (see the table in the README)."""
    norm: str = "l2"
    """l2 squares the differences of content and style, l1 takes their absolute value."""
    content_weight: float = 1.0
    """Factor of the content loss in the total."""
    style_weight: float = 50.0
    """Factor of the style loss in the total."""
    tv_weight: float = 2e6
    """Factor of the total variation in the total."""

    optimizer: str = "lbfgs"
    """lbfgs, adam, adagrad or sgd."""
    learning_rate: float = 1.0
    """Length of a step: of the picture in [0, 1] for adam, of the direction for lbfgs."""
    memory: int = 20
    """Past steps that shape the direction of lbfgs."""
    line_search: str = "none"
    """For lbfgs: none, backtracking or zoom."""
    max_step: float = 0.03
    """For lbfgs: largest root mean square of the picture's change in one step; 0: no limit."""
    clamp: bool = True
    """Put the picture back into [0, 1] after each step; otherwise it is only when finished."""
    random_shift: float = 1.0
    """Each step sees a random window of this part of the picture's sides, turned a little; 1: the whole."""

    def checked(self) -> Config:
        """Return these settings with lists and single values made into tuples, all of them usable.

        Raises:
          InputError: a value is out of its range, a name is unknown, or two settings contradict each other.
        """
        config = dataclasses.replace(
            self,
            **{
                field.name: _plain(getattr(self, field.name), isinstance(field.default, tuple))
                for field in dataclasses.fields(self)
            },
        )
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            for one in value if isinstance(value, tuple) else (value,):
                _check_type(field.name, one, field.default)
        _check_names(config)
        _check_lengths(config)
        _check_ranges(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON's own types, for `from_dict`."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Config:
        """Make a Config from saved settings; what is not named keeps its default.

        Raises:
          InputError: a key is not a setting, or a value is not allowed.
        """
        return cls().replace(**settings).checked()

    def replace(self, **settings: Any) -> Config:
        """Return a copy with some settings changed.

        Raises:
          InputError: a key is not a setting.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in settings:
            choose("settings", name, known)
        return dataclasses.replace(self, **settings)


def _plain(value: Any, several: bool) -> Any:
    """Python's own types, from NumPy's scalars and arrays, lists and paths."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not several:
        return value
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(_plain(one, False) for one in values)


def _check_type(name: str, value: Any, default: Any) -> None:
    if isinstance(default, tuple):
        default = default[0] if default else 1.0
    wanted = type(default)
    allowed = (int, float) if wanted is float else wanted
    if not isinstance(value, allowed) or (isinstance(value, bool) and wanted is not bool):
        raise InputError(f"{name}: {value!r} is not of the type {wanted.__name__}.")
    if isinstance(value, float) and not abs(value) <= FLOAT32_MAX:
        raise InputError(f"{name}: {value!r} is not a finite number in float32.")


def _check_names(config: Config) -> None:
    choose("pooling", config.pooling, vgg.POOLINGS)
    choose("content_loss", config.content_loss, losses.CONTENT_FORMS)
    choose("gram", config.gram, losses.GRAM_FORMS)
    choose("norm", config.norm, losses.NORMS)
    choose("optimizer", config.optimizer, OPTIMIZERS)
    choose("line_search", config.line_search, optimizers.LINE_SEARCHES)
    for name in ("content_layers", "style_layers"):
        layers = getattr(config, name)
        for layer in layers:
            choose(name, layer, vgg.LAYERS)
        if len(set(layers)) < len(layers):
            raise InputError(f"{name}: a layer is named twice in {' '.join(layers)}.")


def _check_lengths(config: Config) -> None:
    if not config.content_layers and not config.style_layers:
        raise InputError("content_layers and style_layers are both empty; name at least one layer.")
    for part in ("content", "style"):
        layers = getattr(config, f"{part}_layers")
        weights = getattr(config, f"{part}_layer_weights")
        if len(weights) not in (1, len(layers)):
            raise InputError(
                f"{part}_layer_weights: {len(weights)} values for {len(layers)} {part}_layers; "
                f"give {len(layers)}, or one for all."
            )


def _check_ranges(config: Config) -> None:
    for name, least in (("size", 1), ("steps", 1), ("scales", 1), ("memory", 1), ("seed", 0)):
        if getattr(config, name) < least:
            raise InputError(f"{name}: {getattr(config, name)} is too small; the least is {least}.")
    if config.seed >= 2**32:
        raise InputError(f"seed: {config.seed} is too large; the largest is {2**32 - 1}.")
    if config.steps < config.scales:
        raise InputError(f"steps: {config.steps} steps cannot be shared by {config.scales} scales.")
    if not 0 <= config.blend <= 1:
        raise InputError(f"blend: {config.blend} is outside 0 (all noise) to 1 (all content).")
    if not 0.5 <= config.random_shift <= 1:
        raise InputError(f"random_shift: {config.random_shift} is outside 0.5 to 1 (no shift).")
    if config.max_step < 0:
        raise InputError(f"max_step: {config.max_step} is negative; 0 sets no limit.")
    if config.learning_rate <= 0:
        raise InputError(f"learning_rate: {config.learning_rate} must be positive.")
    for name in ("content_layer_weights", "style_layer_weights", "style_weights"):
        if min(getattr(config, name), default=0) < 0:
            raise InputError(f"{name}: {min(getattr(config, name))} is negative; a loss cannot be maximised.")
    for name in ("content_weight", "style_weight", "tv_weight"):
        if getattr(config, name) < 0:
            raise InputError(f"{name}: {getattr(config, name)} is negative; a loss cannot be maximised.")
    if config.content_weight == config.style_weight == config.tv_weight == 0:
        raise InputError(
            "content_weight, style_weight and tv_weight are all zero; nothing is left to minimise."
        )
    if config.optimizer != "lbfgs" and config.line_search != "none":
        raise InputError(f"line_search: {config.line_search} works with lbfgs only, not {config.optimizer}.")


def to_problem(config: Config) -> solver.Problem:
    """Translate the names in a Config into the functions and values of the core."""
    objective = Objective(
        content_layers=config.content_layers,
        style_layers=config.style_layers,
        pooling=vgg.POOLINGS[config.pooling],
        content_form=losses.CONTENT_FORMS[config.content_loss],
        gram_form=losses.GRAM_FORMS[config.gram],
        norm=losses.NORMS[config.norm],
    )
    optimizer = {
        "lbfgs": optimizers.LBFGS(
            config.memory, optimizers.LINE_SEARCHES[config.line_search], config.max_step or math.inf
        ),
        "adam": optimizers.Adam(),
        "adagrad": optimizers.Adagrad(),
        "sgd": optimizers.SGD(),
    }[config.optimizer]
    shifted = config.random_shift < 1
    return solver.Problem(
        objective=objective,
        optimizer=optimizer,
        transform=transforms.RandomShift(config.random_shift) if shifted else transforms.unchanged,
        project=solver.clamped if config.clamp else solver.unbounded,
    )


def to_loss_weights(config: Config, styles: int) -> LossWeights:
    """Gather the weights of a Config for the core.

    Args:
      config: the settings.
      styles: number of style pictures.

    Raises:
      InputError: `style_weights` has another number of values.
    """
    if config.style_weights and len(config.style_weights) != styles:
        raise InputError(
            f"style_weights: {len(config.style_weights)} values for {styles} style pictures; "
            f"give {styles}, or none."
        )

    def spread(weights: Iterable[float], count: int) -> Any:
        return jnp.broadcast_to(jnp.asarray(tuple(weights), jnp.float32), (count,))

    return LossWeights(
        content=jnp.float32(config.content_weight),
        style=jnp.float32(config.style_weight),
        tv=jnp.float32(config.tv_weight),
        content_layers=spread(config.content_layer_weights, len(config.content_layers)),
        style_layers=spread(config.style_layer_weights, len(config.style_layers)),
        styles=spread(config.style_weights or (1 / styles,), styles),
    )
