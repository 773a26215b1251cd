"""From the names in a Config to the functions and values of the core; each string is looked up here, once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import guides, losses, optimizers, parametrisation, solver, terms, transforms, vgg
from jaxnst.core.conv import EXACT
from jaxnst.core.objective import LossWeights, Objective, TermWeights
from jaxnst.core.statistics import STATISTICS, Histogram
from jaxnst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Array

    from jaxnst.config.config import Config
    from jaxnst.core.statistics import Statistic


def to_problem(config: Config) -> solver.Problem:
    """Everything static that a Config decides."""
    optimizer = {
        "lbfgs": optimizers.LBFGS(
            config.memory, optimizers.LINE_SEARCHES[config.line_search], config.max_step or math.inf
        ),
        "adam": optimizers.Adam(),
        "adagrad": optimizers.Adagrad(),
        "sgd": optimizers.SGD(),
    }[config.optimizer]
    fourier = {"pixels": (), "fourier": (parametrisation.Fourier(config.fourier_decay),)}
    colours = (parametrisation.Decorrelated(),) if config.decorrelate else ()
    return solver.Problem(
        objective=to_objective(config),
        optimizer=optimizer,
        parametrisation=fourier[config.parametrisation] + colours,
        project=solver.clamped if config.clamp else None,
    )


def to_objective(config: Config) -> Objective:
    """The terms: content, style and total variation always, so that every history has them."""
    form, norm = losses.GRAM_FORMS[config.gram], losses.NORMS[config.norm]

    def statistic(of: str | Statistic) -> Statistic:
        return STATISTICS[of](form, norm) if isinstance(of, str) else of

    always: tuple[terms.Term, ...] = (
        terms.Content(config.content_layers, losses.CONTENT_FORMS[config.content_loss], norm),
        terms.Style(
            config.style_layers, tuple(map(statistic, _spread(config.statistic, config.style_layers)))
        ),
        terms.Regulariser("tv", losses.TOTAL_VARIATIONS[config.tv_norm]),
    )
    histograms = (Histogram(),) * len(config.histogram_layers)
    wanted: tuple[tuple[float, terms.Term], ...] = (
        (config.laplacian_weight, terms.Laplacian(config.laplacian_windows)),
        (config.histogram_weight, terms.Style(config.histogram_layers, histograms, "histogram")),
        (config.range_weight, terms.Regulariser("range", losses.out_of_range)),
    )
    return Objective(
        terms=always + tuple(term for weight, term in wanted if weight),
        pooling=_to_pooling(config),
        padding=vgg.PADDINGS[config.padding],
        guidance=guides.GUIDANCES[config.guidance],
        colors=transforms.gray if config.color == "luminance" else transforms.unchanged,
        precision=jax.lax.Precision.DEFAULT if to_precision(config) == "tf32" else EXACT,
    )


def to_precision(config: Config) -> str:
    """float32, tf32 or bf16."""
    if config.precision != "auto":
        return config.precision
    return "float32" if jax.default_backend() == "cpu" else "bf16"


def _to_pooling(config: Config) -> Callable[[Array], Array]:
    pooling = vgg.POOLINGS[config.pooling]
    if config.pooling_rescale:
        return vgg.Rescaled(pooling, vgg.POOLING_FACTORS[config.pooling])
    return pooling


def to_transforms(config: Config) -> tuple[Callable[[Array, Array], Array], ...]:
    """Where each step looks at the picture."""
    return (transforms.RandomShift(jnp.float32(config.random_shift)),) if config.random_shift < 1 else ()


def to_loss_weights(config: Config, styles: int) -> LossWeights:
    """Gather the weights of a Config for the core.

    Args:
      config: the settings.
      styles: number of style pictures.

    Raises:
      InputError: `style_weights` has another number of values.
    """
    layers = len(config.style_layers)
    given = config.style_weights or (1 / max(styles, 1),) * styles
    if len(given) not in (styles, styles * layers):
        raise InputError(
            f"style_weights: {len(given)} values for {styles} style pictures; give {styles}, "
            f"{styles * layers} (one for each of the {layers} layers too), or none."
        )
    by_style = _floats(given).reshape(styles, -1 if styles else 1)
    of_layers = _floats(_spread(config.style_layer_weights, config.style_layers))
    if styles and layers and not (by_style * of_layers).any():
        raise InputError("style_weights and style_layer_weights: together they leave no style any weight.")
    balance = _floats(config.style_balance)
    within: dict[str, Any] = {
        "content": _floats(_spread(config.content_layer_weights, config.content_layers)),
        "style": terms.StyleWeights(by_style * of_layers, balance),
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
    """As the core takes them; NumPy's, because JAX would compile a program to convert each shape."""
    return np.asarray(values, np.float32)


def _spread(values: Iterable[Any], over: tuple[Any, ...]) -> tuple[Any, ...]:
    """One value for each, or one for all."""
    values = tuple(values)
    return values * len(over) if len(values) == 1 else values
