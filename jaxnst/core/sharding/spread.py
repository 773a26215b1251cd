"""Arrays spread over several devices: pairs over a mesh's axis `pairs`, rows of pictures over `rows`.

A device's part of an axis is as large as every other's, so arrays whose rows do not divide get rows of zeros.
The optimiser works on these as they are, because zeros add nothing to its inner products (and means are told
of them); whatever is to see the picture itself sees it without them, through `Cut` or `whole`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.core import solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spread:
    """An array whose rows lie on several devices.

    Attributes:
      padded: with rows of zeros at the end, so that all devices have as many.
      rows: how many are the array's own.
      sharding: of `padded`.
    """

    padded: Array
    rows: int = field(metadata={"static": True})
    sharding: NamedSharding = field(metadata={"static": True})

    @property
    def axis(self) -> int:
        """That of the rows."""
        return self.sharding.spec.index("rows")


@dataclass(frozen=True)
class Cut:
    """The parametrisation of pictures with rows of zeros below them.

    Attributes:
      rows: the picture's own.
      padded: with the zeros.
    """

    rows: int
    padded: int

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h2 w 3"]:
        """Take the zeros away."""
        return variable[: self.rows]

    def encode(self, image: Float[Array, "h2 w 3"]) -> Float[Array, "h w 3"]:
        """Add them."""
        return jnp.pad(image, ((0, self.padded - self.rows), (0, 0), (0, 0)))


def make_mesh(devices: Sequence[Any], rows: int = 1) -> Mesh:
    """A mesh with the axes `pairs` and `rows`.

    Args:
      devices: `jax.Device`s.
      rows: over how many of them the rows of each picture go; it divides their number.
    """
    return Mesh(np.array(devices).reshape(-1, rows), ("pairs", "rows"))


def spread(mesh: Mesh | None, tree: Any, size: tuple[int, int], pair_axes: Any = None) -> Any:
    """Spread what belongs to pictures, and put the rest on every device.

    Args:
      mesh: as from `make_mesh`; None: everything stays as it is.
      tree: of arrays. Rows are those of the first axis of length `H` that is followed by one of length `W`;
        but what lies on the mesh already, such as features and the network, stays as it is.
      size: `(H, W)`.
      pair_axes: a tuple with, for each leaf, 0 if its first axis is that of the pairs, or None; one of these
        will do for all.

    Returns:
      A tree with `Spread` in place of arrays that have rows; for use inside `jit` and outside.
    """
    if mesh is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    of_leaves = pair_axes if isinstance(pair_axes, tuple) else (pair_axes,) * len(leaves)
    found = [_spread(mesh, leaf, size, of) for leaf, of in zip(leaves, of_leaves, strict=True)]
    return jax.tree.unflatten(structure, found)


def _spread(mesh: Mesh, leaf: Any, size: tuple[int, int], pair_axis: int | None) -> Any:
    shape, parts = jnp.shape(leaf), mesh.shape["rows"]
    axes: list[str | None] = [None] * len(shape)
    first = 0 if pair_axis is None else 1
    axes[:first] = ["pairs"] * first
    found = [axis for axis in range(first, len(shape) - 1) if shape[axis : axis + 2] == size]
    if parts == 1 or not found or _lies_on_mesh(leaf):
        if _lies_on_mesh(leaf) and "rows" in leaf.sharding.spec:  # feature maps, which `rows` has spread
            axes[leaf.sharding.spec.index("rows")] = "rows"
        return _placed(leaf, NamedSharding(mesh, PartitionSpec(*axes)))
    axes[found[0]] = "rows"
    zeros = [(0, 0)] * len(shape)
    zeros[found[0]] = (0, -size[0] % parts)
    padded = jnp.pad(leaf, zeros) if isinstance(leaf, Tracer) else np.pad(leaf, zeros)
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return Spread(_placed(padded, sharding), size[0], sharding)


def _lies_on_mesh(leaf: Any) -> bool:
    """Whether it is an array on several devices; inside `jit` that is not known."""
    return not isinstance(leaf, Tracer) and isinstance(getattr(leaf, "sharding", None), NamedSharding)


def _placed(array: Any, sharding: NamedSharding) -> Array:
    if isinstance(array, Tracer) or _lies_on_mesh(array):
        return jax.lax.with_sharding_constraint(array, sharding)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_placed(jax.random.key_data(array), sharding))
    # By way of the host, since some of the devices may be another process's.
    return jax.make_array_from_callback(jnp.shape(array), sharding, np.asarray(array).__getitem__)


def everywhere(mesh: Mesh | None, tree: Any) -> Any:
    """The same arrays, all of them on every device; None: as they are."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: _placed(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def _is_spread(leaf: Any) -> bool:
    return isinstance(leaf, Spread)


def whole(tree: Any) -> Any:
    """The arrays that were given to `spread`; for use inside `jit`."""

    def of(leaf: Any) -> Any:
        return jax.lax.slice_in_dim(leaf.padded, 0, leaf.rows, axis=leaf.axis) if _is_spread(leaf) else leaf

    return jax.tree.map(of, tree, is_leaf=_is_spread)


def on_host(tree: Any) -> Any:
    """The same on the host, one after the other; no device has to hold the whole of an array meanwhile."""

    def of(leaf: Any) -> Any:
        if not _is_spread(leaf):
            return leaf
        return _collected(leaf.padded, leaf.sharding.mesh)[(slice(None),) * leaf.axis + (slice(leaf.rows),)]

    return jax.tree.map(of, tree, is_leaf=_is_spread)


def _collected(array: Array, mesh: Any) -> np.ndarray:
    """An array on the host, of which other processes may have parts; a history picture by picture."""
    if array.is_fully_addressable:
        return np.asarray(array)
    if array.ndim > 3:
        return np.stack([np.asarray(_one_of(mesh, array, index)) for index in range(len(array))])
    return np.asarray(everywhere(mesh, array))


@functools.partial(jax.jit, static_argnums=0)
def _one_of(mesh: Mesh, array: Array, index: int) -> Array:
    return everywhere(mesh, array[index])


def padded(tree: Any) -> Any:
    """The arrays with their zeros."""
    return jax.tree.map(lambda leaf: leaf.padded if _is_spread(leaf) else leaf, tree, is_leaf=_is_spread)


def spread_as(before: Any, tree: Any) -> Any:
    """What has become of `padded(before)`, spread as that was."""

    def of(old: Any, new: Array) -> Any:
        return dataclasses.replace(old, padded=_placed(new, old.sharding)) if _is_spread(old) else new

    return jax.tree.map(of, before, tree, is_leaf=_is_spread)


def of_padded(problem: solver.Problem, variable: Array | Spread) -> solver.Problem:
    """The problem whose variable is `padded(variable)`."""
    if not isinstance(variable, Spread):
        return problem
    cut = Cut(variable.rows, variable.padded.shape[variable.axis])
    among_zeros = getattr(problem.optimizer, "among_zeros", None)
    return dataclasses.replace(
        problem,
        parametrisation=(cut, *problem.parametrisation),
        optimizer=problem.optimizer if among_zeros is None else among_zeros(cut.rows / cut.padded),
    )
