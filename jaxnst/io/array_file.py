"""Named arrays and JSON metadata in one HDF5 file, and pytrees as lists of arrays for it.

A file appears whole or not at all, and a damaged one is noticed when it is read. What the arrays mean is for
the caller to know.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.io.files import written_aside

if TYPE_CHECKING:
    from jaxtyping import Array

T = TypeVar("T")


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes named arrays and their metadata, replacing the file that was there.

    Args:
      path: the file to write.
      arrays: by name; a `/` in a name makes an HDF5 group. Any dtype that HDF5 supports.
      about: the metadata; any mapping that JSON can represent.

    Raises:
      OSError: the write failed, for example because the disk is full; the old file is unchanged.
      TypeError: an array has a dtype that HDF5 does not support; the old file is unchanged.
    """
    # One temporary name for each path: the next save overwrites what a killed process left behind.
    digits = hashlib.sha256(path.name.encode()).hexdigest()[:32]
    with written_aside(path, digits) as aside, h5py.File(aside, "w") as file:
        for name, array in arrays.items():
            file[f"arrays/{name}"] = array
        file.attrs["about"] = json.dumps(dict(about))
        file.attrs["checksum"] = _checksum(arrays)


def about(path: Path) -> dict[str, Any] | None:
    """Reads only the metadata of a file that `save` wrote.

    Args:
      path: the file to read.

    Returns:
      The metadata, as JSON restores it: tuples have become lists. None if the file is missing or unreadable.
    """
    try:
        with h5py.File(path, "r") as file:
            return json.loads(str(file.attrs["about"]))
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError):
        return None


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Reads a file that `save` wrote.

    Args:
      path: the file to read.

    Returns:
      The arrays by name, and the metadata. None if the file is missing, unreadable or damaged.
    """
    metadata, arrays = about(path), {}

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name.removeprefix("arrays/")] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(read)
            intact = file.attrs["checksum"] == _checksum(arrays)
    except (OSError, KeyError, RuntimeError):
        return None
    return (arrays, metadata) if intact and metadata is not None else None


def digest(array: np.ndarray) -> str:
    """Computes the SHA-256 of an array's shape and bytes."""
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def leaves_of(tree: Any) -> list[np.ndarray]:
    """Lists the arrays of a pytree as NumPy arrays, bit for bit.

    Args:
      tree: a pytree of arrays; random keys become their key data (uint32).

    Returns:
      The leaves in the order of `jax.tree.leaves`.
    """
    leaves = jax.tree.leaves(tree)
    return [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves]


def with_leaves(like: T, leaves: Sequence[np.ndarray]) -> T:
    """Rebuilds a pytree from the list that `leaves_of` made of it.

    Args:
      like: a pytree of the same structure, of arrays or of shapes and dtypes.
      leaves: the arrays, in order.

    Returns:
      A pytree of the structure of `like`, its leaves NumPy arrays; random keys are keys again.

    Raises:
      ValueError: the number of leaves is not that of the structure.
    """
    pairs = list(zip(jax.tree.leaves(like), leaves, strict=True))
    return jax.tree.unflatten(jax.tree.structure(like), [_restored(*pair) for pair in pairs])


def _restored(like: Array, leaf: np.ndarray) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(leaf)) if _is_key(like) else leaf


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Computes the CRC-32 of names and bytes, because HDF5 does not notice a flipped bit by itself."""
    checksum = 0
    for name in sorted(arrays):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).data, zlib.crc32(name.encode(), checksum))
    return checksum
