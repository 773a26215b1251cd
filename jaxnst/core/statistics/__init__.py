"""Style statistics: each summarises a picture's features at one layer and compares two such summaries.

    target = statistic(style_features, style_guide)
    loss = statistic.distance(statistic(features, guide), target)

Features are `[H, W, C]` with any number of positions. A guide `[H, W]` is the share of each position that
belongs to a region, 0 to 1; ones mean the whole picture. The distance to an empty region is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from jaxnst.core import losses
from jaxnst.core.statistics.moments import Covariance, Gram, MeanCovariance, MeanStd, Wasserstein
from jaxnst.core.statistics.nearest import NearestFeatures, NearestPatches, RelaxedEMD
from jaxnst.core.statistics.quantiles import Histogram, SlicedWasserstein

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Statistic(Protocol):
    """Summarises features so that pictures of one style have similar summaries; hashable, for `jit`.

    A statistic whose summaries of disjoint regions add up to the summary of their union has an attribute
    `additive = True`. Only such statistics work on tiles; see `jaxnst.core.tiling`.
    """

    def __call__(self, features: Float[Array, "h w c"], guide: Float[Array, "h w"]) -> Any:
        """Summarises features within a region.

        Args:
          features: `[H, W, C]`, float32 or bfloat16.
          guide: `[H, W]`, the share of each position that belongs to the region, 0 to 1.

        Returns:
          A pytree.
        """
        ...

    def distance(self, summary: Any, target: Any) -> Float[Array, ""]:
        """Computes the distance between two summaries.

        Args:
          summary: the summary of the picture being made.
          target: the summary of the style picture.

        Returns:
          A scalar.
        """
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
    "remd": lambda form, norm: RelaxedEMD(),
    "mean_covariance": lambda form, norm: MeanCovariance(),
}
"""Statistics by name, each built from a Gram form and a norm; only `gram` and `covariance` use these two."""
