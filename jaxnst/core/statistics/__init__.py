"""Style statistics: what is kept of a picture's features at one layer, and how far two pictures' are apart.

    target = statistic(style_features, style_guide)
    loss = statistic.distance(statistic(features, guide), target)

Features are `[H, W, C]`, of any number of positions. A guide `[H, W]` is each position's share of the region
that counts, 0 to 1; ones are the whole picture. An empty region is at distance zero from everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from jaxnst.core import losses
from jaxnst.core.statistics.moments import Covariance, Gram, MeanStd, Wasserstein
from jaxnst.core.statistics.nearest import NearestFeatures, NearestPatches
from jaxnst.core.statistics.quantiles import Histogram, SlicedWasserstein

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Statistic(Protocol):
    """What two pictures of one style have in common; hashable, static under `jit`.

    Where what is kept of disjoint regions adds up to what is kept of both, it has an attribute `additive`
    that is true, and pictures may be worked through in tiles; see `jaxnst.core.tiling.step`.
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Any:
        """What is kept of a picture's features within a region, as a pytree."""
        ...

    def distance(self, found: Any, target: Any) -> Float[Array, ""]:
        """How far the picture being made is from the style, both as `__call__` returned them."""
        ...


STATISTICS: Mapping[str, Callable[[losses.GramForm, losses.Norm], Statistic]] = {
    "gram": Gram,
    "covariance": Covariance,
    "mean_std": lambda form, norm: MeanStd(),
    "wasserstein": lambda form, norm: Wasserstein(),
    "sliced_wasserstein": lambda form, norm: SlicedWasserstein(),
    "histogram": lambda form, norm: Histogram(),
    "patches": lambda form, norm: NearestPatches(),
    "nnfm": lambda form, norm: NearestFeatures(),
}
"""From a Gram form and a norm, which all but the first two ignore, to a statistic."""
