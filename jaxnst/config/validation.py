"""Checks the settings of a Config: types, names, lengths, ranges and contradictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from jaxnst.config.build import (
    COLORS,
    EDGES,
    MIXED,
    NEED_HYPERCOLUMNS,
    NEIGHBORS,
    OPTIMIZERS,
    PARAMETRISATIONS,
    PRECISIONS,
    SELF_SIMILARITY,
    WEIGHTINGS,
)
from jaxnst.config.quality import NO_LEVEL, QUALITIES
from jaxnst.core import color, guides, losses, optimizers, vgg
from jaxnst.core.statistics import STATISTICS
from jaxnst.errors import InputError, choose

if TYPE_CHECKING:
    from jaxnst.config.config import Config

FLOAT32_MAX = 3.4e38


def check(config: Config) -> None:
    """Refuses settings that cannot work with any pictures.

    Raises:
      InputError: with the name of the setting, or of the two that contradict each other.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for element in value if isinstance(value, tuple) else (value,):
            _check_type(field.name, element, field.default)
    _check_names(config)
    _check_lengths(config)
    _check_ranges(config)
    _check_scales(config)
    _check_weights(config)
    _check_contradictions(config)
    _check_hypercolumns(config)


def _check_type(name: str, value: Any, default: Any) -> None:
    if isinstance(default, tuple):
        default = default[0] if default else {"style_weights": 1.0, "scale_steps": 1}.get(name, "")
    if name == "statistic" and not isinstance(value, str):
        _check_statistic(value)
        return
    kind = type(default)
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name}: {repr(value)[:60]} is not of the type {kind.__name__}.")
    if isinstance(value, float) and not abs(value) <= FLOAT32_MAX:
        raise InputError(f"{name}: {value!r} is not a finite number in float32.")


def _check_statistic(value: Any) -> None:
    usable = callable(value) and callable(getattr(value, "distance", None))
    if not usable or isinstance(value, type) or not isinstance(value, Hashable):
        raise InputError(
            f"statistic: {repr(value)[:60]} is not usable; give a name, or a hashable object with "
            "__call__(features, guide) and distance(summary, target)."
        )


def _check_names(config: Config) -> None:
    for name, choices in (
        ("pooling", vgg.POOLINGS),
        ("quality", (*QUALITIES, NO_LEVEL)),
        ("padding", vgg.PADDINGS),
        ("edges", EDGES),
        ("weighting", WEIGHTINGS),
        ("recolor", color.COLOR_TRANSFERS),
        ("content_loss", (*losses.CONTENT_FORMS, SELF_SIMILARITY)),
        ("gram", losses.GRAM_FORMS),
        ("norm", losses.NORMS),
        ("guidance", guides.GUIDANCES),
        ("color", COLORS),
        ("tv_norm", losses.TOTAL_VARIATIONS),
        ("optimizer", OPTIMIZERS),
        ("line_search", optimizers.LINE_SEARCHES),
        ("parametrisation", PARAMETRISATIONS),
        ("precision", PRECISIONS),
    ):
        choose(name, getattr(config, name), choices)
    for statistic in config.statistic:
        if isinstance(statistic, str):
            choose("statistic", statistic, (MIXED, *STATISTICS, NEIGHBORS))
    for name in ("content_layers", "style_layers", "histogram_layers"):
        for layer in getattr(config, name):
            choose(name, layer, vgg.LAYERS)
    together = config.hypercolumns or len(config.statistic) == 1
    statistics = config.statistic * len(config.style_layers) if together else config.statistic
    _refuse_twice("content_layers", config.content_layers, config.content_layers)
    _refuse_twice("histogram_layers", config.histogram_layers, config.histogram_layers)
    compared = list(zip(config.style_layers, statistics, strict=False))
    _refuse_twice("style_layers", config.style_layers, compared)


def _refuse_twice(name: str, layers: tuple[str, ...], distinct: Any) -> None:
    if len(set(distinct)) < len(distinct):
        raise InputError(f"{name}: a layer is named twice in {' '.join(layers)}.")


def _check_lengths(config: Config) -> None:
    if not config.content_layers and not config.style_layers:
        raise InputError("content_layers and style_layers are both empty; name at least one layer.")
    by_layer = (
        ("content_layer_weights", "content_layers"),
        ("style_layer_weights", "statistic" if config.hypercolumns else "style_layers"),
        ("statistic", "style_layers"),
    )
    for name, layers in by_layer[: 2 if config.hypercolumns else 3]:
        count, wanted = len(getattr(config, name)), len(getattr(config, layers))
        if count not in (1, wanted):
            raise InputError(f"{name}: {count} values for {wanted} {layers}; give {wanted}, or one for all.")
    for name, weight in (
        ("histogram_layers", config.histogram_weight),
        ("laplacian_windows", config.laplacian_weight),
    ):
        if weight and not getattr(config, name):
            raise InputError(f"{name}: none is given, but {name.split('_')[0]}_weight is {weight}.")


def _check_ranges(config: Config) -> None:
    for name, least in (
        ("size", 0),
        ("steps", 0),
        ("start_size", 0),
        ("history_size", 1),
        ("seed", 0),
        ("samples", 16),
    ):
        if getattr(config, name) < least:
            raise InputError(f"{name}: {getattr(config, name)} is too small; the least is {least}.")
    if config.seed >= 2**32:
        raise InputError(f"seed: {config.seed} is too large; the largest is {2**32 - 1}.")
    if not 0 <= config.blend <= 1:
        raise InputError(f"blend: {config.blend} is outside 0 (all noise) to 1 (all content).")
    if not 0.5 <= config.random_shift <= 1:
        raise InputError(f"random_shift: {config.random_shift} is outside 0.5 to 1 (no shift).")
    if config.max_step < 0:
        raise InputError(f"max_step: {config.max_step} is negative; 0 sets no limit.")
    if config.learning_rate < 0:
        raise InputError(
            f"learning_rate: {config.learning_rate} is negative; 0 takes the optimiser's own rate."
        )
    for name, least, most in (
        ("style_scale", 0.1, 10),
        ("fourier_decay", 0, 2),
        ("recolor_strength", 0, 1),
        ("strength", 0, 1),
        ("style_balance", 0, 10),
        ("content_share", 0, 1),
        ("content_saliency", 0, 2),
        ("content_decay", 0.1, 10),
    ):
        if not least <= getattr(config, name) <= most:
            raise InputError(f"{name}: {getattr(config, name)} is outside {least} to {most}.")
    if min(config.laplacian_windows, default=1) < 1:
        raise InputError(f"laplacian_windows: {min(config.laplacian_windows)} is too small; the least is 1.")


def _check_scales(config: Config) -> None:
    if not 1.1 <= config.scale_factor <= 16:
        raise InputError(f"scale_factor: {config.scale_factor} is outside 1.1 to 16.")
    if config.start_size > config.size:
        raise InputError(f"start_size: {config.start_size} is larger than size, {config.size}; give less.")
    scales = len(config.sides)
    if config.scale_steps and len(config.scale_steps) != scales:
        raise InputError(
            f"scale_steps: {len(config.scale_steps)} values for {scales} scales "
            f"({', '.join(map(str, config.sides))} pixels); give {scales}, or none."
        )
    if min(config.scale_steps, default=1) < 1:
        raise InputError(f"scale_steps: {min(config.scale_steps)} is too small; the least is 1.")
    if config.scale_steps and config.steps not in (0, sum(config.scale_steps)):
        raise InputError(
            f"steps: {config.steps}, but scale_steps add up to {sum(config.scale_steps)}; give one."
        )
    if 0 < config.steps < scales and not config.scale_steps:
        raise InputError(f"steps: {config.steps} steps cannot be shared by {scales} scales.")


def _check_weights(config: Config) -> None:
    factors = [field.name for field in dataclasses.fields(config) if field.name.endswith("_weight")]
    lists = ("content_layer_weights", "style_layer_weights", "style_weights")
    for name in (*factors, *lists):
        value = getattr(config, name)
        least = min(value, default=0) if isinstance(value, tuple) else value
        if least < 0:
            raise InputError(f"{name}: {least} is negative; a loss cannot be maximised.")
    for name in lists:
        if getattr(config, name) and not any(getattr(config, name)):
            raise InputError(f"{name}: all are zero; at least one must count.")
    if not any(getattr(config, name) for name in factors):
        raise InputError(f"{', '.join(factors)} are all zero; nothing is left to minimise.")


def _check_contradictions(config: Config) -> None:
    if config.optimizer != "lbfgs" and config.line_search != "none":
        raise InputError(f"line_search: {config.line_search} works with lbfgs only, not {config.optimizer}.")
    if config.pooling_rescale and config.pooling == "max":
        raise InputError("pooling_rescale: pooling max has nothing to rescale; use average or l2.")
    if config.style_masks and config.content_masks and len(config.style_masks) != len(config.content_masks):
        raise InputError(
            f"style_masks: {len(config.style_masks)} files, and content_masks has "
            f"{len(config.content_masks)}; give one of each for every style picture."
        )
    if config.color == "luminance" and config.decorrelate:
        raise InputError("decorrelate: with color luminance the picture has no colours to move.")
    if config.line_search != "none" and config.random_shift < 1:
        raise InputError("line_search: with random_shift every step sees another picture; use none.")
    if config.line_search != "none" and config.style_balance:
        raise InputError("line_search: with style_balance every step has another objective; use none.")
    if config.range_weight and config.clamp:
        raise InputError("range_weight: with clamp nothing is ever out of range; set clamp to False.")


def _check_hypercolumns(config: Config) -> None:
    sampled = config.hypercolumns or config.palette_weight or config.content_loss == SELF_SIMILARITY
    if sampled and config.line_search != "none":
        raise InputError(
            "line_search: hypercolumns, palette_weight and self_similarity look at other positions at every "
            "step; use none."
        )
    if not config.hypercolumns:
        unusable = [name for name in NEED_HYPERCOLUMNS if name in config.statistic]
        if unusable:
            raise InputError(
                f"statistic: {unusable[0]} compares hypercolumns only; set hypercolumns to True."
            )
        if config.style_rotations:
            raise InputError("style_rotations: it works with hypercolumns only; set hypercolumns to True.")
        return
    if len(set(config.statistic)) < len(config.statistic):
        raise InputError("statistic: with hypercolumns a statistic can be named only once.")
    if MIXED in config.statistic:
        raise InputError(
            "statistic: mixed goes by layers, which hypercolumns join; name another, such as gram."
        )
    if "patches" in config.statistic:
        raise InputError("statistic: patches needs whole layers; it does not go with hypercolumns.")
    if NEIGHBORS in config.statistic:
        if len(config.statistic) > 1:
            raise InputError("statistic: neighbors goes with no other statistic; name it alone.")
        if config.style_balance:
            raise InputError("style_balance: it cannot balance styles with statistic neighbors; use 0.")
