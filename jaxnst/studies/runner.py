"""Runs a study: what is not on disk yet, in batches of lanes, so that nothing is done twice or lost."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxnst import checkpoint, lanes, metrics
from jaxnst.config import Config
from jaxnst.errors import InputError
from jaxnst.plan import Pictures, Plan, prepare
from jaxnst.studies import folder as folders
from jaxnst.studies.runs import Run, pooled
from jaxnst.stylize import stop_on_interrupt

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from jaxtyping import Float

log = logging.getLogger("jaxnst")

SECONDS_BETWEEN_CHECKPOINTS = 60
SHARE_FOR_CHECKPOINTS = 0.05
"""Of the time, at most: the optimisers' memory of many lanes is large, and then checkpoints are rarer."""


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C; everything is saved."""


@dataclass(frozen=True)
class Work:
    """Runs that are known to be possible.

    Attributes:
      folder: of the study.
      pictures: by name, float32 [H, W, 3].
      configs: with which each run is computed.
      keys: by which each is known on disk.
      programs: which may be computed together: those with equal values.
    """

    folder: Path
    pictures: Mapping[str, Float[np.ndarray, "h w 3"]]
    configs: Mapping[Run, Config]
    keys: Mapping[Run, str]
    programs: Mapping[Run, Hashable]

    def place(self, run: Run) -> Path:
        """Where a run is kept."""
        return self.folder / "runs" / self.keys[run]

    def plan(self, run: Run) -> Plan:
        """A run, ready to be computed."""
        return _plan(run, self.configs[run], self.pictures)

    @property
    def unfinished(self) -> Path:
        """The checkpoint of what is being computed."""
        return self.folder / "unfinished.h5"


class Lanes(NamedTuple):
    """What is known of some runs on the way.

    Attributes:
      step: that comes next.
      leaves: of the lanes' state; None: none was made yet.
      losses: by name, one array of all lanes for each step.
      pictures: of all lanes, by look.
      seconds: by look, since the start.
      spent: since the start, in all.
    """

    step: int
    leaves: Sequence[np.ndarray] | None
    losses: dict[str, list[Float[np.ndarray, " lanes"]]]
    pictures: dict[int, Float[np.ndarray, "lanes h w 3"]]
    seconds: dict[int, float]
    spent: float


def check(runs: Mapping[Run, str], pictures: Mapping[str, Float[np.ndarray, "h w 3"]], folder: Path) -> Work:
    """Find out, before anything runs, that every run can be.

    Args:
      runs: with a name for messages.
      pictures: by the names that runs call them by.
      folder: of the study.

    Raises:
      InputError: some run cannot be, with its name.
    """
    digests = {name: _digest(picture) for name, picture in pictures.items()}
    configs = pooled(runs)
    keys, programs = {}, {}
    for run, name in runs.items():
        try:
            plan = _plan(run, configs[run], pictures)
            if min(plan.sizes[-1]) < metrics.LEAST_SIDE:
                height, width = plan.sizes[-1]
                raise InputError(
                    f"size: {width}x{height} are too few to measure, least {metrics.LEAST_SIDE}."
                )
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        keys[run] = run.key(digests, plan.weights.sha256)
        programs[run] = lanes.program(plan)
    return Work(folder, pictures, configs, keys, programs)


def work(todo: Work, progress: bool) -> dict[Run, str]:
    """Compute what is not on disk yet.

    Args:
      todo: from `check`.
      progress: show a bar on standard error.

    Returns:
      Why a run failed, of those that did; they are tried again next time.

    Raises:
      Interrupted: by Ctrl-C; the next call goes on where this one stopped.
      OSError: the disk is full or the like.
    """
    from tqdm import tqdm

    failed: dict[Run, str] = {}
    open_runs = [run for run in todo.programs if folders.read_run(todo.place(run)) is None]
    steps = sum(run.config.steps for run in todo.programs)
    left = sum(run.config.steps for run in open_runs)
    bar = tqdm(total=steps, initial=steps - left, unit="step", dynamic_ncols=True, disable=not progress)
    with stop_on_interrupt() as interrupted, bar:
        for batch, begun in _batches(todo, open_runs):
            failed |= _robustly(todo, batch, begun, bar.update, interrupted)
    todo.unfinished.unlink(missing_ok=True)
    return failed


def _batches(todo: Work, open_runs: Sequence[Run]) -> Iterator[tuple[list[Run], Lanes | None]]:
    """What was begun, then the rest, in even batches that memory holds."""
    rest = list(open_runs)
    found = checkpoint.load(todo.unfinished)
    if found is not None:
        by_key = {todo.keys[run]: run for run in rest}
        arrays, about = found
        if all(key in by_key for key in about["runs"]):
            batch = [by_key[key] for key in about["runs"]]
            rest = [run for run in rest if run not in batch]
            yield batch, _read_lanes(arrays, about)
    groups: dict[Hashable, list[Run]] = defaultdict(list)
    for run in rest:
        groups[todo.programs[run]].append(run)
    for group in groups.values():
        count = -(-len(group) // lanes.most(todo.plan(group[0])))
        for part in np.array_split(np.arange(len(group)), count):
            yield [group[index] for index in part], None


def _robustly(
    todo: Work,
    batch: Sequence[Run],
    begun: Lanes | None,
    tell: Callable[[int], Any],
    interrupted: threading.Event,
) -> dict[Run, str]:
    """Compute a batch; if that fails, its halves, so that what fails is found and the others are not lost."""
    try:
        _compute(todo, batch, begun, tell, interrupted)
    except (Interrupted, OSError):
        raise
    except Exception as error:  # out of memory, or whatever a statistic of the user's own raises
        if len(batch) == 1:
            log.warning("a run failed: %s", error)
            return {batch[0]: f"{type(error).__name__}: {error}".splitlines()[0]}
        half = len(batch) // 2
        return {
            run: why
            for part in (batch[:half], batch[half:])
            for run, why in _robustly(todo, part, None, tell, interrupted).items()
        }
    return {}


def _compute(
    todo: Work,
    batch: Sequence[Run],
    begun: Lanes | None,
    tell: Callable[[int], Any],
    interrupted: threading.Event,
) -> None:
    """Work through a batch, with a checkpoint every minute, and write its runs."""
    plans = lanes.gather(map(todo.plan, batch))
    looks = {look for run in batch for look in run.looks}
    known = begun or Lanes(0, None, {}, {}, {}, 0.0)
    began = saved = time.perf_counter()
    wait = SECONDS_BETWEEN_CHECKPOINTS
    tell(len(batch) * known.step)
    resume = None if known.leaves is None else (known.step, known.leaves)
    for state in lanes.optimise(plans, resume):
        for name, losses in state.losses.items():
            known.losses.setdefault(name, []).append(losses)
        now = time.perf_counter()
        if state.step in looks:
            known.pictures[state.step] = state.images
            known.seconds[state.step] = known.spent + now - began
        if state.step:
            tell(len(batch))
        if interrupted.is_set() or now - saved > wait:
            spent = known.spent + now - began
            here = known._replace(step=state.step + 1, leaves=lanes.leaves_of(state.state), spent=spent)
            _write_lanes(todo, batch, here)
            saved = time.perf_counter()
            wait = max(SECONDS_BETWEEN_CHECKPOINTS, (saved - now) / SHARE_FOR_CHECKPOINTS)
        if interrupted.is_set():
            raise Interrupted
    device = jax.devices()[0].device_kind
    for lane, run in enumerate(batch):
        about = {
            "weights_sha256": plans[lane].weights.sha256,
            "device": device,
            "lanes": len(batch),
            "seconds": {look: round(known.seconds[look] / len(batch), 3) for look in run.looks},
        }
        losses = {name: np.array([of[lane] for of in steps]) for name, steps in known.losses.items()}
        pictures = {look: known.pictures[look][lane] for look in run.looks}
        folders.write_run(todo.place(run), run, losses, pictures, about)


def _write_lanes(todo: Work, batch: Sequence[Run], known: Lanes) -> None:
    arrays = {f"leaves/{index:04d}": leaf for index, leaf in enumerate(known.leaves or ())}
    arrays |= {f"losses/{name}": np.array(steps) for name, steps in known.losses.items()}
    arrays |= {f"pictures/{look}": pictures for look, pictures in known.pictures.items()}
    about = {
        "runs": [todo.keys[run] for run in batch],
        "names": list(known.losses),
        "step": known.step,
        "seconds": known.seconds,
        "spent": known.spent,
    }
    checkpoint.save(todo.unfinished, arrays, about)


def _read_lanes(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Lanes:
    leaves = sorted(name for name in arrays if name.startswith("leaves/"))
    return Lanes(
        step=about["step"],
        leaves=[arrays[name] for name in leaves],
        losses={name: list(arrays[f"losses/{name}"]) for name in about["names"]},
        pictures={int(look): arrays[f"pictures/{look}"] for look in about["seconds"]},
        seconds={int(look): seconds for look, seconds in about["seconds"].items()},
        spent=about["spent"],
    )


def _plan(run: Run, config: Config, pictures: Mapping[str, Float[np.ndarray, "h w 3"]]) -> Plan:
    content = None if run.content is None else pictures[run.content]
    return prepare(Pictures(content, [pictures[name] for name in run.styles]), config)


def _digest(picture: Float[np.ndarray, "h w 3"]) -> str:
    return hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).hexdigest()
