"""The checkpoint of one run: whose it is, what it holds, and when the next is due."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import numbers
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jaxlib
import numpy as np
import optax

from jaxnst.config.version import version
from jaxnst.errors import InputError
from jaxnst.io import array_file, files
from jaxnst.run.ended import Ended
from jaxnst.run.loop import Hook, Outcome, Progress, is_out_of_memory
from jaxnst.run.mesh import any_process, numbers_of_all
from jaxnst.run.state import SavedState

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.config.config import Config
    from jaxnst.io.files import PathLike
    from jaxnst.run.hooks import Record
    from jaxnst.run.memory_budget import Tile
    from jaxnst.run.plan import Plan
    from jaxnst.run.scale import Scale
    from jaxnst.run.state import State

log = logging.getLogger("jaxnst")

EXTENSIONS = (".h5", ".hdf5")

DECIDE_TILES = (
    *("size", "optimizer", "history_size", "line_search"),
    *("statistic", "hypercolumns", "content_loss", "palette_weight"),
)
"""Settings that decide whether there are tiles, and how large."""

METADATA_BYTES = 1_000_000
"""An upper bound of what a checkpoint holds beside its arrays."""

MOST_NAMED = 4
"""Differing settings that a refusal names."""


class Over(NamedTuple):
    """The result of a run that is over, as a checkpoint holds it."""

    picture: Float[np.ndarray, "h w 3"]
    ended: Ended
    why: str


def check_minutes(minutes: float) -> None:
    """Refuses `checkpoint_minutes` unless they are a finite number, 0 or more.

    Raises:
      InputError: they are not.
    """
    if not isinstance(minutes, numbers.Real) or not math.isfinite(minutes) or minutes < 0:
        raise InputError(f"checkpoint_minutes: {minutes!r} is no duration; give 0 or more minutes.")


class Checkpoint(Hook):
    """Keeps one run in an HDF5 file, so that it can go on after a stop, a crash or `kill -9`.

    The file holds `arrays/picture` for people to look at, and what the run needs to go on: the state, the
    history and the snapshots. When the run is over, its result takes the place of the state.
    """

    def __init__(self, path: PathLike, minutes: float, strict: bool = True) -> None:
        """Finds out, before the work, whether the file can be used; it need not exist.

        Args:
          path: of the file; `~` is the home folder.
          minutes: between two checkpoints; 0: after every step.
          strict: whether to refuse a file that is damaged or another run's; otherwise it is ignored.

        Raises:
          InputError: it cannot be written or is no checkpoint, or the minutes are no duration.
        """
        check_minutes(minutes)
        self._strict = strict
        self.name = os.fspath(path)
        self.path = files.check_file(path, "checkpoint")
        if self.path.suffix.lower() not in EXTENSIONS:
            raise InputError(f"checkpoint: {self.name!r} must end in {' or '.join(EXTENSIONS)}; rename it.")
        self._seconds = 60 * float(minutes)
        self._saved = time.monotonic()
        self._loaded: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None

    def _about(self) -> Mapping[str, Any] | None:
        """Reads what the file says of its run; None if there is no file, or it cannot be used."""
        if not self.path.exists():
            return None
        about = array_file.about(self.path) or {}
        if "owner" in about:
            return about
        what = "is of an older jaxnst" if "whose" in about else "is damaged or not a checkpoint of stylize"
        self._refuse(f"{what}; give another file")
        return None

    def _refuse(self, why: str) -> None:
        if self._strict:
            raise InputError(f"checkpoint: {self.name!r} {why}.")
        log.info("checkpoint: %s %s", self.name, why)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Locks the file for this run.

        Raises:
          InputError: another run has locked it.
        """
        if jax.process_index() > 0:  # the first of several processes writes it
            yield
            return
        lock = self.path.with_name(f".{self.path.name}.lock")
        with files.locked(lock, "checkpoint") as locked:
            if not locked:
                raise InputError(
                    f"checkpoint: another run is at work on {self.name!r}; wait, or give another file."
                )
            yield

    def tile(self, tile: Tile, config: Config) -> Tile:
        """Returns `tile`, or for auto what the run in the file began with."""
        about = self._about()
        if tile != "auto" or about is None:
            return tile
        old, new = about["owner"], json.loads(json.dumps(config.to_dict()))
        if any(old.get("config", {}).get(name) != new[name] for name in DECIDE_TILES):
            return tile  # another run's, which `load` will say
        return old["run"]["tile"]

    def load(self, plan: Plan, snapshots: int = 0) -> int:
        """Reads what the file holds of a run.

        Args:
          plan: of the run.
          snapshots: the run keeps the picture after every so many steps.

        Returns:
          Steps that the file has of it.

        Raises:
          InputError: the file is another run's or damaged, or not all processes of the run see it.
        """
        self._plan, self._saved = plan, time.monotonic()
        self._owner = json.loads(json.dumps(_owner(plan, snapshots)))
        self._loaded = self._read()
        steps = 0 if self._loaded is None else len(self._loaded[0]["history/total"])
        if np.ptp(numbers_of_all(plan.steps.placement, steps)):
            raise InputError(
                f"checkpoint: not all processes see the same {self.name!r}; give one that they all see."
            )
        log.info("checkpoint: %s, after %d steps", self.name, steps)
        return steps

    def _read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        if (about := self._about()) is None:
            return None
        if differences := list(_differences(about["owner"], self._owner)):
            more = len(differences) - MOST_NAMED
            names = ", ".join(differences[:MOST_NAMED]) + (f", and {more} more" if more > 0 else "")
            self._refuse(f"is of another run ({names}); give another file, or delete it")
            return None
        loaded = array_file.load(self.path)
        if loaded is None:
            self._refuse("is damaged; give another file, or delete it")
        return loaded

    def resume(self, record: Record) -> Over | None:
        """Fills the record of the run from the file; returns the result of a run that is over."""
        self._record = record
        if self._loaded is None:
            return None
        arrays, about = self._loaded
        record.history = {name: arrays[f"history/{name}"].tolist() for name in about["names"]}
        record.snapshots = {int(step): picture for step, picture in _group(arrays, "snapshots/").items()}
        record.began -= about["seconds"]
        return Over(arrays["picture"], Ended(about["ended"]), about["why"]) if about["ended"] else None

    def take_state(self) -> SavedState | None:
        """Returns the state in the file, which is large, and keeps it no longer."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return None
        arrays, about = loaded
        return SavedState(about["step"], about["scale"], list(_group(arrays, "leaves/").values()))

    def settles(self, step: int) -> bool:
        """Settles a step if a checkpoint is due: it is time, or the next scale may need too much memory."""
        late = time.monotonic() - self._saved >= self._seconds
        return any_process(self._plan.steps.placement, late or step in self._plan.ends[:-1])

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Writes a checkpoint if one is due."""
        if state is not None and self.settles(progress.step):
            self._save(progress.image, state, scale)

    def close(self, outcome: Outcome, picture: Float[np.ndarray, "h w 3"], why: str) -> str:
        """Writes the last checkpoint of a run: its result if it is over, else the state to go on from.

        Returns:
          What to add to the warning that says why the run ended.
        """
        if outcome.ended.is_final:
            self._save(picture, None, outcome.scale, outcome.ended, why)
        elif outcome.state is not None and outcome.state.is_whole:
            self._save(picture, outcome.state, outcome.scale)
        if outcome.ended is not Ended.out_of_memory:
            return ""
        about = array_file.about(self.path) or {}
        return f"; the same call goes on after step {about.get('step', 0)}"

    def _save(
        self,
        picture: Float[np.ndarray, "h w 3"],
        state: State | None,
        scale: Scale | None,
        ended: str = "",
        why: str = "",
    ) -> None:
        """Replaces the file; if that fails, warns: the picture is worth more than its checkpoint."""
        assert scale is not None
        try:
            saved = None if state is None else scale.save(state)  # by all processes of the run
            if jax.process_index() == 0:
                record, arrays = self._record, {"picture": picture}
                arrays |= {
                    f"history/{name}": np.array(losses, np.float32) for name, losses in record.history.items()
                }
                arrays |= {f"snapshots/{step}": snapshot for step, snapshot in record.snapshots.items()}
                about = {"owner": self._owner, "seconds": record.seconds, "names": list(record.history)}
                about |= {"ended": ended, "why": why}
                if saved is not None:
                    arrays |= {f"leaves/{index:04d}": leaf for index, leaf in enumerate(saved.leaves)}
                    about |= {"step": saved.step, "scale": saved.scale}
                _check_space(self.path, arrays)
                array_file.save(self.path, arrays, about)
        except (OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and not is_out_of_memory(error):
                raise
            warnings.warn(f"{self.name}: the checkpoint could not be written ({error})", stacklevel=2)
        self._saved = time.monotonic()


def _check_space(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises an OSError where the disk is too full for a file, since HDF5 does not survive a failed write."""
    needed = sum(array.nbytes for array in arrays.values()) + METADATA_BYTES
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): arrays[name] for name in sorted(arrays) if name.startswith(prefix)}


def _owner(plan: Plan, snapshots: int) -> dict[str, Any]:
    """Collects all that decides the bits of a run, and what it keeps."""
    device, placement = jax.local_devices()[0], plan.steps.placement
    # Files count by their contents, wherever they are.
    config = plan.config.replace(content_masks=(), style_masks=())
    config = config if plan.start is None else config.replace(start="")
    return {
        "jaxnst": version(),
        "run": {
            **{module.__name__: module.__version__ for module in (jax, jaxlib, optax)},
            "device": f"{device.platform} {device.device_kind}",
            "devices": placement.pairs * placement.rows,
            "tile": plan.steps.tile,
            "snapshots": snapshots,
        },
        "config": config.to_dict(),
        "digests": {
            "weights": plan.weights.sha256,
            **{name: array_file.digest(array) for name, array in _pictures(plan)},
        },
    }


def _pictures(plan: Plan) -> Iterator[tuple[str, np.ndarray]]:
    single = {"content": plan.content, "start": plan.start}
    yield from ((name, array) for name, array in single.items() if array is not None)
    several = {"style": plan.styles, "content_masks": plan.content_masks, "style_masks": plan.style_masks}
    for name, arrays in several.items():
        yield from ((f"{name} {index}", array) for index, array in enumerate(arrays, start=1))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Describes what differs between the run in the file and this one."""
    if old["jaxnst"] != new["jaxnst"]:  # the rest may have another form
        yield f"jaxnst {old['jaxnst']} there and {new['jaxnst']} here"
        return
    for part in ("run", "config"):
        there, here = old[part], new[part]
        yield from (
            f"{key} {there.get(key)} there and {here[key]} here"
            for key in here
            if there.get(key) != here[key]
        )
    there, here = old["digests"], new["digests"]
    yield from (
        f"not the same {key}" for key in dict.fromkeys((*here, *there)) if there.get(key) != here.get(key)
    )
