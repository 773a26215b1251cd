"""The terms of the objective: each compares the picture being made with targets, or judges it by itself.

A term is a frozen description. It says which layers it wants to see, what it keeps of the content and style
pictures, and what a picture costs. The objective adds the terms up and knows nothing else of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxnst.core import losses
from jaxnst.core.moments import wide
from jaxnst.core.statistics import Gram

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.core.statistics import Statistic


class View(NamedTuple):
    """A picture as the terms see it.

    Attributes:
      image: float32 `[H, W, 3]`, about [0, 1].
      features: `{layer: [H_l, W_l, C_l]}` of all layers that some term asked for, float32 or bfloat16.
      guides: of the picture being made, for each style `{layer: [H_l, W_l]}`, each position's share of that
        style's region; of a style picture, the one region that is its style. Empty: the whole picture.
    """

    image: Float[Array, "h w 3"]
    features: Mapping[str, Float[Array, "h_l w_l c_l"]]
    guides: Sequence[Mapping[str, Float[Array, "h_l w_l"]]] = ()

    def guide(self, layer: str, style: int = 0) -> Float[Array, "h_l w_l"]:
        """Each position's share of a style's region at one layer; ones if there are no regions."""
        if self.guides:
            return self.guides[style][layer]
        features = self.features[layer]
        return jnp.ones(features.shape[:2], wide(features).dtype)


class Term(Protocol):
    """One summand of the objective; hashable, static under `jit`."""

    @property
    def name(self) -> str:
        """Its key in the weights, the losses and the history."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the network that it looks at."""
        ...

    def target(self, content: View | None, styles: Sequence[View]) -> Any:
        """What it keeps of the content picture (of the size of the picture being made) and the styles."""
        ...

    def loss(self, picture: View, target: Any, weights: Any) -> Float[Array, ""]:
        """What a picture costs, given `target`'s result and the weights within this term."""
        ...


@dataclass(frozen=True)
class Content:
    """Features like the content picture's (Gatys 2016, eq. 1).

    Its weights are an array, one for each layer.

    Attributes:
      layers: where they are compared.
      form: a value of `losses.CONTENT_FORMS`.
      norm: a value of `losses.NORMS`.
    """

    layers: tuple[str, ...] = ("relu4_2",)
    form: Callable[[int], float] = losses.content_sum
    norm: losses.Norm = losses.NORMS["l2"]
    name: str = "content"

    def target(self, content: View | None, styles: Sequence[View]) -> Any:
        """Feature maps of the content picture."""
        del styles
        return tuple(content.features[layer] for layer in self.layers) if content is not None else ()

    def loss(self, picture: View, target: Any, weights: Float[Array, " layers"]) -> Float[Array, ""]:
        """Weighted sum over the layers."""
        total = jnp.zeros(())
        for layer, of_content, weight in zip(self.layers, target, weights, strict=True):
            features = wide(picture.features[layer])
            total += weight * losses.content_loss(features, of_content, self.form, self.norm)
        return total


class StyleWeights(NamedTuple):
    """Weights within a style term, traced.

    Attributes:
      layers: one for each style picture and layer (`w_l` in the papers).
      balance: exponent; 0 leaves the styles as they are weighted, 1 and more turn to the one that lags.
    """

    layers: Float[Array, "styles layers"]
    balance: Float[Array, ""]


class StyleTarget(NamedTuple):
    """What a style term keeps of the style pictures.

    Attributes:
      statistics: for each style picture, for each layer, what the layer's statistic returned.
      blank: distance of a picture without features from each of them, `[styles, layers]`.
    """

    statistics: tuple[tuple[Any, ...], ...]
    blank: Float[Array, "styles layers"]


@dataclass(frozen=True)
class Style:
    """Statistics of features like the style pictures', for each style within its region (Gatys 2016, eq. 5).

    Its weights are `StyleWeights`. With several styles their losses `L_s` are added up as
    `L_s (r_s / mean r)^balance`, where `r_s` is what is left of the style's loss, as a part of a blank
    picture's; the factor counts as a constant. `r_s` is the relative training rate of Chen et al. 2018,
    GradNorm.

    Attributes:
      layers: where they are compared; a layer may come twice, with two statistics.
      statistics: one for each layer.
      name: key of the term.
    """

    layers: tuple[str, ...]
    statistics: tuple[Statistic, ...]
    name: str = "style"

    def target(self, content: View | None, styles: Sequence[View]) -> StyleTarget:
        """Statistics of every style picture at every layer."""
        del content
        kept = tuple(
            tuple(
                statistic(style.features[layer], style.guide(layer))
                for layer, statistic in zip(self.layers, self.statistics, strict=True)
            )
            for style in styles
        )
        # Not zeros, which the compiler would know: it takes minutes to sort them in its own constant folding.
        blank = [
            statistic.distance(statistic(0 * style.features[layer], style.guide(layer)), of_layer)
            for style, of_style in zip(styles, kept, strict=True)
            for layer, statistic, of_layer in zip(self.layers, self.statistics, of_style, strict=True)
        ]
        return StyleTarget(kept, jnp.array(blank).reshape(len(styles), len(self.layers)))

    def loss(self, picture: View, target: StyleTarget, weights: StyleWeights) -> Float[Array, ""]:
        """Weighted sum over styles and layers."""
        of_styles = []
        for index, (of_style, of_layers) in enumerate(zip(target.statistics, weights.layers, strict=True)):
            total = jnp.zeros(())
            for layer, statistic, kept, weight in zip(
                self.layers, self.statistics, of_style, of_layers, strict=True
            ):
                found = statistic(picture.features[layer], picture.guide(layer, index))
                total += weight * statistic.distance(found, kept)
            of_styles.append(total)
        if not of_styles:
            return jnp.zeros(())
        each = jnp.stack(of_styles)
        left = each / (jnp.sum(weights.layers * target.blank, axis=1) + 1e-30)
        counted = jnp.any(weights.layers > 0, axis=1)
        share = (left / (jnp.sum(left) / jnp.maximum(jnp.sum(counted), 1) + 1e-30)) ** weights.balance
        return jnp.sum(each * jax.lax.stop_gradient(share))


@dataclass(frozen=True)
class Regulariser:
    """A judgement of the picture alone, such as its total variation; its weights are empty.

    Attributes:
      name: key of the term.
      of: from an image `[H, W, 3]` to a scalar.
    """

    name: str = "tv"
    of: Callable[[Array], Array] = losses.total_variation
    layers: tuple[str, ...] = ()

    def target(self, content: View | None, styles: Sequence[View]) -> tuple[()]:
        """Nothing."""
        del content, styles
        return ()

    def loss(self, picture: View, target: Any, weights: Any) -> Float[Array, ""]:
        """The function's value."""
        del target, weights
        return self.of(picture.image)


@dataclass(frozen=True)
class Laplacian:
    """Edges like the content picture's: `sum_p sum (D(x) - D(content))^2` over windows of `p` pixels.

    Its weights are empty. A picture too small for a window leaves that window out.

    Attributes:
      windows: sides of the windows that are averaged before the Laplacian, in pixels.

    Source: Li, Xu, Nie and Liu 2017, Laplacian-steered neural style transfer; 4 and 16 are theirs.
    """

    windows: tuple[int, ...] = (4, 16)
    name: str = "laplacian"
    layers: tuple[str, ...] = ()

    def target(self, content: View | None, styles: Sequence[View]) -> tuple[Array, ...]:
        """Edges of the content picture, one map for each window."""
        del styles
        if content is None:
            raise ValueError("the Laplacian term needs a content picture")
        return self._edges(content.image)

    def loss(self, picture: View, target: tuple[Array, ...], weights: Any) -> Float[Array, ""]:
        """Sum of the squared differences of the edges."""
        del weights
        pairs = zip(self._edges(picture.image), target, strict=True)
        return sum((jnp.sum(jnp.square(ours - theirs)) for ours, theirs in pairs), start=jnp.zeros(()))

    def _edges(self, image: Array) -> tuple[Array, ...]:
        fitting = [window for window in self.windows if min(image.shape[:2]) >= 3 * window]
        return tuple(losses.laplacian(image, window) for window in fitting)


DEFAULT_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

GATYS: tuple[Term, ...] = (Content(), Style(DEFAULT_STYLE_LAYERS, (Gram(),) * 5), Regulariser())
"""The terms of Gatys et al. 2016, and total variation."""
