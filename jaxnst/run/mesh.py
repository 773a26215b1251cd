"""Which devices do the work, and how pairs and rows of pictures are shared out among them."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnst.core.sharding import spread as sharding
from jaxnst.errors import InputError, choose

Devices: TypeAlias = int | Literal["all"] | Sequence[Any] | Mesh | None
"""How many, which, or how they are laid out; None: the first."""

AXES = ("pairs", "rows")


def for_one_picture(devices: Devices) -> list[Mesh | None]:
    """The mesh for one picture: its rows over all devices, those of other processes too."""
    given = _given(devices, jax.devices())
    if isinstance(given, Mesh):
        if given.shape["pairs"] > 1:
            raise InputError(f"devices: a mesh with {given.shape['pairs']} pairs; there is one picture.")
        return [given]
    return [sharding.make_mesh(given, len(given)) if given else None]


def for_pairs(devices: Devices) -> list[Mesh | None]:
    """Meshes for many pairs, to be tried in order: a picture's rows go over as few devices as can hold it.

    What none can hold is left to one device, in tiles.
    """
    given = _given(devices, jax.local_devices())
    if isinstance(given, Mesh):
        return [given]
    if not given:
        return [None]
    divisors = [rows for rows in range(1, len(given) + 1) if len(given) % rows == 0]
    return [*(sharding.make_mesh(given, rows) for rows in divisors), None]


def processes_of(mesh: Mesh | None) -> int:
    """How many processes its devices belong to."""
    return 1 if mesh is None else len({device.process_index for device in mesh.devices.flat})


def told_by_all(mesh: Mesh | None, number: float) -> np.ndarray:
    """What each of the processes that share a mesh has to say, at the same place in the work of all."""
    told = np.array([number], np.float32)
    if mesh is None or processes_of(mesh) == 1:
        return told
    each = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    numbers = jax.make_array_from_callback((mesh.size,), each, lambda _: told)
    return np.asarray(sharding.everywhere(mesh, numbers))


def any_of(mesh: Mesh | None, said: bool) -> bool:
    """Whether one of the processes that share a mesh says so."""
    return bool(told_by_all(mesh, said).any())


def _given(devices: Any, existing: Sequence[Any]) -> Mesh | list[Any]:
    """A mesh, or devices, of which there are none if no choice was made.

    Raises:
      InputError: not what `Devices` says, or more than there are.
    """
    if devices is None:
        return []
    if isinstance(devices, Mesh):
        return _checked(devices)
    if isinstance(devices, str):
        choose("devices", devices, ("all",))
        return list(existing)
    if isinstance(devices, numbers.Integral) and not isinstance(devices, bool):
        devices = int(devices)
        if not 1 <= devices <= len(existing):
            raise InputError(f"devices: {devices} are asked for, and there are {len(existing)}.")
        return list(existing[:devices])
    if isinstance(devices, Sequence) and devices and all(isinstance(each, jax.Device) for each in devices):
        return list(devices)
    raise InputError(f"devices: {devices!r} will not do; give a number, 'all', jax.Devices or a Mesh.")


def _checked(mesh: Mesh) -> Mesh:
    """The mesh with both axes in our order, which XLA shards by itself."""
    if not mesh.axis_names or set(mesh.axis_names) - set(AXES):
        raise InputError(f"devices: a mesh with axes {mesh.axis_names}; its axes are called {AXES}.")
    devices = mesh.devices if mesh.axis_names[0] == "pairs" else mesh.devices.T
    return sharding.make_mesh(devices.ravel().tolist(), mesh.shape.get("rows", 1))
