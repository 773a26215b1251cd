"""A picture whose rows lie on several devices; XLA partitions the program that looks at it.

XLA exchanges the rows at the edges of a convolution between neighbours. But where a device's part does not
end with a pooling window it collects whole feature maps on every device. So the network sees the picture in a
*frame*: rows of zeros follow the last, until all devices have as many, of every layer. What the network makes
of these rows is put to zero before each convolution and counts nowhere, so the objective stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxnst.core import terms, vgg

if TYPE_CHECKING:
    from typing import Any

    from jax.sharding import Mesh
    from jaxtyping import Array, Float

    from jaxnst.core.objective import Objective


@dataclass(frozen=True)
class Rows:
    """Over which devices a picture's rows lie.

    Attributes:
      mesh: with an axis `rows`.
    """

    mesh: Mesh

    @property
    def count(self) -> int:
        """Of devices along the axis."""
        return self.mesh.shape["rows"]

    def over(self, x: Float[Array, "h ..."], rows: int) -> Float[Array, "h2 ..."]:
        """The same with zeros up to so many rows, a multiple of the devices, and an equal part on each."""
        sharding = NamedSharding(self.mesh, PartitionSpec("rows"))
        return jax.lax.with_sharding_constraint(_up_to(rows, x), sharding)


@dataclass(frozen=True)
class Within:
    """A padding for pictures in a frame: what lies below the picture is as if it were not there.

    Attributes:
      padding: a value of `vgg.PADDINGS`, at the picture's own border.
      height: of the picture.
      frame: height of the picture in its frame.
    """

    padding: Callable
    height: int
    frame: int

    def __call__(self, convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
        """Convolve a feature map."""
        rows = self.height // (self.frame // x.shape[0])
        if self.padding is vgg.zeros:
            inside = jnp.arange(x.shape[0]) < rows
            return convolve(jnp.where(inside[:, None, None], x, 0))
        return _up_to(x.shape[0], self.padding(convolve, x[:rows]))


def view(
    objective: Objective,
    rows: Rows,
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    seen: Float[Array, "h w 3"],
    regions: Sequence[Mapping[str, Float[Array, "h_l w_l"]]],
    precision: jax.lax.Precision,
) -> terms.View:
    """A picture with features in a frame, of which its own positions count.

    Args:
      objective: static.
      rows: where the picture's rows lie.
      params: the network's weights; not with Winograd's filters, whose tiles XLA does not partition.
      image: the picture.
      seen: what the network sees of it.
      regions: for each style `{layer: [H_l, W_l]}`, as it is seen.
      precision: as for `vgg.features`.
    """
    height, width = seen.shape[:2]
    layers = objective.layers
    frame = framed(height, layers, rows.count)
    padding = objective.padding if frame == height else Within(objective.padding, height, frame)
    found = vgg.features(params, rows.over(seen, frame), layers, objective.pooling, padding, precision)
    guides = [
        {layer: rows.over(of, frame // vgg.stride(layer)) for layer, of in region.items()}
        for region in regions
    ]
    counted = {} if frame == height else {layer: _counted(layer, height, width, frame) for layer in layers}
    return terms.View(image, found, guides, counted)


def framed(height: int, layers: Iterable[str], count: int) -> int:
    """Height of the frame in which a picture lies on so many devices."""
    step = count * max(map(vgg.stride, layers), default=1)
    return -(-height // step) * step


def _counted(layer: str, height: int, width: int, frame: int) -> Float[Array, "h_l w_l"]:
    stride = vgg.stride(layer)
    inside = jnp.arange(frame // stride) < height // stride
    return jnp.broadcast_to(inside[:, None], (frame // stride, width // stride)).astype(jnp.float32)


def _up_to(rows: int, x: Array) -> Array:
    return jnp.pad(x, ((0, rows - x.shape[0]), *((0, 0),) * (x.ndim - 1)))
