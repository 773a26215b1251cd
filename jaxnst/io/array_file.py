"""Where long work left off: arrays and a few words about them in one HDF5 file, whole or not there."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxnst.io import save as saving


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint over the one before.

    Args:
      path: of the file.
      arrays: by name, a `/` in it makes groups; of any type that HDF5 has.
      about: what JSON can hold.

    Raises:
      OSError: the disk is full or the like; the old file is still there.
    """
    # Each time the same name aside, so that what a kill leaves there goes with the next checkpoint.
    digits = hashlib.sha256(path.name.encode()).hexdigest()[:32]
    with saving.written_aside(path, digits) as aside, h5py.File(aside, "w") as file:
        for name, array in arrays.items():
            file[f"arrays/{name}"] = array
        file.attrs["about"] = json.dumps(dict(about))
        file.attrs["checksum"] = _checksum(arrays)


def about(path: Path) -> dict[str, Any] | None:
    """What is said about the arrays of a checkpoint; None if there is none, or none that can be read."""
    try:
        with h5py.File(path, "r") as file:
            return json.loads(str(file.attrs["about"]))
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError):
        return None


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a checkpoint: its arrays and what is said about them; None as for `about`, or if it is damaged."""
    said, found = about(path), {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.removeprefix("arrays/")] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
            whole = file.attrs["checksum"] == _checksum(found)
    except (OSError, KeyError, RuntimeError):
        return None
    return (found, said) if whole and said is not None else None


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Of all bytes: HDF5 itself would not tell a flipped one."""
    found = 0
    for name in sorted(arrays):
        found = zlib.crc32(np.ascontiguousarray(arrays[name]).data, zlib.crc32(name.encode(), found))
    return found
