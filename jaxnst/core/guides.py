"""Carries masks of a picture's regions down through the layers of VGG19.

Gatys et al. 2017, Controlling perceptual factors in neural style transfer, section 4: the mask of a region
becomes a guide at each layer, from 0 (outside the region) to 1 (inside).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnst.core import vgg

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Guidance(NamedTuple):
    """Says how a mask changes where the network convolves and where it pools.

    Attributes:
      convolution: `[H, W] -> [H, W]`.
      pooling: `[H, W] -> [H // 2, W // 2]`.
    """

    convolution: Callable[[Array], Array]
    pooling: Callable[[Array], Array]


def _unchanged(mask: Float[Array, "h w"]) -> Float[Array, "h w"]:
    return mask


def _mean_of_windows(mask: Float[Array, "h w"]) -> Float[Array, "h2 w2"]:
    return vgg.average_pool(mask[..., None])[..., 0]


# Minima start from infinity and maxima from minus infinity. `SAME` also pads with these values, so positions
# beyond the picture's border never count.
def _least_around(mask: Float[Array, "h w"]) -> Float[Array, "h w"]:
    return lax.reduce_window(mask, jnp.inf, lax.min, (3, 3), (1, 1), "SAME")


def _least_of_windows(mask: Float[Array, "h w"]) -> Float[Array, "h2 w2"]:
    return lax.reduce_window(mask, jnp.inf, lax.min, (2, 2), (2, 2), "VALID")


def _largest_around(mask: Float[Array, "h w"]) -> Float[Array, "h w"]:
    return lax.reduce_window(mask, -jnp.inf, lax.max, (3, 3), (1, 1), "SAME")


def _largest_of_windows(mask: Float[Array, "h w"]) -> Float[Array, "h2 w2"]:
    return lax.reduce_window(mask, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID")


GUIDANCES: Mapping[str, Guidance] = {
    "simple": Guidance(_unchanged, _mean_of_windows),
    "inside": Guidance(_least_around, _least_of_windows),
    "all": Guidance(_largest_around, _largest_of_windows),
}
"""Ways to carry a mask down, by name:

- `simple`: a position's guide is the share of its own pixels that lie in the region, whatever its receptive
  field. Regions that partition the picture also partition every layer.
- `inside`: positions whose receptive field lies within the region. No pixel of another region enters the
  region's statistics, but small regions vanish in deep layers. The picture's border does not count as
  outside.
- `all`: positions whose receptive field touches the region. Neighbouring regions overlap.
"""


def carry_down(
    mask: Float[Array, "h w"], layers: Iterable[str], how: Guidance = GUIDANCES["simple"]
) -> dict[str, Float[Array, "h_l w_l"]]:
    """Computes the guides of a region at several layers from its mask.

    Args:
      mask: `[H, W]` in [0, 1], of the picture's size.
      layers: names from `vgg.LAYERS`.
      how: a value of `GUIDANCES` (default `simple`), or a `Guidance` of your own.

    Returns:
      `{layer: [H_l, W_l]}` in [0, 1], of the same sizes as `vgg.features`.

    Raises:
      ValueError: a name is not in `vgg.LAYERS`.

    Source: Gatys et al. 2017, section 4.
    """
    layers = tuple(layers)
    for layer in layers:
        if layer not in vgg.LAYERS:
            raise ValueError(f"there is no layer {layer!r} in VGG19")
    mask, guides = jnp.asarray(mask, float), {}
    for layer in vgg.LAYERS[: max(map(vgg.LAYERS.index, layers), default=-1) + 1]:
        if layer.startswith("conv"):
            mask = how.convolution(mask)
        elif layer.startswith("pool"):
            mask = how.pooling(mask)
        if layer in layers:
            guides[layer] = mask
    return guides
