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

MULTIPLE = 16
"""Multiple of the sides that the network sees: the stride of relu5_1, the deepest layer of any use."""

EDGES = ("mirror", "drop")

STRENGTH_DECADES = 1.5
"""Powers of ten by which `strength` moves the loss weight of the style, each way."""

WEIGHTINGS = ("relative", "absolute")

PRECISIONS = ("auto", "float32", "tf32", "bf16")


def to_problem(config: Config) -> solver.Problem:
    """Builds the static part of the optimisation, which decides the compiled program."""
    colors = (parametrisation.Decorrelated(),) if config.decorrelate else ()
    return solver.Problem(
        objective=to_objective(config),
        optimizer=OPTIMIZERS[config.optimizer](config),
        parametrisation=PARAMETRISATIONS[config.parametrisation](config) + colors,
        project=solver.clamped if config.clamp else None,
    )


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
        frame=transforms.Mirrored(MULTIPLE) if config.edges == "mirror" else transforms.unchanged,
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
    content_layer_weights = _floats(_spread(config.content_layer_weights, config.content_layers))
    if config.weighting == "relative":
        content_layer_weights = _shares(content_layer_weights)
        by_layer = _shares(by_layer)
        by_style = _shares(by_style, axis=0)
    if styles and layers and not (by_style * by_layer).any():
        raise InputError("style_weights and style_layer_weights: together they leave no style any weight.")
    balance = _floats(config.style_balance)
    within: dict[str, Any] = {
        "content": content_layer_weights,
        "style": terms.StyleWeights(by_style * by_layer, balance),
        "histogram": terms.StyleWeights(
            by_style.mean(axis=1, keepdims=True).repeat(len(config.histogram_layers), axis=1),
            balance,
        ),
    }
    strength = {"style": 10 ** (STRENGTH_DECADES * (2 * config.strength - 1))}
    return {
        term.name: TermWeights(
            _floats(getattr(config, f"{term.name}_weight") * strength.get(term.name, 1.0)),
            within.get(term.name, ()),
        )
        for term in to_objective(config).terms
    }


def _floats(values: Any) -> Any:
    """Converts to NumPy's float32, not JAX's, which would compile a program to convert each shape."""
    return np.asarray(values, np.float32)


def _shares(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Divides values by their sum, if they have one."""
    total = values.sum(axis=axis, keepdims=True)
    return values / np.where(total > 0, total, 1)


def style_shares(config: Config, styles: int) -> np.ndarray:
    """Returns the share of each style picture, over all layers, with sum 1."""
    shares = _floats(config.style_weights or (1,) * styles).reshape(styles, -1)
    return _shares(shares.mean(axis=1))


def _spread(values: Iterable[Any], layers: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns one value for each layer, where a single value stands for all."""
    values = tuple(values)
    return values * len(layers) if len(values) == 1 else values
