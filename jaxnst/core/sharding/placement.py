"""The place of the arrays of a run: on one device, or spread over a mesh with the axes `pairs` and `rows`.

Over several devices the rows of pictures are spread: the axis -3 of every array `[..., H, W, C]` in a state.
All devices hold as many rows, so a state has rows of zeros at the end. The optimiser sees them as a part of
its variable, because XLA collects a picture on every device for an inner product of rows that the devices do
not share evenly. The network does not see them. Feature maps stay where `rows.view` has spread them;
everything else lies on every device.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnst.core import objective
from jaxnst.core.optimizers import LBFGS
from jaxnst.core.sharding import rows

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from jaxnst.core.solver import Problem

    Axes = tuple[int | None, ...]
    """For each leaf of a tree 0 if its first axis is that of the pairs, or None."""


def make_mesh(devices: Sequence[Any], rows: int = 1) -> Mesh:
    """Makes a mesh with the axes `pairs` and `rows`.

    Args:
      devices: `jax.Device`s.
      rows: number of devices over which the rows of each picture go; it divides their number.
    """
    return Mesh(np.array(devices).reshape(-1, rows), ("pairs", "rows"))


@dataclass(frozen=True)
class Cut:
    """Represents a picture by one with rows of zeros below it.

    Attributes:
      rows: the picture's own.
      padded: with the zeros.
    """

    rows: int
    padded: int

    def decode(self, variable: Float[Array, "h w 3"]) -> Float[Array, "h2 w 3"]:
        """Cuts the zeros off."""
        return variable[: self.rows]

    def encode(self, image: Float[Array, "h2 w 3"]) -> Float[Array, "h w 3"]:
        """Appends the zeros."""
        return rows.pad_rows(image, self.padded)


@dataclass(frozen=True)
class OneDevice:
    """Places every array on JAX's default device; the names are explained in `OverDevices`."""

    mesh: ClassVar[Any] = None
    pairs = rows = processes = 1
    look = staticmethod(objective.view)

    def put(self, tree: Any, *_: Any) -> Any:
        """Places arrays from the host."""
        return jax.device_put(tree)

    def unchanged(self, tree: Any, *_: Any) -> Any:
        """Returns its argument: what lies in one place has no rows of zeros, and is not spread."""
        return tree

    put_state = put
    cut = padded_problem = spread = gathered = on_host = unchanged


@dataclass(frozen=True)
class OverDevices:
    """Spreads pairs and the rows of pictures over the devices of a mesh.

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
        """How features are computed; for `objective.evaluate`."""
        return objective.view if self.rows == 1 else functools.partial(rows.view, self.mesh)

    def put(self, tree: Any, axes: Axes | None = None) -> Any:
        """Places arrays on every device, and spreads pairs along `axes`; feature maps stay where they are."""
        leaves, structure = jax.tree.flatten(tree)
        placed = []
        for leaf, axis in zip(leaves, axes or (None,) * len(leaves), strict=True):
            names: list[str | None] = [None] * np.ndim(leaf)
            if _lies_on_mesh(leaf):
                names = ["rows" if name == "rows" else None for name in leaf.sharding.spec]
            if axis is not None:
                names[:1] = ["pairs"]
            placed.append(self._put(leaf, names))
        return jax.tree.unflatten(structure, placed)

    def put_state(self, state: Any, lanes: bool) -> Any:
        """Places a state from the host; `lanes` says whether the axis of the pairs is in front."""
        return jax.tree.map(lambda leaf: self._put(*self._padded(leaf, lanes)), state)

    def cut(self, state: Any, height: int) -> Any:
        """Cuts rows of zeros off the pictures of a state; for use inside `jit`, too."""
        return jax.tree.map(lambda leaf: leaf[..., :height, :, :] if leaf.ndim >= 3 else leaf, state)

    def padded_problem(self, problem: Problem, height: int) -> Problem:
        """Returns the problem whose variable has rows of zeros at the end."""
        if height % self.rows == 0:
            return problem
        cut, optimizer = Cut(height, height + -height % self.rows), problem.optimizer
        if isinstance(optimizer, LBFGS):  # its root mean square counts the zeros
            max_step = optimizer.max_step * math.sqrt(cut.rows / cut.padded)
            optimizer = dataclasses.replace(optimizer, max_step=max_step)
        parts = (cut, *problem.parametrisation)
        return dataclasses.replace(problem, optimizer=optimizer, parametrisation=parts)

    def spread(self, state: Any, lanes: bool) -> Any:
        """Appends rows of zeros to the pictures of a state, and spreads it; inside `jit`."""
        return jax.tree.map(lambda leaf: self._constrained(*self._padded(leaf, lanes)), state)

    def gathered(self, picture: Array) -> Array:
        """Collects a picture on every device, so that every process can read it; inside `jit`."""
        return self._constrained(picture, [])

    def on_host(self, state: Any, height: int) -> Any:
        """Collects a state on the host, picture by picture: no device has to hold a whole history."""

        def collect(leaf: Array) -> Any:
            if leaf.is_fully_addressable or leaf.is_fully_replicated:
                return leaf
            if leaf.ndim <= 3:
                return np.asarray(_everywhere(self, leaf))
            return np.stack([np.asarray(_element(self, leaf, index)) for index in range(len(leaf))])

        return self.cut(jax.tree.map(collect, state), height)

    def _padded(self, leaf: Any, lanes: bool) -> tuple[Any, list[str | None]]:
        """Appends rows of zeros, if the array has rows, and names its axes."""
        names: list[str | None] = [None] * leaf.ndim
        names[:lanes] = ["pairs"] * lanes
        if leaf.ndim < 3 + lanes:
            return leaf, names
        names[-3] = "rows"
        zeros = [(0, 0)] * leaf.ndim
        zeros[-3] = (0, -leaf.shape[-3] % self.rows)
        return (np.pad if isinstance(leaf, np.ndarray) else jnp.pad)(leaf, zeros), names

    def _constrained(self, leaf: Array, names: Sequence[str | None]) -> Array:
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, PartitionSpec(*names)))

    def _put(self, leaf: Any, names: Sequence[str | None]) -> Array:
        if _lies_on_mesh(leaf):
            return self._constrained(leaf, names)
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._put(jax.random.key_data(leaf), names))
        # By way of the host, since some of the devices may be another process's.
        sharding = NamedSharding(self.mesh, PartitionSpec(*names))
        return jax.make_array_from_callback(np.shape(leaf), sharding, np.asarray(leaf).__getitem__)


Placement = OneDevice | OverDevices

ONE_DEVICE = OneDevice()


def _lies_on_mesh(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding)


@functools.partial(jax.jit, static_argnums=0)
def _everywhere(placement: OverDevices, array: Array) -> Array:
    return placement.gathered(array)


@functools.partial(jax.jit, static_argnums=0)
def _element(placement: OverDevices, array: Array, index: int) -> Array:
    return placement.gathered(array[index])
