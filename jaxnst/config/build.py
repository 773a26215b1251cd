"""Turns the names in a Config into functions and values of the core. Each name is looked up here, once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import color, guides, losses, optimizers, parametrisation, solver, terms, transforms, vgg
from jaxnst.core.conv import EXACT
from jaxnst.core.hypercolumns import Neighbors, NeighborWeights, SelfSimilarity, StyleColumns
from jaxnst.core.objective import LossWeights, Objective, TermWeights
from jaxnst.core.statistics import STATISTICS, Histogram
from jaxnst.core.statistics.nearest import RelaxedEMD, euclidean_distances
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
    "rmsprop": lambda config: optimizers.RMSprop(),
    "sgd": lambda config: optimizers.SGD(),
}

NORMALIZED: Mapping[str, Optimizer] = {
    "adam": optimizers.Normalized(optimizers.Adam()),
    "adagrad": optimizers.Normalized(optimizers.Adagrad()),
    "sgd": optimizers.Normalized(optimizers.SGD(momentum=0.9)),
}
"""The optimisers where `learning_rate` is 0: as published, no rate of theirs suits two objectives."""

LEARNING_RATES: Mapping[str, Mapping[str, float]] = {
    "lbfgs": {"pixels": 1.0, "fourier": 1.0, "laplacian": 1.0},
    "adam": {"pixels": 0.02, "fourier": 0.03, "laplacian": 0.01},
    "adagrad": {"pixels": 0.05, "fourier": 0.1, "laplacian": 0.02},
    "rmsprop": {"pixels": 0.01, "fourier": 0.02, "laplacian": 0.005},
    "sgd": {"pixels": 0.002, "fourier": 0.002, "laplacian": 0.001},
}
"""The learning rates that stand for `learning_rate` 0, by optimiser and parametrisation.

They are from the middle of the plateaus of the loss after 60 steps, over several pairs and objectives.
docs/controls.md shows the losses to which they lead."""

PARAMETRISATIONS: Mapping[str, Callable[[Config], tuple[parametrisation.Parametrisation, ...]]] = {
    "pixels": lambda config: (),
    "fourier": lambda config: (parametrisation.Fourier(config.fourier_decay),),
    "laplacian": lambda config: (parametrisation.LaplacianPyramid(),),
}

COLORS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray] | None] = {
    "style": None,
    "luminance": color.match_luminance,
    **color.COLOR_TRANSFERS,
}
"""For each value of `color` how the style picture gets the content's colours, `(style, content) -> style`."""

SELF_SIMILARITY = "self_similarity"
"""The value of `content_loss` that compares no features of two pictures."""

NEIGHBORS = "neighbors"
"""The value of `statistic` that is a term of its own, because it looks at the content too."""

MIXED = "mixed"
"""The value of `statistic` that is covariance up to the third block of the network, and gram beyond.

A Gram matrix does not tell how strong a feature is from how much it varies: of fine layers it puts worms into
flat areas, which covariance leaves flat. Of coarse layers covariance copies things out of the painting."""

NEED_HYPERCOLUMNS = ("remd", NEIGHBORS)
"""Statistics that compare too many positions for whole layers."""

MULTIPLE = 16
"""Multiple of the sides that the network sees: the stride of relu5_1, the deepest layer of any use."""

EDGES = ("mirror", "drop")

STRENGTH_DECADES = 1.0
"""Powers of ten by which `strength` moves the loss weight of the style, each way."""

WEIGHTINGS = ("relative", "absolute")

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
    always: tuple[terms.Term, ...] = (
        _to_content(config),
        _to_style(config),
        terms.Regulariser("tv", losses.TOTAL_VARIATIONS[config.tv_norm]),
    )
    colors = (RelaxedEMD(euclidean_distances),)
    histograms = (Histogram(),) * len(config.histogram_layers)
    optional: tuple[tuple[float, terms.Term], ...] = (
        (config.laplacian_weight, terms.Laplacian(config.laplacian_windows)),
        (config.histogram_weight, terms.Style(config.histogram_layers, histograms, "histogram")),
        (config.palette_weight, StyleColumns(PALETTE_LAYERS, colors, config.samples, True, "palette")),
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
        turns=(1, 2, 3) if config.style_rotations else (),
    )


PALETTE_LAYERS = ("relu1_1",)
"""A layer with the positions of the pixels, for the regions of the palette loss."""


def _to_content(config: Config) -> terms.Term:
    if config.content_loss == SELF_SIMILARITY:
        return SelfSimilarity(config.content_layers, config.samples)
    form, norm = losses.CONTENT_FORMS[config.content_loss], losses.NORMS[config.norm]
    return terms.Content(config.content_layers, form, norm, saliency=config.content_saliency)


def _to_style(config: Config) -> terms.Term:
    form, norm = losses.GRAM_FORMS[config.gram], losses.NORMS[config.norm]

    def statistic(choice: str | Statistic, layer: str = "") -> Statistic:
        if choice == MIXED:
            choice = "covariance" if vgg.stride(layer) <= 4 else "gram"
        return STATISTICS[choice](form, norm) if isinstance(choice, str) else choice

    if not config.hypercolumns or not config.style_layers:
        choices = _spread(config.statistic, config.style_layers)
        return terms.Style(config.style_layers, tuple(map(statistic, choices, config.style_layers)))
    if config.statistic == (NEIGHBORS,):
        return Neighbors(config.style_layers, config.samples)
    return StyleColumns(config.style_layers, tuple(map(statistic, config.statistic)), config.samples)


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
    compared = config.statistic if config.hypercolumns and config.style_layers else config.style_layers
    layers = len(compared)
    shares = config.style_weights or (1 / max(styles, 1),) * styles
    if len(shares) not in (styles, styles * layers):
        raise InputError(
            f"style_weights: {len(shares)} values for {styles} style pictures; give {styles}, "
            f"{styles * layers} (one for each of the {layers} layers too), or none."
        )
    by_style = _floats(shares).reshape(styles, -1 if styles else 1)
    by_layer = _floats(_spread(config.style_layer_weights, compared))
    content_layer_weights = _floats(_spread(config.content_layer_weights, config.content_layers))
    if config.weighting == "relative":
        content_layer_weights = _shares(content_layer_weights)
        by_layer = _shares(by_layer)
        by_style = _shares(by_style, axis=0)
    if styles and layers and not (by_style * by_layer).any():
        raise InputError("style_weights and style_layer_weights: together they leave no style any weight.")
    balance = _floats(config.style_balance)
    within: dict[str, Any] = {
        "tv": _floats(1),
        "laplacian": _floats(1),
        "content": content_layer_weights,
        "style": terms.StyleWeights(by_style * by_layer, balance),
        "palette": terms.StyleWeights(by_style.mean(axis=1, keepdims=True), balance),
        "histogram": terms.StyleWeights(
            by_style.mean(axis=1, keepdims=True).repeat(len(config.histogram_layers), axis=1),
            balance,
        ),
    }
    if NEIGHBORS in config.statistic:
        within["style"] = NeighborWeights(
            (by_style * by_layer)[:, 0], _floats(config.content_share), _floats(len(config.sides) == 1)
        )
    strength = {"style": 10 ** (STRENGTH_DECADES * (2 * config.strength - 1))}
    return {
        term.name: TermWeights(
            _floats(getattr(config, f"{term.name}_weight") * strength.get(term.name, 1.0)),
            within.get(term.name, ()),
        )
        for term in to_objective(config).terms
    }


def at_scale(config: Config, loss_weights: LossWeights, scale: int) -> LossWeights:
    """Returns the loss weights of one scale, counted from 0: those of the content and the palette change.

    With statistic neighbors the layers are split at the last scale.

    Args:
      config: the settings.
      loss_weights: from `to_loss_weights`.
      scale: index of the scale.
    """
    changed = dict(loss_weights)
    for name, factor in (("content", config.content_decay**scale), ("palette", config.content_decay**-scale)):
        if name in changed and factor != 1:
            changed[name] = changed[name]._replace(factor=_floats(changed[name].factor * factor))
    if isinstance(changed["style"].within, NeighborWeights):
        split = _floats(scale == len(config.sides) - 1)
        changed["style"] = changed["style"]._replace(within=changed["style"].within._replace(split=split))
    return changed


def _floats(values: Any) -> Any:
    """Converts to NumPy's float32, not JAX's, which would compile a program to convert each shape."""
    return np.asarray(values, np.float32)


def _shares(values: Any, axis: int | None = None) -> Any:
    """Divides values by their sum, if they have one."""
    total = values.sum(axis=axis, keepdims=True)
    return values / np.where(total > 0, total, 1)


def style_shares(config: Config, styles: int) -> np.ndarray:
    """Returns the share of each style picture, over all layers, with sum 1."""
    shares = _floats(config.style_weights or (1,) * styles).reshape(styles, -1)
    return _shares(shares.mean(axis=1))


def _spread(values: Iterable[Any], layers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns one value for each layer, where a single value stands for all."""
    values = tuple(values)
    return values * len(layers) if len(values) == 1 else values
