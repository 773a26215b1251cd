"""Before a run: pictures, masks, weights and settings are read and checked, and sized for each scale.

What cannot work is refused here, before anything large is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst import color, images, masks
from jaxnst.config import Config
from jaxnst.core import guides, objective, transforms
from jaxnst.errors import InputError, choose
from jaxnst.memory import check_fits, check_large_enough
from jaxnst.translate import to_loss_weights, to_objective
from jaxnst.weights import Weights, load_weights

if TYPE_CHECKING:
    from jaxtyping import Array

    from jaxnst.images import Picture

STARTS = ("content", "style", "noise", "black", "white", "blend")

_targets = jax.jit(objective.make_targets, static_argnums=0)
_guides = jax.jit(guides.carry_down, static_argnums=(1, 2))


class Pictures(NamedTuple):
    """What the user gave: pictures, and masks over them; the content or the styles may be left out.

    Attributes:
      content: a picture, or None.
      styles: pictures.
      content_masks: for each style where it goes; empty: everywhere.
      style_masks: for each style which part of it is the style; empty: all.
    """

    content: Picture | None
    styles: Sequence[Picture]
    content_masks: Sequence[Picture] = ()
    style_masks: Sequence[Picture] = ()


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, read and checked.

    Attributes:
      config: the settings; without the layers of a content or style that is left out.
      photo: the content picture as it was given, float32 [H, W, 3] in [0, 1].
      content, styles: what is compared, at their own sizes; other than given where `color` changes them.
      content_masks, style_masks: one for each style, or none, float32 [H, W] in [0, 1].
      start: the first picture, where it is a file.
      sizes: height and width of the picture at each scale, coarse to fine.
      weights: the network's, as read; `params` are the same on the device.
      loss_weights: for the core.
    """

    config: Config
    photo: np.ndarray | None
    content: np.ndarray | None
    styles: list[np.ndarray]
    content_masks: list[np.ndarray]
    style_masks: list[np.ndarray]
    start: np.ndarray | None
    sizes: list[tuple[int, int]]
    weights: Weights
    params: Mapping[str, Any]
    loss_weights: objective.LossWeights


def prepare(pictures: Pictures, config: Config) -> Plan:
    """Read the pictures and the weights, and refuse what cannot work before anything large is compiled.

    Args:
      pictures: what the user gave.
      config: checked settings.

    Raises:
      InputError: a picture, the weights or a size that cannot be used.
    """
    config = _without_the_absent(config, pictures)
    photo = None if pictures.content is None else images.read_image(pictures.content, "content")
    styles = [images.read_image(picture, "style") for picture in pictures.styles]
    shape = (styles[0] if photo is None else photo).shape[:2]
    content_masks, style_masks = _read_masks(pictures, shape, styles)
    start = None if config.start in STARTS else _read_start(config.start)
    loss_weights = to_loss_weights(config, len(styles))
    sizes = [images.fit_size(shape, side) for side in config.sides]
    check_large_enough(config, *sizes[0], argument="style" if photo is None else "content")
    for array in styles:
        check_large_enough(config, *_style_size(config, array, sizes[0]), argument="style")
    largest = [sizes[-1], *(_style_size(config, array, sizes[-1]) for array in styles)]
    check_fits(config, *max(largest, key=math.prod))
    content, styles = _in_color(config, photo, styles)
    weights = load_weights(config.weights)
    plan = Plan(
        config,
        photo,
        content,
        styles,
        content_masks,
        style_masks,
        start,
        sizes,
        weights,
        jax.device_put(weights.params),
        loss_weights,
    )
    _check_regions(plan)
    return plan


def _without_the_absent(config: Config, pictures: Pictures) -> Config:
    """The settings without the layers of what is not there; what needs it is refused."""
    if pictures.content is None:
        if not pictures.styles:
            raise InputError("content and style are both missing; give at least one picture.")
        if config.start in ("content", "blend"):
            raise InputError(
                f"start: {config.start!r} needs a content picture; use noise, black, white or style."
            )
        if config.color != "style":
            raise InputError(f"color: {config.color!r} needs a content picture, whose colours are kept.")
        if config.laplacian_weight:
            raise InputError("laplacian_weight: it needs a content picture, whose edges are kept.")
        config = config.replace(content_layers=(), content_layer_weights=(1.0,))
    if not pictures.styles:
        if config.start == "style":
            raise InputError(
                "start: 'style' needs a style picture; use content, noise, black, white or blend."
            )
        if config.histogram_weight:
            raise InputError("histogram_weight: it needs a style picture.")
        config = config.replace(
            style_layers=(), style_layer_weights=(1.0,), statistic=("gram",), style_weights=()
        )
    if config.style_balance and len(pictures.styles) < 2:
        raise InputError("style_balance: it needs at least two style pictures to balance.")
    lost = config.content_weight if pictures.content is None else config.style_weight
    if (pictures.content is None or not pictures.styles) and not any(
        (config.content_weight + config.style_weight - lost, config.tv_weight, config.range_weight)
    ):
        raise InputError("content_weight or style_weight: the picture that is given has the weight 0.")
    return config


def _read_masks(
    pictures: Pictures, shape: tuple[int, ...], styles: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    for argument in ("content_masks", "style_masks"):
        count = len(getattr(pictures, argument))
        if count not in (0, len(styles)):
            raise InputError(
                f"{argument}: {count} masks for {len(styles)} style pictures; give one for each, or none."
            )
    over = [np.empty((*shape, 0))] * len(pictures.content_masks)
    content_masks = masks.read_masks(pictures.content_masks, over, "content_masks")
    if content_masks and pictures.content is None and masks.coverage(content_masks).min() < 1:
        raise InputError("content_masks: without a content picture the masks must cover everything.")
    return content_masks, masks.read_masks(
        pictures.style_masks, styles[: len(pictures.style_masks)], "style_masks"
    )


def _in_color(
    config: Config, photo: np.ndarray | None, styles: list[np.ndarray]
) -> tuple[np.ndarray | None, list[np.ndarray]]:
    """Content and styles with the colours in which they are compared."""
    if photo is None or config.color == "style":
        return photo, styles
    if config.color == "luminance":
        return color.to_gray(photo), [color.match_luminance(style, photo) for style in styles]
    return photo, [color.COLOR_TRANSFERS[config.color](style, photo) for style in styles]


def _check_regions(plan: Plan) -> None:
    of, config = to_objective(plan.config), plan.config
    for size in plan.sizes:
        for index, mask in enumerate(plan.content_masks, start=1):
            found = _guides(masks.resize(mask, size), of.layers, of.guidance)
            masks.check_regions(found, f"content_masks {index}", size)
        for index, mask in enumerate(plan.style_masks, start=1):
            of_style = _style_size(config, mask, size)
            found = _guides(masks.resize(mask, of_style), of.layers, of.guidance)
            masks.check_regions(found, f"style_masks {index}", of_style)


def _read_start(start: str) -> np.ndarray:
    path = Path(start).expanduser()
    if not path.suffix and len(path.parts) < 2 and not path.exists():
        choose("start", start, STARTS)  # a word, not a file: offer the words
    return images.read_image(start, "start")


def _style_size(config: Config, style: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a style picture where the picture being made has `size`."""
    return images.fit_size((style.shape[0], style.shape[1]), max(1, round(max(size) * config.style_scale)))


def targets_at(plan: Plan, size: tuple[int, int]) -> objective.Targets:
    """What a picture of this height and width is compared with.

    Raises:
      InputError: a statistic cannot be computed at this size.
    """
    styles = [images.resize(style, _style_size(plan.config, style, size)) for style in plan.styles]
    try:
        return _targets(
            to_objective(plan.config),
            plan.params,
            None if plan.content is None else images.resize(plan.content, size),
            styles,
            [masks.resize(mask, size) for mask in plan.content_masks],
            [masks.resize(mask, _style_size(plan.config, mask, size)) for mask in plan.style_masks],
        )
    except ValueError as error:  # a statistic that cannot be had of so small a layer
        raise InputError(f"statistic: {error}; use shallower layers or a larger size.") from error


def render_at(plan: Plan, size: tuple[int, int]) -> tuple[Callable[[Array], Array], ...]:
    """What belongs to the picture beside what the optimiser moves: the photo, or its colours."""
    if plan.photo is None:
        return ()
    photo = images.resize(plan.photo, size)
    keep_chroma = (transforms.KeepChroma(jnp.asarray(color.chroma(photo))),)
    share = masks.coverage([masks.resize(mask, size) for mask in plan.content_masks] or [np.ones(size)])
    keep_photo = (transforms.KeepPhoto(jnp.asarray(photo), jnp.asarray(share, jnp.float32)),)
    return (keep_chroma if plan.config.color == "luminance" else ()) + (keep_photo if share.min() < 1 else ())
