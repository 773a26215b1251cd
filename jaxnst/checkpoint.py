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


def about(path: Path) -> dict[str, Any] | None:
    """What is said about the arrays of a checkpoint; None if there is none, or none that can be read."""
    try:
        with h5py.File(path, "r") as file:
            return json.loads(str(file.attrs["about"]))
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError):
        return None


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a checkpoint: its arrays and what is said about them; None as for `about`."""
    said, found = about(path), {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.removeprefix("arrays/")] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError):
        return None
    return None if said is None else (found, said)
