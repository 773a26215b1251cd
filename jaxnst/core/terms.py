"""The terms of the objective: content, style, regularisers and Laplacian.

A term is a frozen description. It names the layers that it needs, computes a target from the content and
style pictures, and computes a loss from the picture being made and the target. The objective adds the terms
up and knows nothing else about them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxnst.core import losses
from jaxnst.core.statistics import Gram
from jaxnst.core.statistics.moments import wide

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.statistics import Statistic


class View(NamedTuple):
    """Holds what the terms see of a picture.

    Attributes:
      image: float32 `[H, W, 3]`, about [0, 1].
      features: `{layer: [H_l, W_l, C_l]}` of all layers that some term needs, float32 or bfloat16.
      guides: regions of the picture, each `{layer: [H_l, W_l]}` with the share of a position that belongs to
        the region, 0 to 1. The picture being made has one region for each style; a style picture has one, its
        style. Empty if there are no regions.
      counted: `{layer: [H_l, W_l]}`, 1 where a position counts, and 0 where another part of a larger picture
        counts it. Empty if all positions count.
      turned: of a style picture, views of it in other orientations.
      key: randomness of the step, for terms that look at some positions only; None: at fixed ones.
    """

    image: Float[Array, "h w 3"]
    features: Mapping[str, Float[Array, "h_l w_l c_l"]]
    guides: Sequence[Mapping[str, Float[Array, "h_l w_l"]]] = ()
    counted: Mapping[str, Float[Array, "h_l w_l"]] = MappingProxyType({})
    turned: Sequence[View] = ()
    key: PRNGKeyArray | None = None

    def guide(self, layer: str, style: int = 0) -> Float[Array, "h_l w_l"]:
        """Returns each position's share of a style's region, or ones if there are no regions."""
        shares = [self.guides[style][layer]] if self.guides else []
        shares += [self.counted[layer]] if self.counted else []
        if shares:
            return math.prod(shares[1:], start=shares[0])
        features = self.features[layer]
        return jnp.ones(features.shape[:2], wide(features).dtype)


class Term(Protocol):
    """Describes one summand of the objective; hashable, static under `jit`.

    The loss of a picture is `loss(sums(picture, target), target, loss_weights)`. Only `sums` sees the
    picture, so that a large picture can be seen tile by tile. Of the terms with layers tiles take `Content`,
    and `Style` with additive statistics; `jaxnst.core.tiling.check` refuses others.
    """

    @property
    def name(self) -> str:
        """The key of the term in loss weights, losses and history."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the network whose features the term needs."""
        ...

    def target(self, content: View | None, styles: Sequence[View]) -> Any:
        """Computes what the picture being made is compared with.

        Args:
          content: the content picture, of the size of the picture being made; None if no term needs it.
          styles: the style pictures.

        Returns:
          A pytree.
        """
        ...

    def sums(self, picture: View, target: Any) -> Any:
        """Computes everything that the loss needs to know about a picture.

        Args:
          picture: the picture being made, or a tile of it.
          target: the result of `target`.

        Returns:
          A pytree.
        """
        ...

    def loss(self, sums: Any, target: Any, loss_weights: Any) -> Float[Array, ""]:
        """Computes the loss of a picture from its sums.

        Args:
          sums: the result of `sums`, added up over the tiles of the picture.
          target: the result of `target`.
          loss_weights: factors within this term, if it has any.

        Returns:
          A scalar.
        """
        ...


LEAST_ENERGY = 1e-12
"""Added to the mean square of features, so that a flat picture has weights too."""


@dataclass(frozen=True)
class Content:
    """Compares features with those of the content picture (Gatys 2016, eq. 1).

    The loss weights within this term are an array with one value for each layer.

    Attributes:
      layers: layers to compare (default relu4_2).
      form: a value of `losses.CONTENT_FORMS` (default `content_sum`).
      norm: a value of `losses.NORMS` (default L2).
      name: key of the term.
      saliency: exponent (default 0). A position counts by the mean square of the content picture's features
        there, to this power, and the mean form divides by the sum of these weights: 0 counts all positions
        alike, 1 those most where the picture has most to see.
    """

    layers: tuple[str, ...] = ("relu4_2",)
    form: losses.ContentForm = losses.content_sum
    norm: losses.Norm = losses.NORMS["l2"]
    name: str = "content"
    saliency: float = 0.0

    def target(self, content: View | None, styles: Sequence[View]) -> Any:
        """Returns the feature maps of the content picture, or nothing if there is none."""
        del styles
        return tuple(content.features[layer] for layer in self.layers) if content is not None else ()

    def blank(self, target: Any) -> Float[Array, " layers"]:
        """Computes each layer's loss of a picture whose features are zero."""
        zeros = {layer: 0 * maps for layer, maps in zip(self.layers, target, strict=True)}
        sums = self.sums(View(jnp.zeros((1, 1, 3)), zeros), target)
        return jnp.stack([self.norm.of_sums(of_layer, self.form(count)) for count, of_layer in sums])

    def sums(self, picture: View, target: Any) -> Any:
        """Returns, for each layer, the number of differences and the norm's sums over them."""
        sums = []
        for layer, content_features in zip(self.layers, target, strict=True):
            differences = wide(picture.features[layer]) - content_features
            weights = [picture.counted[layer]] if layer in picture.counted else []
            if self.saliency:
                energy = jnp.mean(jnp.square(wide(content_features)), axis=-1)
                weights.append((energy + LEAST_ENERGY) ** self.saliency)
            count = jnp.float32(differences.size)
            if weights:
                weight = math.prod(weights[1:], start=weights[0])
                count = jnp.sum(weight) * differences.shape[-1]
                differences = weight[..., None] ** (1 / self.norm.degree) * differences
            sums.append((count, self.norm.sums(differences)))
        return tuple(sums)

    def loss(self, sums: Any, target: Any, loss_weights: Float[Array, " layers"]) -> Float[Array, ""]:
        """Returns the weighted sum of the layers' losses."""
        del target
        total = jnp.zeros(())
        for (count, layer_sums), weight in zip(sums, loss_weights, strict=True):
            total += weight * self.norm.of_sums(layer_sums, self.form(count))
        return total


class StyleWeights(NamedTuple):
    """Holds the loss weights within a style term, traced.

    Attributes:
      layers: one value for each style picture and layer (`w_l` in the papers).
      balance: exponent; 0 keeps the weights of the styles, 1 and more favour the styles that lag behind.
    """

    layers: Float[Array, "styles layers"]
    balance: Float[Array, ""]


class StyleTarget(NamedTuple):
    """Holds the statistics of the style pictures.

    Attributes:
      statistics: for each style picture and each layer, the summary that the layer's statistic returned.
      blank: distances `[styles, layers]` between each style picture and a picture whose features are zero.
    """

    statistics: tuple[tuple[Any, ...], ...]
    blank: Float[Array, "styles layers"]


@dataclass(frozen=True)
class Style:
    """Compares statistics of features with those of each style picture, within the style's region.

    The loss weights within this term are `StyleWeights`. The losses `L_s` of several styles are added up as
    `L_s (r_s / mean r)^balance`, where `r_s` is the style's loss divided by that of a blank picture. The
    factor counts as a constant. `r_s` is the relative training rate of Chen et al. 2018, GradNorm.

    Attributes:
      layers: layers to compare; a layer may occur twice, with two statistics.
      statistics: one statistic for each layer.
      name: key of the term.

    Source: Gatys et al. 2016, eq. 5.
    """

    layers: tuple[str, ...]
    statistics: tuple[Statistic, ...]
    name: str = "style"

    def target(self, content: View | None, styles: Sequence[View]) -> StyleTarget:
        """Computes the statistics of every style picture at every layer."""
        del content
        return self.target_of([self.sums_of_style(style) for style in styles])

    def sums_of_style(self, style: View) -> Any:
        """Computes, for each layer, the summaries of a style picture and of a blank picture of its size."""
        # Not zeros but features times zero: the compiler would sort known zeros itself, which takes minutes.
        return tuple(
            (statistic(features, style.guide(layer)), statistic(0 * features, style.guide(layer)))
            for layer, statistic in zip(self.layers, self.statistics, strict=True)
            for features in (style.features[layer],)
        )

    def target_of(self, styles: Sequence[Any]) -> StyleTarget:
        """Computes the target from the result of `sums_of_style` for every style picture."""
        blank = [
            statistic.distance(blank_summary, summary)
            for summaries in styles
            for statistic, (summary, blank_summary) in zip(self.statistics, summaries, strict=True)
        ]
        kept = tuple(tuple(summary for summary, _ in summaries) for summaries in styles)
        return StyleTarget(kept, jnp.array(blank).reshape(len(styles), len(self.layers)))

    def sums(self, picture: View, target: StyleTarget) -> Any:
        """Computes, for each style and layer, the summary of the picture within the style's region."""
        return tuple(
            tuple(
                statistic(picture.features[layer], picture.guide(layer, index))
                for layer, statistic in zip(self.layers, self.statistics, strict=True)
            )
            for index in range(len(target.statistics))
        )

    def loss(self, sums: Any, target: StyleTarget, loss_weights: StyleWeights) -> Float[Array, ""]:
        """Returns the weighted sum over styles and layers."""
        totals = []
        for summaries, references, factors in zip(sums, target.statistics, loss_weights.layers, strict=True):
            total = jnp.zeros(())
            layers = zip(self.statistics, summaries, references, factors, strict=True)
            for statistic, summary, reference, factor in layers:
                total += factor * statistic.distance(summary, reference)
            totals.append(total)
        if not totals:
            return jnp.zeros(())
        style_losses = jnp.stack(totals)
        remaining = style_losses / (jnp.sum(loss_weights.layers * target.blank, axis=1) + 1e-30)
        weighted = jnp.any(loss_weights.layers > 0, axis=1)
        mean = jnp.sum(remaining) / jnp.maximum(jnp.sum(weighted), 1)
        balance = (remaining / (mean + 1e-30)) ** loss_weights.balance
        return jnp.sum(style_losses * jax.lax.stop_gradient(balance))


@dataclass(frozen=True)
class Regulariser:
    """Judges the picture alone, for example by its total variation.

    Its loss weight within is a factor, or ().

    Attributes:
      name: key of the term.
      function: computes a scalar from an image `[H, W, 3]` (default `losses.total_variation`).
      layers: empty, because the term needs no features.
    """

    name: str = "tv"
    function: Callable[[Array], Array] = losses.total_variation
    layers: tuple[str, ...] = ()

    def target(self, content: View | None, styles: Sequence[View]) -> tuple[()]:
        """Returns an empty target, because the picture is compared with nothing."""
        del content, styles
        return ()

    def sums(self, picture: View, target: Any) -> Float[Array, ""]:
        """Returns the value of the function."""
        del target
        return self.function(picture.image)

    def loss(self, sums: Float[Array, ""], target: Any, loss_weights: Any) -> Float[Array, ""]:
        """Returns the value of the function, times the factor."""
        del target
        return _times(loss_weights, sums)


@dataclass(frozen=True)
class Laplacian:
    """Compares edges with those of the content picture, at several window sizes.

    The loss is `sum_p sum (D_p(x) - D_p(content))^2`, where `D_p` is `losses.laplacian` with windows of `p`
    pixels. The loss weight within this term is a factor, or ().

    Attributes:
      windows: sides of the windows, in pixels (default 4 and 16, as in the paper). A picture with a side of
        less than three windows leaves that size out.
      name: key of the term.
      layers: empty, because the term needs no features.

    Source: Li, Xu, Nie and Liu 2017, Laplacian-steered neural style transfer.
    """

    windows: tuple[int, ...] = (4, 16)
    name: str = "laplacian"
    layers: tuple[str, ...] = ()

    def target(self, content: View | None, styles: Sequence[View]) -> tuple[Array, ...]:
        """Returns the edges of the content picture, one map for each window size.

        Raises:
          ValueError: there is no content picture.
        """
        del styles
        if content is None:
            raise ValueError("the Laplacian term needs a content picture")
        return self._edges(content.image)

    def sums(self, picture: View, target: tuple[Array, ...]) -> Float[Array, ""]:
        """Returns the sum of the squared differences between the edges."""
        edges = zip(self._edges(picture.image), target, strict=True)
        return sum((jnp.sum(jnp.square(ours - theirs)) for ours, theirs in edges), start=jnp.zeros(()))

    def loss(self, sums: Float[Array, ""], target: Any, loss_weights: Any) -> Float[Array, ""]:
        """Returns the loss, times the factor."""
        del target
        return _times(loss_weights, sums)

    def _edges(self, image: Array) -> tuple[Array, ...]:
        fitting = [window for window in self.windows if min(image.shape[:2]) >= 3 * window]
        return tuple(losses.laplacian(image, window) for window in fitting)


def _times(factor: Any, loss: Float[Array, ""]) -> Float[Array, ""]:
    return loss if isinstance(factor, tuple) else factor * loss


DEFAULT_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

GATYS: tuple[Term, ...] = (Content(), Style(DEFAULT_STYLE_LAYERS, (Gram(),) * 5), Regulariser())
"""The terms of Gatys et al. 2016, and total variation."""
