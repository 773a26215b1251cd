"""What is minimised: a static description, targets and weights go in, named scalar losses come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from jaxnst.core import losses, vgg

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@dataclass(frozen=True)
class Objective:
    """The parts of the objective that decide the compiled program: hashable, static under `jit`.

    Attributes:
      content_layers: where the content is compared.
      style_layers: where the Gram matrices are compared.
      pooling: a value of `vgg.POOLINGS`, or a function of your own.
      content_form: a value of `losses.CONTENT_FORMS`.
      gram_form: a value of `losses.GRAM_FORMS`.
      norm: a value of `losses.NORMS`, for content and style.
    """

    content_layers: tuple[str, ...] = ("relu4_2",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    pooling: Callable = vgg.max_pool
    content_form: Callable[[int], float] = losses.content_sum
    gram_form: losses.GramForm = losses.gram_gatys
    norm: losses.Norm = losses.NORMS["l2"]


class Targets(NamedTuple):
    """What the picture is compared with.

    Attributes:
      content: one feature map `[H_l, W_l, C_l]` for each content layer.
      style: one stack of Gram matrices per position, `[styles, C_l, C_l]`, for each style layer.
    """

    content: tuple[Float[Array, "h_l w_l c_l"], ...]
    style: tuple[Float[Array, "styles c_l c_l"], ...]


class LossWeights(NamedTuple):
    """Every weight of the objective, traced, so that many settings share one compiled program.

    Attributes:
      content, style, tv: scalars, the factors of the three parts in the total.
      content_layers: one weight for each content layer.
      style_layers: one weight for each style layer (`w_l` in the papers).
      styles: one weight for each style picture.
    """

    content: Float[Array, ""]
    style: Float[Array, ""]
    tv: Float[Array, ""]
    content_layers: Float[Array, " content_layers"]
    style_layers: Float[Array, " style_layers"]
    styles: Float[Array, " styles"]


class Losses(NamedTuple):
    """The total and its parts; the parts are not multiplied by their weights."""

    total: Float[Array, ""]
    content: Float[Array, ""]
    style: Float[Array, ""]
    tv: Float[Array, ""]


def content_targets(
    objective: Objective, params: Mapping[str, Any], content: Float[Array, "h w 3"]
) -> tuple[Float[Array, "h_l w_l c_l"], ...]:
    """Feature maps of the content picture, which must have the size of the picture being made."""
    found = vgg.features(params, content, objective.content_layers, objective.pooling)
    return tuple(found[layer] for layer in objective.content_layers)


def style_targets(
    objective: Objective, params: Mapping[str, Any], styles: Sequence[Float[Array, "h_s w_s 3"]]
) -> tuple[Float[Array, "styles c_l c_l"], ...]:
    """Gram matrices per position of the style pictures, each of any size."""
    grams = {layer: [] for layer in objective.style_layers}
    for style in styles:
        for layer, found in vgg.features(params, style, objective.style_layers, objective.pooling).items():
            height, width, _ = found.shape
            grams[layer].append(losses.gram_matrix(found) / (height * width))
    return tuple(jnp.stack(of_styles) for of_styles in grams.values())


def make_targets(
    objective: Objective,
    params: Mapping[str, Any],
    content: Float[Array, "h w 3"],
    styles: Sequence[Float[Array, "h_s w_s 3"]],
) -> Targets:
    """What a picture is compared with, from a content picture of its own size and style pictures of any."""
    return Targets(content_targets(objective, params, content), style_targets(objective, params, styles))


def evaluate(
    objective: Objective,
    params: Mapping[str, Any],
    targets: Targets,
    weights: LossWeights,
    image: Float[Array, "h w 3"],
) -> Losses:
    """The objective of one picture: `content_weight * content + style_weight * style + tv_weight * tv`.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      targets: of the content picture and the style pictures.
      weights: of the parts, the layers and the style pictures.
      image: float32 `[H, W, 3]`, RGB, [0, 1].

    Returns:
      `Losses` of scalars; differentiate `total` with respect to `image`.
    """
    found = vgg.features(params, image, objective.content_layers + objective.style_layers, objective.pooling)
    content = jnp.zeros(())
    for layer, target, weight in zip(
        objective.content_layers, targets.content, weights.content_layers, strict=True
    ):
        content += weight * losses.content_loss(found[layer], target, objective.content_form, objective.norm)
    style = jnp.zeros(())
    for layer, grams, weight in zip(objective.style_layers, targets.style, weights.style_layers, strict=True):
        for gram, mix in zip(grams, weights.styles, strict=True):
            term = losses.style_loss(found[layer], gram, objective.gram_form, objective.norm)
            style += weight * mix * term
    tv = losses.total_variation(image)
    total = weights.content * content + weights.style * style + weights.tv * tv
    return Losses(total, content, style, tv)
