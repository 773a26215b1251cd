"""Turns the names in a Config into functions and values of the core. Each name is looked up here, once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import color, guides, losses, optimizers, parametrisation, solver, terms, transforms, vgg
from jaxnst.core.conv import EXACT
from jaxnst.core.objective import LossWeights, Objective, TermWeights
from jaxnst.core.statistics import STATISTICS, Histogram
from jaxnst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jaxtyping import Array

    from jaxnst.config.config import Config
    from jaxnst.core.optimizers import Optimizer
    from jaxnst.core.statistics import Statistic

OPTIMIZERS: Mapping[str, Callable[[Config], Optimizer]] = {
    "lbfgs": lambda config: optimizers.LBFGS(
        config.history_size, optimizers.LINE_SEARCHES[config.line_search], config.max_step or math.inf
    ),
    "adam": lambda config: optimizers.Adam(),
    "adagrad": lambda config: optimizers.Adagrad(),
    "sgd": lambda config: optimizers.SGD(),
}

NORMALIZED: Mapping[str, Optimizer] = {
    "adam": optimizers.Normalized(optimizers.Adam()),
    "adagrad": optimizers.Normalized(optimizers.Adagrad()),
    "sgd": optimizers.Normalized(optimizers.SGD(momentum=0.9)),
}
"""The optimisers where `learning_rate` is 0: as published, no rate of theirs suits two objectives."""

LEARNING_RATES: Mapping[str, Mapping[str, float]] = {
    "lbfgs": {"pixels": 1.0, "fourier": 1.0},
    "adam": {"pixels": 0.02, "fourier": 0.03},
    "adagrad": {"pixels": 0.05, "fourier": 0.1},
    "sgd": {"pixels": 0.002, "fourier": 0.002},
}
"""The learning rates that stand for `learning_rate` 0, by optimiser and parametrisation.

They are from the middle of the plateaus of the loss after 60 steps, over several pairs and objectives.
docs/controls.md shows the losses to which they lead."""

PARAMETRISATIONS: Mapping[str, Callable[[Config], tuple[parametrisation.Parametrisation, ...]]] = {
    "pixels": lambda config: (),
    "fourier": lambda config: (parametrisation.Fourier(config.fourier_decay),),
}

COLORS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray] | None] = {
    "style": None,
    "luminance": color.match_luminance,
    **color.COLOR_TRANSFERS,
}
"""For each value of `color` how the style picture gets the content's colours, `(style, content) -> style`."""

PRECISIONS = ("auto", "float32", "tf32", "bf16")


def to_problem(config: Config) -> solver.Problem:
    """Builds the static part of the optimisation, which decides the compiled program."""
    colors = (parametrisation.Decorrelated(),) if config.decorrelate else ()
    return solver.Problem(
        objective=to_objective(config),
        optimizer=to_optimizer(config),
        parametrisation=PARAMETRISATIONS[config.parametrisation](config) + colors,
        project=solver.clamped if config.clamp else None,
    )


def to_optimizer(config: Config) -> Optimizer:
    """Builds the optimiser: as published if there is a learning rate, else what suits any objective."""
    if config.learning_rate == 0 and config.optimizer in NORMALIZED:
        return NORMALIZED[config.optimizer]
    return OPTIMIZERS[config.optimizer](config)


def to_learning_rate(config: Config) -> float:
    """Returns the learning rate of a run: the one that was given, or the optimiser's own."""
    return config.learning_rate or LEARNING_RATES[config.optimizer][config.parametrisation]


def to_objective(config: Config) -> Objective:
    """Builds the objective. It always has content, style and total variation, for the sake of the history."""
    form, norm = losses.GRAM_FORMS[config.gram], losses.NORMS[config.norm]

    def statistic(choice: str | Statistic) -> Statistic:
        return STATISTICS[choice](form, norm) if isinstance(choice, str) else choice

    statistics = tuple(map(statistic, _spread(config.statistic, config.style_layers)))
    always: tuple[terms.Term, ...] = (
        terms.Content(config.content_layers, losses.CONTENT_FORMS[config.content_loss], norm),
        terms.Style(config.style_layers, statistics),
        terms.Regulariser("tv", losses.TOTAL_VARIATIONS[config.tv_norm]),
    )
    histograms = (Histogram(),) * len(config.histogram_layers)
    optional: tuple[tuple[float, terms.Term], ...] = (
        (config.laplacian_weight, terms.Laplacian(config.laplacian_windows)),
        (config.histogram_weight, terms.Style(config.histogram_layers, histograms, "histogram")),
        (config.range_weight, terms.Regulariser("range", losses.out_of_range)),
    )
    return Objective(
        terms=always + tuple(term for weight, term in optional if weight),
        pooling=_to_pooling(config),
        padding=vgg.PADDINGS[config.padding],
        guidance=guides.GUIDANCES[config.guidance],
        colors=transforms.gray if config.color == "luminance" else transforms.unchanged,
        precision=jax.lax.Precision.DEFAULT if to_precision(config) == "tf32" else EXACT,
    )


def to_precision(config: Config) -> str:
    """Returns float32, tf32 or bf16; `auto` is float32 on a CPU and bf16 elsewhere."""
    if config.precision != "auto":
        return config.precision
    return "float32" if jax.default_backend() == "cpu" else "bf16"


def _to_pooling(config: Config) -> Callable[[Array], Array]:
    pooling = vgg.POOLINGS[config.pooling]
    if config.pooling_rescale:
        return vgg.Rescaled(pooling, vgg.POOLING_FACTORS[config.pooling])
    return pooling


def to_transforms(config: Config) -> tuple[Callable[[Array, Array], Array], ...]:
    """Builds the transforms `(image, key) -> image` that each step applies before the network."""
    return (transforms.RandomShift(jnp.float32(config.random_shift)),) if config.random_shift < 1 else ()


def to_loss_weights(config: Config, styles: int) -> LossWeights:
    """Builds the loss weights of every term.

    Args:
      config: the settings.
      styles: number of style pictures.

    Raises:
      InputError: `style_weights` has another number of values than styles, or no style has any weight.
    """
    layers = len(config.style_layers)
    shares = config.style_weights or (1 / max(styles, 1),) * styles
    if len(shares) not in (styles, styles * layers):
        raise InputError(
            f"style_weights: {len(shares)} values for {styles} style pictures; give {styles}, "
            f"{styles * layers} (one for each of the {layers} layers too), or none."
        )
    by_style = _floats(shares).reshape(styles, -1 if styles else 1)
    by_layer = _floats(_spread(config.style_layer_weights, config.style_layers))
    if styles and layers and not (by_style * by_layer).any():
        raise InputError("style_weights and style_layer_weights: together they leave no style any weight.")
    balance = _floats(config.style_balance)
    within: dict[str, Any] = {
        "content": _floats(_spread(config.content_layer_weights, config.content_layers)),
        "style": terms.StyleWeights(by_style * by_layer, balance),
        "histogram": terms.StyleWeights(
            by_style.mean(axis=1, keepdims=True).repeat(len(config.histogram_layers), axis=1),
            balance,
        ),
    }
    return {
        term.name: TermWeights(_floats(getattr(config, f"{term.name}_weight")), within.get(term.name, ()))
        for term in to_objective(config).terms
    }


def _floats(values: Any) -> Any:
    """Converts to NumPy's float32, not JAX's, which would compile a program to convert each shape."""
    return np.asarray(values, np.float32)


def _spread(values: Iterable[Any], layers: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns one value for each layer, where a single value stands for all."""
    values = tuple(values)
    return values * len(layers) if len(values) == 1 else values
