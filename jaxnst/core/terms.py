"""The terms of the objective: each compares the picture being made with targets, or judges it by itself.

A term is a frozen description. It says which layers it wants to see, what it keeps of the content and style
pictures, and what a picture costs. The objective adds the terms up and knows nothing else of them.
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
    from jaxtyping import Array, Float

    from jaxnst.core.statistics import Statistic


class View(NamedTuple):
    """A picture as the terms see it.

    Attributes:
      image: float32 `[H, W, 3]`, about [0, 1].
      features: `{layer: [H_l, W_l, C_l]}` of all layers that some term asked for, float32 or bfloat16.
      guides: of the picture being made, for each style `{layer: [H_l, W_l]}`, each position's share of that
        style's region; of a style picture, the one region that is its style. Empty: the whole picture.
      counted: `{layer: [H_l, W_l]}`, 1 where a position counts and 0 where it does not, because this is a
        part of a larger picture and another part has it. Empty: all do.
    """

    image: Float[Array, "h w 3"]
    features: Mapping[str, Float[Array, "h_l w_l c_l"]]
    guides: Sequence[Mapping[str, Float[Array, "h_l w_l"]]] = ()
    counted: Mapping[str, Float[Array, "h_l w_l"]] = MappingProxyType({})

    def guide(self, layer: str, style: int = 0) -> Float[Array, "h_l w_l"]:
        """Each position's share of a style's region at one layer; ones if there are no regions."""
        shares = [self.guides[style][layer]] if self.guides else []
        shares += [self.counted[layer]] if self.counted else []
        if shares:
            return math.prod(shares[1:], start=shares[0])
        features = self.features[layer]
        return jnp.ones(features.shape[:2], wide(features).dtype)


class Term(Protocol):
    """One summand of the objective; hashable, static under `jit`.

    What a picture costs is found in two steps, of which the first looks at it and the second does not:
    `loss(sums(picture, target), target, weights)`. So a large picture can be looked at in parts, where the
    sums of parts add up; see `tiled_targets.check`.
    """

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

    def sums(self, picture: View, target: Any) -> Any:
        """All that it needs to know of a picture, as a pytree."""
        ...

    def loss(self, sums: Any, target: Any, weights: Any) -> Float[Array, ""]:
        """What a picture with these sums costs, given `target`'s result and the weights within this term."""
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
    form: losses.ContentForm = losses.content_sum
    norm: losses.Norm = losses.NORMS["l2"]
    name: str = "content"

    def target(self, content: View | None, styles: Sequence[View]) -> Any:
        """Feature maps of the content picture."""
        del styles
        return tuple(content.features[layer] for layer in self.layers) if content is not None else ()

    def sums(self, picture: View, target: Any) -> Any:
        """For each layer, how many differences there are, and the norm's sums over them."""
        found = []
        for layer, of_content in zip(self.layers, target, strict=True):
            differences = wide(picture.features[layer]) - of_content
            counted = picture.counted.get(layer)
            if counted is None:
                count = jnp.float32(differences.size)
            else:
                count = jnp.sum(counted) * differences.shape[-1]
                differences = counted[..., None] * differences
            found.append((count, self.norm.sums(differences)))
        return tuple(found)

    def loss(self, sums: Any, target: Any, weights: Float[Array, " layers"]) -> Float[Array, ""]:
        """Weighted sum over the layers."""
        del target
        total = jnp.zeros(())
        for (count, of_layer), weight in zip(sums, weights, strict=True):
            total += weight * self.norm.of_sums(of_layer, self.form(count))
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
        return self.target_of([self.sums_of_style(style) for style in styles])

    def sums_of_style(self, style: View) -> Any:
        """For each layer the statistic of a style picture, and that of a blank one in its place."""
        # Not zeros, which the compiler would know: it takes minutes to sort them in its own constant folding.
        return tuple(
            (statistic(features, style.guide(layer)), statistic(0 * features, style.guide(layer)))
            for layer, statistic in zip(self.layers, self.statistics, strict=True)
            for features in (style.features[layer],)
        )

    def target_of(self, styles: Sequence[Any]) -> StyleTarget:
        """The target from `sums_of_style` of every style picture."""
        blank = [
            statistic.distance(of_blank, kept)
            for of_style in styles
            for statistic, (kept, of_blank) in zip(self.statistics, of_style, strict=True)
        ]
        kept = tuple(tuple(kept for kept, _ in of_style) for of_style in styles)
        return StyleTarget(kept, jnp.array(blank).reshape(len(styles), len(self.layers)))

    def sums(self, picture: View, target: StyleTarget) -> Any:
        """For each style and layer the statistic, within the style's region."""
        return tuple(
            tuple(
                statistic(picture.features[layer], picture.guide(layer, index))
                for layer, statistic in zip(self.layers, self.statistics, strict=True)
            )
            for index in range(len(target.statistics))
        )

    def loss(self, sums: Any, target: StyleTarget, weights: StyleWeights) -> Float[Array, ""]:
        """Weighted sum over styles and layers."""
        of_styles = []
        for found, kept, of_layers in zip(sums, target.statistics, weights.layers, strict=True):
            total = jnp.zeros(())
            for statistic, *pair, weight in zip(self.statistics, found, kept, of_layers, strict=True):
                total += weight * statistic.distance(*pair)
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

    def sums(self, picture: View, target: Any) -> Float[Array, ""]:
        """The function's value."""
        del target
        return self.of(picture.image)

    def loss(self, sums: Float[Array, ""], target: Any, weights: Any) -> Float[Array, ""]:
        """The same."""
        del target, weights
        return sums


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

    def sums(self, picture: View, target: tuple[Array, ...]) -> Float[Array, ""]:
        """Sum of the squared differences of the edges."""
        pairs = zip(self._edges(picture.image), target, strict=True)
        return sum((jnp.sum(jnp.square(ours - theirs)) for ours, theirs in pairs), start=jnp.zeros(()))

    def loss(self, sums: Float[Array, ""], target: Any, weights: Any) -> Float[Array, ""]:
        """The same."""
        del target, weights
        return sums

    def _edges(self, image: Array) -> tuple[Array, ...]:
        fitting = [window for window in self.windows if min(image.shape[:2]) >= 3 * window]
        return tuple(losses.laplacian(image, window) for window in fitting)


DEFAULT_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

GATYS: tuple[Term, ...] = (Content(), Style(DEFAULT_STYLE_LAYERS, (Gram(),) * 5), Regulariser())
"""The terms of Gatys et al. 2016, and total variation."""
