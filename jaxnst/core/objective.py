"""The objective: a static description, targets and loss weights go in, named scalar losses come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxnst.core import guides, hypercolumns, terms, transforms, vgg
from jaxnst.core.conv import EXACT

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.terms import Term

Losses: TypeAlias = "dict[str, Float[Array, '']]"
"""`total`, and every term by its name, not multiplied by its factor."""

Regions: TypeAlias = "Sequence[Mapping[str, Float[Array, 'h_l w_l']]]"
"""For each style `{layer: [H_l, W_l]}`, each position's share of the style's region; empty: no regions."""

STYLE_TERMS = (terms.Style, hypercolumns.StyleColumns, hypercolumns.Neighbors)
"""Terms that look at the regions of styles."""

Window: TypeAlias = "Callable[[Array], Array]"
"""Maps a picture to what the network sees of it: `[h, w, c] -> [h, w, c]`, for any size and channels."""


@dataclass(frozen=True)
class Objective:
    """The parts of the objective that decide the compiled program: hashable, static under `jit`.

    Attributes:
      terms: the summands; see `jaxnst.core.terms`.
      pooling: a value of `vgg.POOLINGS`, or a function of your own.
      padding: a value of `vgg.PADDINGS`.
      guidance: a value of `guides.GUIDANCES`: how masks come down to the layers.
      colors: what the network sees of a picture's colours: `transforms.unchanged` or `gray`.
      frame: what the network sees beyond the borders of a picture: nothing, or `transforms.Mirrored`.
      precision: of float32 products in the network during steps, on accelerators; targets are always exact.
      turns: quarter turns in which terms see the style pictures beside their own orientation; see
        `terms.View`.
    """

    terms: tuple[Term, ...] = terms.GATYS
    pooling: Callable = vgg.max_pool
    padding: Callable = vgg.zeros
    guidance: guides.Guidance = guides.GUIDANCES["simple"]
    colors: Callable[[Array], Array] = transforms.unchanged
    frame: Callable[[Array], Array] = transforms.unchanged
    precision: jax.lax.Precision = EXACT
    turns: tuple[int, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Lists every layer that some term looks at, once."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    @property
    def style_layers(self) -> tuple[str, ...]:
        """Lists every layer of the style terms, once; masks are carried down to these layers."""
        style_terms = (term for term in self.terms if isinstance(term, STYLE_TERMS))
        return tuple(dict.fromkeys(layer for term in style_terms for layer in term.layers))

    @property
    def names(self) -> tuple[str, ...]:
        """Lists the keys of the losses in order, which `jit` loses: `total`, then the terms."""
        return ("total", *(term.name for term in self.terms))


class Targets(NamedTuple):
    """Everything that the picture is compared with.

    Attributes:
      terms: for each term's name, what it keeps of the content and style pictures.
      guides: for each style, `{layer: [H_l, W_l]}`: its region of the picture being made. Empty: no regions.
    """

    terms: Mapping[str, Any]
    guides: tuple[Mapping[str, Float[Array, "h_l w_l"]], ...] = ()


class TermWeights(NamedTuple):
    """Loss weights of one term, traced, so that many settings share one compiled program.

    Attributes:
      factor: of the term in the total.
      within: weights inside the term, for example of its layers; see each term.
    """

    factor: Float[Array, ""]
    within: Any = ()


LossWeights: TypeAlias = Mapping[str, TermWeights]
"""Loss weights of every term, by its name."""


def view(
    objective: Objective,
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    regions: Regions = (),
    window: Window = transforms.unchanged,
    precision: jax.lax.Precision = EXACT,
) -> terms.View:
    """Computes the features of a picture at the layers that the terms look at.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      image: float32 `[H, W, 3]`, RGB, [0, 1].
      regions: of the styles in the picture; default none.
      window: where the network looks; default the whole picture.
      precision: of products of float32 on accelerators; default exact.

    Returns:
      The picture, its features and its regions as the terms take them.
    """
    seen = objective.frame(window(objective.colors(image)))
    features = vgg.features(params, seen, objective.layers, objective.pooling, objective.padding, precision)
    return terms.View(image, features, regions_in_window(regions, window))


Look: TypeAlias = Callable[..., terms.View]
"""A function with the arguments of `view`; `sharding.OverDevices.look` is another one."""


def regions_in_window(regions: Regions, window: Window) -> list[dict[str, Float[Array, "h_l w_l"]]]:
    """Applies the window of a step to the regions at each layer."""
    return [
        {layer: window(guide[..., None])[..., 0] for layer, guide in region.items()} for region in regions
    ]


def make_targets(
    objective: Objective,
    params: Mapping[str, Any],
    content: Float[Array, "h w 3"] | None,
    styles: Sequence[Float[Array, "h_s w_s 3"]],
    content_masks: Sequence[Float[Array, "h w"]] = (),
    style_masks: Sequence[Float[Array, "h_s w_s"]] = (),
    look: Look = view,
) -> Targets:
    """Computes what a picture is compared with.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      content: a picture of the size of the one being made, or None, if no term needs one.
      styles: pictures of any size; none, if no term needs one.
      content_masks: for each style its region in the picture being made, [0, 1]; none: everywhere.
      style_masks: for each style the part of its picture that is the style, [0, 1]; none: all of it.
      look: how features are computed; default `view`.

    Returns:
      `Targets` for `evaluate`.
    """

    def down(mask: Array) -> dict[str, Array]:
        return guides.carry_down(objective.frame(mask), objective.style_layers, objective.guidance)

    def seen(style: Array, masks: Sequence[Array], turns: int = 0) -> terms.View:
        turned, *turned_masks = (jnp.rot90(array, turns) if turns else array for array in (style, *masks))
        return look(objective, params, turned, [down(mask) for mask in turned_masks])

    content_view = look(objective, params, content) if content is not None else None
    style_views = [
        seen(style, masks)._replace(turned=tuple(seen(style, masks, turns) for turns in objective.turns))
        for style, masks in zip(styles, [[mask] for mask in style_masks] or [[]] * len(styles), strict=True)
    ]
    return Targets(
        {term.name: term.target(content_view, style_views) for term in objective.terms},
        tuple(down(mask) for mask in content_masks),
    )


def evaluate(
    objective: Objective,
    params: Mapping[str, Any],
    targets: Targets,
    loss_weights: LossWeights,
    image: Float[Array, "h w 3"],
    window: Window = transforms.unchanged,
    look: Look = view,
    key: PRNGKeyArray | None = None,
) -> Losses:
    """Computes the objective of one picture, `sum over terms of factor * loss`.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      targets: from `make_targets`.
      loss_weights: of the terms, the layers and the style pictures.
      image: float32 `[H, W, 3]`, RGB, [0, 1].
      window: where the network looks; applied to the picture before the network and to the regions at each
        layer. Terms of the picture alone see it whole.
      look: how features are computed; default `view`.
      key: randomness for terms that look at some positions only; default none: at the middles of a grid.

    Returns:
      Scalars by name; differentiate `total` with respect to `image`.
    """
    picture = look(objective, params, image, targets.guides, window, objective.precision)._replace(key=key)
    sums = {term.name: term.sums(picture, targets.terms[term.name]) for term in objective.terms}
    return add_up(objective, targets, loss_weights, sums)


def add_up(
    objective: Objective, targets: Targets, loss_weights: LossWeights, sums: Mapping[str, Any]
) -> Losses:
    """Computes the objective from each term's sums over the picture, by the term's name."""
    losses = {
        term.name: term.loss(sums[term.name], targets.terms[term.name], loss_weights[term.name].within)
        for term in objective.terms
    }
    total = sum((loss_weights[name].factor * loss for name, loss in losses.items()), start=jnp.zeros(()))
    return {"total": total, **losses}
