"""Where long work left off: arrays and a few words about them in one HDF5 file, whole or not there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint over the one before.

    Args:
      path: of the file.
      arrays: by name, a `/` in it makes groups; of any type that HDF5 has.
      about: what JSON can hold.

    Raises:
      OSError: the disk is full or the like; the old file is still there.
    """
    aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with h5py.File(aside, "w") as file:
            for name, array in arrays.items():
                file[f"arrays/{name}"] = array
            file.attrs["about"] = json.dumps(dict(about))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a checkpoint; None if there is none, or none that can be read."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            about = json.loads(str(file.attrs["about"]))
            arrays = file["arrays"]
            assert isinstance(arrays, h5py.Group)
            arrays.visititems(keep)
    except (OSError, KeyError, AssertionError, json.JSONDecodeError):
        return None
    return found, about
