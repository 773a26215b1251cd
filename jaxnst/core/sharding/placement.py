"""Where the arrays of a run lie: on one device, or spread over a mesh with the axes `pairs` and `rows`.

Pictures have rows: the axis -3 of every array of `[..., H, W, 3]` in a solver's state, and the first axis of
what `Inputs.render` holds. Over several devices these rows are spread. All devices hold as many, so arrays
between two steps have rows of zeros at the end; a step cuts them off and appends them again, which moves no
data, because XLA pads the last device's part in the same way. Everything else lies on every device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnst.core import objective
from jaxnst.core.sharding import rows

if TYPE_CHECKING:
    from jaxtyping import Array

    from jaxnst.core.solver import Inputs

    Axes = tuple[int | None, ...]
    """For each leaf of some inputs 0 if its first axis is that of the pairs, or None."""


def make_mesh(devices: Sequence[Any], rows: int = 1) -> Mesh:
    """Makes a mesh with the axes `pairs` and `rows`.

    Args:
      devices: `jax.Device`s.
      rows: number of devices over which the rows of each picture go; it divides their number.
    """
    return Mesh(np.array(devices).reshape(-1, rows), ("pairs", "rows"))


@dataclass(frozen=True)
class OneDevice:
    """Places every array on JAX's default device. Methods: see `OverDevices`."""

    pairs = rows = processes = 1

    @property
    def look(self) -> objective.Look:
        """How features are computed."""
        return objective.view

    def put_inputs(self, inputs: Inputs, axes: Axes | None) -> Inputs:
        """Places the inputs of a step."""
        del axes
        return jax.device_put(inputs)

    def put_state(self, state: Any, lanes: bool) -> Any:
        """Places a state from the host."""
        del lanes
        return jax.device_put(state)

    def put(self, tree: Any) -> Any:
        """Places arrays that every device needs whole."""
        return jax.device_put(tree)

    def cut(self, tree: Any, height: int) -> Any:
        """Returns the arrays as a step takes them."""
        del height
        return tree

    def cut_inputs(self, inputs: Inputs, height: int, axes: Axes | None) -> Inputs:
        """Returns the inputs as a step takes them."""
        del height, axes
        return inputs

    def spread(self, state: Any, lanes: bool) -> Any:
        """Returns a state as it lies between two steps."""
        del lanes
        return state

    def gathered(self, picture: Array) -> Array:
        """Returns a picture that every process can read."""
        return picture

    def on_host(self, tree: Any, height: int) -> Any:
        """Returns the arrays in the host's memory."""
        del height
        return tree


@dataclass(frozen=True)
class OverDevices:
    """Places pairs and the rows of pictures over the devices of a mesh.

    Attributes:
      mesh: from `make_mesh`; its devices may belong to several processes.
    """

    mesh: Mesh

    @property
    def pairs(self) -> int:
        """Number of devices over which pairs go."""
        return self.mesh.shape["pairs"]

    @property
    def rows(self) -> int:
        """Number of devices over which the rows of a picture go."""
        return self.mesh.shape["rows"]

    @property
    def processes(self) -> int:
        """Number of processes to which the devices belong."""
        return len({device.process_index for device in self.mesh.devices.flat})

    @property
    def look(self) -> objective.Look:
        """How features are computed."""
        return objective.view if self.rows == 1 else functools.partial(rows.view, self.mesh)

    def put_inputs(self, inputs: Inputs, axes: Axes | None) -> Inputs:
        """Places the inputs of a step: feature maps stay where they are, render functions lose no row.

        Args:
          inputs: on the host, or on the mesh already (targets, network).
          axes: for each leaf the axis of the pairs; None: the inputs of one picture.
        """
        leaves, structure = jax.tree.flatten(inputs)
        is_render = jax.tree.leaves(_marked_render(inputs))
        axes = axes or (None,) * len(leaves)
        placed = [self._put_input(*leaf) for leaf in zip(leaves, is_render, axes, strict=True)]
        return jax.tree.unflatten(structure, placed)

    def _put_input(self, leaf: Any, is_render: bool, pair_axis: int | None) -> Array:
        spec: list[str | None] = [None] * np.ndim(leaf)
        first = 0 if pair_axis is None else 1
        spec[:first] = ["pairs"] * first
        if is_render and np.ndim(leaf) >= first + 2:
            spec[first] = "rows"
            leaf = self._padded(np.asarray(leaf), first)
        elif isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding):
            for axis, names in enumerate(leaf.sharding.spec):
                if names == "rows":
                    spec[axis] = "rows"
        return self._put(leaf, PartitionSpec(*spec))

    def put_state(self, state: Any, lanes: bool) -> Any:
        """Places a state from the host.

        Args:
          state: arrays of one picture, or of several with the axis of the pairs in front.
          lanes: whether it is of several.
        """

        def put(leaf: Any) -> Array:
            axis = _rows_axis(leaf, lanes)
            leaf = leaf if axis is None else self._padded(np.asarray(leaf), axis)
            return self._put(leaf, self._spec(leaf, lanes))

        return jax.tree.map(put, state)

    def put(self, tree: Any) -> Any:
        """Places arrays that every device needs whole."""
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def cut(self, tree: Any, height: int) -> Any:
        """Cuts rows of zeros off pictures; inside `jit`."""

        def cut(leaf: Array) -> Array:
            return leaf[..., :height, :, :] if leaf.ndim >= 3 else leaf

        return jax.tree.map(cut, tree)

    def cut_inputs(self, inputs: Inputs, height: int, axes: Axes | None) -> Inputs:
        """Cuts rows of zeros off what the render functions hold; inside `jit`."""
        leaves, structure = jax.tree.flatten(inputs)
        is_render = jax.tree.leaves(_marked_render(inputs))
        cut = [
            leaf
            if not render or leaf.ndim < 2 + (axis is not None)
            else jax.lax.slice_in_dim(leaf, 0, height, axis=int(axis is not None))
            for leaf, render, axis in zip(leaves, is_render, axes or (None,) * len(leaves), strict=True)
        ]
        return jax.tree.unflatten(structure, cut)

    def spread(self, state: Any, lanes: bool) -> Any:
        """Appends rows of zeros to pictures and says where each array lies; inside `jit`."""

        def spread(leaf: Array) -> Array:
            axis = _rows_axis(leaf, lanes)
            leaf = leaf if axis is None else self._padded(leaf, axis)
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, self._spec(leaf, lanes)))

        return jax.tree.map(spread, state)

    def gathered(self, picture: Array) -> Array:
        """Collects a picture on every device, so that every process can read it; inside `jit`."""
        return jax.lax.with_sharding_constraint(picture, NamedSharding(self.mesh, PartitionSpec()))

    def on_host(self, tree: Any, height: int) -> Any:
        """Collects arrays in the host's memory, picture by picture: no device has to hold a whole history."""

        def collected(leaf: Array) -> Any:
            if leaf.is_fully_addressable or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return leaf
            if leaf.ndim <= 3:
                return np.asarray(_everywhere(self.mesh, leaf))
            return np.stack([np.asarray(_element(self.mesh, leaf, index)) for index in range(len(leaf))])

        def cut(leaf: Any) -> Any:
            return leaf[..., :height, :, :] if leaf.ndim >= 3 else leaf

        return jax.tree.map(lambda leaf: cut(collected(leaf)), tree)

    def _spec(self, leaf: Any, lanes: bool) -> PartitionSpec:
        names: list[str | None] = [None] * leaf.ndim
        if lanes:
            names[0] = "pairs"
        if (axis := _rows_axis(leaf, lanes)) is not None:
            names[axis] = "rows"
        return PartitionSpec(*names)

    def _padded(self, leaf: Any, axis: int) -> Any:
        zeros = [(0, 0)] * leaf.ndim
        zeros[axis] = (0, -leaf.shape[axis] % self.rows)
        return np.pad(leaf, zeros) if isinstance(leaf, np.ndarray) else jnp.pad(leaf, zeros)

    def _put(self, leaf: Any, spec: PartitionSpec) -> Array:
        sharding = NamedSharding(self.mesh, spec)
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._put(jax.random.key_data(leaf), spec))
        if isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding):
            return jax.lax.with_sharding_constraint(leaf, sharding)
        # By way of the host, since some of the devices may be another process's.
        return jax.make_array_from_callback(np.shape(leaf), sharding, np.asarray(leaf).__getitem__)


Placement = OneDevice | OverDevices

ONE_DEVICE = OneDevice()


def _rows_axis(leaf: Any, lanes: bool) -> int | None:
    return leaf.ndim - 3 if leaf.ndim >= 3 + lanes else None


def _marked_render(inputs: Inputs) -> Any:
    """Marks the leaves that render functions hold."""
    marked = jax.tree.map(lambda _: False, inputs)
    return marked._replace(render=jax.tree.map(lambda _: True, inputs.render))


@functools.partial(jax.jit, static_argnums=0)
def _everywhere(mesh: Mesh, array: Array) -> Array:
    return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec()))


@functools.partial(jax.jit, static_argnums=0)
def _element(mesh: Mesh, array: Array, index: int) -> Array:
    return jax.lax.with_sharding_constraint(array[index], NamedSharding(mesh, PartitionSpec()))
