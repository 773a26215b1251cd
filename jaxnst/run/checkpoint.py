"""The checkpoint of one run: whose it is, what it holds, when the next is due."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import math
import numbers
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jaxlib
import numpy as np
import optax

from jaxnst.batch import folders
from jaxnst.config.build import to_objective
from jaxnst.errors import InputError
from jaxnst.io import array_file as checkpoint
from jaxnst.io import save as saving
from jaxnst.run.loop import State, is_out_of_memory
from jaxnst.run.mesh import any_of, told_by_all
from jaxnst.run.record import Record, new_record

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxnst.config.config import Config
    from jaxnst.io.images import PathLike
    from jaxnst.run.memory_budget import Tile
    from jaxnst.run.plan import Plan

log = logging.getLogger("jaxnst")

EXTENSIONS = (".h5", ".hdf5")

DECIDE_TILES = ("size", "optimizer", "memory", "line_search", "statistic")
"""Settings that have a say in whether there are tiles, and how large."""

MOST_TOLD = 4
"""Settings that a refusal names, of those that differ."""


def check_minutes(minutes: float) -> None:
    """Refuse what is no duration.

    Raises:
      InputError: it is not.
    """
    if not isinstance(minutes, numbers.Real) or not math.isfinite(minutes) or minutes < 0:
        raise InputError(f"checkpoint_minutes: {minutes!r} is no duration; give 0 or more minutes.")


class Checkpoint:
    """The file of one run.

    It holds `arrays/picture` for people to look at, and what a run needs to go on. When the run is over, its
    result takes the place of that.
    """

    def __init__(self, path: PathLike, minutes: float, strict: bool = True) -> None:
        """Find out, before the work, whether the file will do; it need not exist.

        Args:
          path: of the file; `~` is the home folder.
          minutes: between two checkpoints; 0: at every step.
          strict: refuse a file that is damaged or another run's; otherwise it counts for nothing.

        Raises:
          InputError: it cannot be written or is no checkpoint, or the minutes are no duration.
        """
        check_minutes(minutes)
        self._strict = strict
        self.given = os.fspath(path)
        self.path = saving.check_file(path, "checkpoint")
        if self.path.suffix.lower() not in EXTENSIONS:
            raise InputError(f"checkpoint: {self.given!r} must end in {' or '.join(EXTENSIONS)}; rename it.")
        self._seconds = 60 * float(minutes)
        self._saved = time.monotonic()
        self.step = 0
        """That the file holds; 0: there is none."""
        self._whose: Mapping[str, Any] = {}
        self._mesh: Mesh | None = None
        self._ends: set[int] = set()
        self._about: Mapping[str, Any] | None = None
        self._look()

    def _look(self) -> None:
        there = self.path.exists()
        self._about = checkpoint.about(self.path) if there else None
        if there and (self._about is None or "whose" not in self._about):
            self._about = None
            self._refuse("is damaged or not a checkpoint of stylize; give another file")

    def _refuse(self, why: str) -> None:
        if self._strict:
            raise InputError(f"checkpoint: {self.given!r} {why}.")
        log.info("checkpoint: %s %s", self.given, why)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the file to this run meanwhile.

        Raises:
          InputError: another run keeps it.
        """
        if jax.process_index() > 0:  # the first of several processes writes it
            yield
            return
        with folders.only_one(self.path.with_name(f".{self.path.name}.lock")) as only:
            if not only:
                raise InputError(
                    f"checkpoint: another run is at work on {self.given!r}; wait, or give another file."
                )
            self._look()  # once more: it may have come to its end just now
            yield

    def tile(self, tile: Tile, config: Config) -> Tile:
        """The same, or where it is left to the memory, what that said when the run began."""
        if tile != "auto" or self._about is None:
            return tile
        there, here = self._about["whose"], json.loads(json.dumps(config.to_dict()))
        if any(there.get("config", {}).get(name) != here[name] for name in DECIDE_TILES):
            return tile  # of another run, which `record` will say
        return there["run"]["tile"]

    def record(self, plan: Plan, snapshots: int) -> Record:
        """What the file holds of this run, or a new record.

        Raises:
          InputError: it holds another run, or it is damaged, or not all processes of the run see it.
        """
        self._mesh, self._saved = plan.mesh, time.monotonic()
        record = self._record(plan, snapshots)
        if np.ptp(told_by_all(self._mesh, record.steps)):
            raise InputError(
                f"checkpoint: not all processes see the same {self.given!r}; give one that they all see."
            )
        return record

    def _record(self, plan: Plan, snapshots: int) -> Record:
        self._whose = json.loads(json.dumps(_whose(plan, snapshots)))
        self._ends = set(itertools.accumulate(map(plan.config.steps_at, range(len(plan.sizes) - 1))))
        if self._about is None:
            return new_record(plan)
        if differences := list(_differences(self._about["whose"], self._whose)):
            more = len(differences) - MOST_TOLD
            told = ", ".join(differences[:MOST_TOLD]) + (f", and {more} more" if more > 0 else "")
            self._refuse(f"is of another run ({told}); give another file, or delete it")
            return new_record(plan)
        found = checkpoint.load(self.path)
        if found is None:
            self._refuse("is damaged; give another file, or delete it")
            return new_record(plan)
        record = _read(*found, names=to_objective(plan.config).names)
        self.step = record.steps
        log.info("checkpoint: %s, after %d steps", self.given, self.step)
        return record

    def due(self, step: int) -> bool:
        """Whether the state after a step shall be saved: it is time, or a larger scale may be too much."""
        late = time.monotonic() - self._saved >= self._seconds
        return any_of(self._mesh, late or step in self._ends)

    def save(self, record: Record, state_of: Callable[[], State] | None) -> None:
        """Write it over the one before; if that fails, warn: the picture is worth more than its checkpoint.

        Args:
          record: of the run.
          state_of: gives the state after its last step; None: it is over.
        """
        try:
            contents = self._contents(record, state_of and state_of())  # by all processes of the run
            if jax.process_index() == 0:
                checkpoint.save(self.path, *contents)
            self.step = record.steps
        except (OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and not is_out_of_memory(error):
                raise
            warnings.warn(f"{self.given}: the checkpoint could not be written ({error})", stacklevel=2)
        self._saved = time.monotonic()

    def _contents(self, record: Record, state: State | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays, and what there is to say of them."""
        arrays = {"picture": record.picture()}
        arrays |= {f"history/{name}": np.array(of, np.float32) for name, of in record.history.items()}
        arrays |= {f"snapshots/{step}": of for step, of in record.snapshots.items()}
        about = {"whose": self._whose, "seconds": record.seconds, "ended": record.ended, "why": record.why}
        if state is not None:
            arrays |= {f"leaves/{index:04d}": leaf for index, leaf in enumerate(state.leaves)}
            arrays["good"] = state.good
            about |= {"step": state.step, "scale": state.scale, "ended": "", "why": ""}
        return arrays, about


def _read(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], names: Sequence[str]) -> Record:
    def under(group: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(group): arrays[name] for name in sorted(arrays) if name.startswith(group)}

    state = None
    if not about["ended"]:
        state = State(about["step"], about["scale"], list(under("leaves/").values()), arrays["good"])
    return Record(
        history={name: arrays[f"history/{name}"].tolist() for name in names},
        snapshots={int(step): of for step, of in under("snapshots/").items()},
        image=partial(np.asarray, arrays["picture"]),
        ended=about["ended"],
        why=about["why"],
        state=state,
        spent=about["seconds"],
    )


def _whose(plan: Plan, snapshots: int) -> dict[str, Any]:
    """All that decides the bits of a run, and what it keeps."""
    from jaxnst import __version__

    device = jax.local_devices()[0]
    # Files go by what is in them, wherever they are.
    config = plan.config.replace(content_masks=(), style_masks=())
    config = config if plan.start is None else config.replace(start="")
    return {
        "jaxnst": __version__,
        "run": {
            **{module.__name__: module.__version__ for module in (jax, jaxlib, optax)},
            "device": f"{device.platform} {device.device_kind}",
            "devices": 1 if plan.mesh is None else plan.mesh.size,
            "tile": plan.tile,
            "snapshots": snapshots,
        },
        "config": config.to_dict(),
        "digests": {
            "weights": plan.weights.sha256,
            **{name: _digest(array) for name, array in _pictures(plan)},
        },
    }


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def _pictures(plan: Plan) -> Iterator[tuple[str, np.ndarray]]:
    alone = {"content": plan.content, "start": plan.start}
    yield from ((name, array) for name, array in alone.items() if array is not None)
    several = {"style": plan.styles, "content_masks": plan.content_masks, "style_masks": plan.style_masks}
    for name, arrays in several.items():
        yield from ((f"{name} {index}", array) for index, array in enumerate(arrays, start=1))


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """In words."""
    if there["jaxnst"] != here["jaxnst"]:  # what else it says may have another form
        yield f"jaxnst {there['jaxnst']} there and {here['jaxnst']} here"
        return
    for of in ("run", "config"):
        old, new = there[of], here[of]
        yield from (f"{key} {old[key]} there and {new[key]} here" for key in new if old[key] != new[key])
    old, new = there["digests"], here["digests"]
    yield from (f"not the same {key}" for key in dict.fromkeys((*new, *old)) if old.get(key) != new.get(key))
