"""The features of a picture whose rows lie on several devices; XLA partitions the program that computes them.

XLA exchanges the rows at the edges of a convolution between neighbours. But where a device's part does not
end with a pooling window it collects whole feature maps on every device. So the network sees the picture in a
*frame*: rows of zeros follow the last, until all devices have as many, of every layer. What the network makes
of these rows is set to zero before each convolution and counts nowhere, so the objective stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxnst.core import objective, terms, transforms, vgg
from jaxnst.core.conv import EXACT

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array, Float


@dataclass(frozen=True)
class Within:
    """A padding for pictures in a frame: the network does not see what lies below the picture.

    Attributes:
      padding: a value of `vgg.PADDINGS`, at the picture's own border.
      height: of the picture.
      frame: height of the frame.
    """

    padding: Callable
    height: int
    frame: int

    def __call__(self, convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
        """Convolves a feature map."""
        rows = self.height // (self.frame // x.shape[0])
        if self.padding is vgg.zeros:
            inside = jnp.arange(x.shape[0]) < rows
            return convolve(jnp.where(inside[:, None, None], x, 0))
        return pad_rows(self.padding(convolve, x[:rows]), x.shape[0])


def view(
    mesh: Mesh,
    what: objective.Objective,
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    regions: objective.Regions = (),
    window: objective.Window = transforms.unchanged,
    precision: jax.lax.Precision = EXACT,
) -> terms.View:
    """Computes what `objective.view` computes, with the rows of every feature map spread over a mesh.

    Features and regions are in a frame, and `counted` marks the picture's own positions. Statistics must be
    `additive`; weights may not have Winograd's filters, whose blocks XLA does not partition.
    """
    seen = what.frame(window(what.colors(image)))
    height, width = seen.shape[:2]
    layers, count = what.layers, mesh.shape["rows"]
    frame = framed(height, layers, count)
    padding = what.padding if frame == height else Within(what.padding, height, frame)

    def spread(x: Array, rows: int) -> Array:
        return jax.lax.with_sharding_constraint(pad_rows(x, rows), NamedSharding(mesh, PartitionSpec("rows")))

    features = vgg.features(params, spread(seen, frame), layers, what.pooling, padding, precision)
    guides = [
        {layer: spread(guide, frame // vgg.stride(layer)) for layer, guide in region.items()}
        for region in objective.regions_in_window(regions, window)
    ]
    counted = {} if frame == height else {layer: _counted(layer, height, width, frame) for layer in layers}
    return terms.View(image, features, guides, counted)


def framed(height: int, layers: Iterable[str], count: int) -> int:
    """Computes the height of the frame in which a picture lies on `count` devices."""
    step = count * max(map(vgg.stride, layers), default=1)
    return -(-height // step) * step


def pad_rows(x: Float[Array, "h ..."], rows: int) -> Float[Array, "rows ..."]:
    """Appends rows of zeros until there are `rows`."""
    return jnp.pad(x, ((0, rows - x.shape[0]), *((0, 0),) * (x.ndim - 1)))


def _counted(layer: str, height: int, width: int, frame: int) -> Float[Array, "h_l w_l"]:
    stride = vgg.stride(layer)
    inside = jnp.arange(frame // stride) < height // stride
    return jnp.broadcast_to(inside[:, None], (frame // stride, width // stride)).astype(jnp.float32)
