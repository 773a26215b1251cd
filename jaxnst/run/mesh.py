"""The devices that do the work, and how they share pairs and the rows of pictures."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnst.core.sharding import ONE_DEVICE, OverDevices, Placement, make_mesh
from jaxnst.errors import InputError, choose

Devices: TypeAlias = int | Literal["all"] | Sequence[Any] | Mesh | None
"""How many devices, which, or how they are laid out; None: the first."""

AXES = ("pairs", "rows")


def for_one_picture(devices: Devices) -> list[Placement]:
    """Returns the placement of one picture: its rows over all devices, those of other processes too.

    Raises:
      InputError: `devices` is not what `Devices` says, or there are fewer.
    """
    chosen = _choose(devices, jax.devices())
    if isinstance(chosen, Mesh):
        if chosen.shape["pairs"] > 1:
            raise InputError(f"devices: a mesh with {chosen.shape['pairs']} pairs; there is one picture.")
        return [OverDevices(chosen)]
    return [OverDevices(make_mesh(chosen, len(chosen))) if chosen else ONE_DEVICE]


def for_pairs(devices: Devices) -> list[Placement]:
    """Returns placements of many pairs in order of preference: rows go over as few devices as can hold them.

    A picture that no number of devices can hold is left to one device, in tiles.

    Raises:
      InputError: `devices` is not what `Devices` says, or there are fewer.
    """
    chosen = _choose(devices, jax.local_devices())
    if isinstance(chosen, Mesh):
        return [OverDevices(chosen)]
    if not chosen:
        return [ONE_DEVICE]
    divisors = [rows for rows in range(1, len(chosen) + 1) if len(chosen) % rows == 0]
    return [*(OverDevices(make_mesh(chosen, rows)) for rows in divisors), ONE_DEVICE]


def numbers_of_all(placement: Placement, number: float) -> np.ndarray:
    """Collects a number from every process that computes this picture; all must call it at the same place.

    Returns:
      Float32, the number of each process once for each of its devices; of one process alone, length 1.
    """
    own = np.array([number], np.float32)
    if placement.processes == 1:
        return own
    mesh = placement.mesh
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    numbers = jax.make_array_from_callback((mesh.size,), sharding, lambda _: own)
    return np.asarray(jax.lax.with_sharding_constraint(numbers, NamedSharding(mesh, PartitionSpec())))


def any_process(placement: Placement, flag: bool) -> bool:
    """Says whether the flag is set in one of the processes that compute one picture."""
    return bool(numbers_of_all(placement, flag).any())


def _choose(devices: Any, existing: Sequence[Any]) -> Mesh | list[Any]:
    """Returns a mesh or devices; no devices if the caller made no choice."""
    if devices is None:
        return []
    if isinstance(devices, Mesh):
        return _checked(devices)
    if isinstance(devices, str):
        choose("devices", devices, ("all",))
        return list(existing)
    if isinstance(devices, numbers.Integral) and not isinstance(devices, bool):
        count = int(devices)
        if not 1 <= count <= len(existing):
            raise InputError(f"devices: {count} are asked for, and there are {len(existing)}.")
        return list(existing[:count])
    if isinstance(devices, Sequence) and devices and all(isinstance(item, jax.Device) for item in devices):
        return list(devices)
    raise InputError(f"devices: {devices!r} is not usable; give a number, 'all', jax.Devices or a Mesh.")


def _checked(mesh: Mesh) -> Mesh:
    """Returns the mesh with both axes in our order, which XLA shards by itself."""
    if not mesh.axis_names or set(mesh.axis_names) - set(AXES):
        raise InputError(f"devices: a mesh with axes {mesh.axis_names}; its axes are called {AXES}.")
    devices = mesh.devices if mesh.axis_names[0] == "pairs" else mesh.devices.T
    return make_mesh(devices.ravel().tolist(), mesh.shape.get("rows", 1))
