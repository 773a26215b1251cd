"""Where in the network's layers a region of the picture is: masks carried down through VGG19.

Gatys et al. 2017, Controlling perceptual factors in neural style transfer, section 4: each layer has its
own guidance channel, made from the picture's mask, which runs from 0 (outside the region) to 1 (inside).
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
    """What becomes of a mask where the network convolves and where it pools.

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


# Reductions start from the value that never wins, which is also what `SAME` pads with: only positions within
# the picture count.
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
"""`simple`: the share of a position that lies in the region, whatever the position sees around it; regions
that partition the picture still do. `inside`: positions that see nothing but the region, so that no other
region's pixels leak into its statistics; the picture's border does not count as outside, but small regions
vanish in deep layers. `all`: positions that see any of the region, which then overlaps its neighbours."""


def carry_down(
    mask: Float[Array, "h w"], layers: Iterable[str], how: Guidance = GUIDANCES["simple"]
) -> dict[str, Float[Array, "h_l w_l"]]:
    """A region of the picture in layers of the network.

    Args:
      mask: `[H, W]`, the picture's size, [0, 1].
      layers: names from `vgg.LAYERS`.
      how: a value of `GUIDANCES` (default `simple`), or a pair of functions of your own.

    Returns:
      `{layer: [H_l, W_l]}`, of the sizes of `vgg.features`, [0, 1].

    Raises:
      ValueError: a name is not in `vgg.LAYERS`.
    """
    layers = tuple(layers)
    for layer in layers:
        if layer not in vgg.LAYERS:
            raise ValueError(f"there is no layer {layer!r} in VGG19")
    mask, found = jnp.asarray(mask, float), {}
    for layer in vgg.LAYERS[: max(map(vgg.LAYERS.index, layers), default=-1) + 1]:
        if layer.startswith("conv"):
            mask = how.convolution(mask)
        elif layer.startswith("pool"):
            mask = how.pooling(mask)
        if layer in layers:
            found[layer] = mask
    return found
