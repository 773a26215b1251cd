"""What is minimised: a static description, targets and weights go in, named scalar losses come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxnst.core import guides, terms, transforms, vgg
from jaxnst.core.conv import EXACT
from jaxnst.core.sharding import rows

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.core.sharding.rows import Rows
    from jaxnst.core.terms import Term


Losses: TypeAlias = "dict[str, Float[Array, '']]"
"""`total`, and every term by its name, not multiplied by its factor."""


@dataclass(frozen=True)
class Objective:
    """The parts of the objective that decide the compiled program: hashable, static under `jit`.

    Attributes:
      terms: what is added up; see `jaxnst.core.terms`.
      pooling: a value of `vgg.POOLINGS`, or a function of your own.
      padding: a value of `vgg.PADDINGS`.
      guidance: a value of `guides.GUIDANCES`: how masks come down to the layers.
      colors: what the network sees of a picture's colours: `transforms.unchanged` or `gray`.
      precision: of products of float32 in the network on accelerators; targets are always computed exactly.
      rows: over which devices the rows of pictures lie; None: over one. Statistics must be `additive`.
    """

    terms: tuple[Term, ...] = terms.GATYS
    pooling: Callable = vgg.max_pool
    padding: Callable = vgg.zeros
    guidance: guides.Guidance = guides.GUIDANCES["simple"]
    colors: Callable[[Array], Array] = transforms.unchanged
    precision: jax.lax.Precision = EXACT
    rows: Rows | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that some term looks at, once."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    @property
    def style_layers(self) -> tuple[str, ...]:
        """Every layer at which styles are compared, once: where regions are needed."""
        of_styles = (term for term in self.terms if isinstance(term, terms.Style))
        return tuple(dict.fromkeys(layer for term in of_styles for layer in term.layers))

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the losses in order, which `jit` loses: `total`, then the terms."""
        return ("total", *(term.name for term in self.terms))

    def floats(self, losses: Losses) -> dict[str, float]:
        """Losses as Python's numbers, in order."""
        return {name: float(losses[name]) for name in self.names}


class Targets(NamedTuple):
    """What the picture is compared with.

    Attributes:
      terms: for each term's name, what it keeps of the content and style pictures.
      guides: for each style, `{layer: [H_l, W_l]}`: its region of the picture being made. Empty: no regions.
    """

    terms: Mapping[str, Any]
    guides: tuple[Mapping[str, Float[Array, "h_l w_l"]], ...] = ()


class TermWeights(NamedTuple):
    """Weights of one term, traced, so that many settings share one compiled program.

    Attributes:
      factor: of the term in the total.
      within: what the term itself takes: see each term.
    """

    factor: Float[Array, ""]
    within: Any = ()


LossWeights: TypeAlias = Mapping[str, TermWeights]
"""Weights of every term, by its name."""


def view(
    objective: Objective,
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    regions: Sequence[Mapping[str, Float[Array, "h_l w_l"]]] = (),
    window: Callable[[Array], Array] = transforms.unchanged,
    precision: jax.lax.Precision = EXACT,
) -> terms.View:
    """A picture with the features that the terms look at; `window` as for `evaluate`."""
    seen, regions = window(objective.colors(image)), seen_regions(regions, window)
    if objective.rows is not None:
        return rows.view(objective, objective.rows, params, image, seen, regions, precision)
    found = vgg.features(params, seen, objective.layers, objective.pooling, objective.padding, precision)
    return terms.View(image, found, regions)


def seen_regions(
    regions: Sequence[Mapping[str, Float[Array, "h_l w_l"]]], window: Callable[[Array], Array]
) -> list[dict[str, Float[Array, "h_l w_l"]]]:
    """Regions through the window through which the picture is seen; `window` as for `evaluate`."""
    return [{layer: window(guide[..., None])[..., 0] for layer, guide in of.items()} for of in regions]


def make_targets(
    objective: Objective,
    params: Mapping[str, Any],
    content: Float[Array, "h w 3"] | None,
    styles: Sequence[Float[Array, "h_s w_s 3"]],
    content_masks: Sequence[Float[Array, "h w"]] = (),
    style_masks: Sequence[Float[Array, "h_s w_s"]] = (),
) -> Targets:
    """What a picture is compared with.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      content: a picture of the size of the one being made, or None, if no term needs one.
      styles: pictures of any size; none, if no term needs one.
      content_masks: for each style, where in the picture being made it shall go, [0, 1]; none: everywhere.
      style_masks: for each style, which part of its picture is the style, [0, 1]; none: all of it.

    Returns:
      `Targets` for `evaluate`.
    """

    def down(mask: Array) -> dict[str, Array]:
        return guides.carry_down(mask, objective.style_layers, objective.guidance)

    regions = [(down(mask),) for mask in style_masks] or [()] * len(styles)
    of_content = view(objective, params, content) if content is not None else None
    of_styles = [view(objective, params, *pair) for pair in zip(styles, regions, strict=True)]
    return Targets(
        {term.name: term.target(of_content, of_styles) for term in objective.terms},
        tuple(down(mask) for mask in content_masks),
    )


def evaluate(
    objective: Objective,
    params: Mapping[str, Any],
    targets: Targets,
    weights: LossWeights,
    image: Float[Array, "h w 3"],
    window: Callable[[Array], Array] = transforms.unchanged,
) -> Losses:
    """The objective of one picture, `sum over terms of factor * loss`.

    Args:
      objective: static.
      params: the network's weights, as `vgg.features` takes them.
      targets: of the content picture and the style pictures.
      weights: of the terms, the layers and the style pictures.
      image: float32 `[H, W, 3]`, RGB, [0, 1].
      window: where the network looks, `[h, w, c] -> [h, w, c]` of any size: applied to the picture before the
        network and to the regions at each layer; terms of the picture alone see it whole.

    Returns:
      Scalars by name; differentiate `total` with respect to `image`.
    """
    picture = view(objective, params, image, targets.guides, window, objective.precision)
    sums = {term.name: term.sums(picture, targets.terms[term.name]) for term in objective.terms}
    return add_up(objective, targets, weights, sums)


def add_up(objective: Objective, targets: Targets, weights: LossWeights, sums: Mapping[str, Any]) -> Losses:
    """The objective of a picture of which each term's sums are known, by its name; as `evaluate`."""
    found = {
        term.name: term.loss(sums[term.name], targets.terms[term.name], weights[term.name].within)
        for term in objective.terms
    }
    total = sum((weights[name].factor * loss for name, loss in found.items()), start=jnp.zeros(()))
    return {"total": total, **found}
