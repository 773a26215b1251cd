"""Runs a study: what is not on disk yet, in batches of lanes, so that nothing is done twice or lost.

While a batch is computed, its state goes into `unfinished-KEY.h5` every minute, or less often where that
would take more than a twentieth of the time. Whoever finds the file goes on from there.
"""

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

from jaxnst import metrics
from jaxnst.config.config import Config
from jaxnst.config.resolve import gather
from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.io import array_file as checkpoint
from jaxnst.io import images
from jaxnst.io.leaves import leaves_of
from jaxnst.run import vectorised as lanes
from jaxnst.run.interrupts import Interrupted, stop_on_interrupt
from jaxnst.run.plan import Plan, prepare
from jaxnst.studies import results
from jaxnst.studies.runs import Run, pooled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from jaxtyping import Float
    from tqdm import tqdm

log = logging.getLogger("jaxnst")

SECONDS_BETWEEN_CHECKPOINTS = 60
SHARE_FOR_CHECKPOINTS = 0.05
"""Of the time, at most: the optimisers' memory of many lanes is large."""


class Asked(NamedTuple):
    """What cells ask of a run beside its settings.

    Attributes:
      name: of one of them, for messages.
      shown: layers whose features the report shows.
    """

    name: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """Runs that are known to be possible, and what they are computed from.

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

    def done(self, run: Run) -> results.Done | None:
        """A run that is on disk."""
        return results.read_run(self.place(run), run.looks)

    def plan(self, run: Run) -> Plan:
        """A run, ready to be computed."""
        return _plan(run, self.configs[run], self.pictures)

    def unfinished(self, batch: Sequence[Run]) -> Path:
        """The checkpoint of a batch."""
        keys = " ".join(self.keys[run] for run in batch)
        return self.folder / f"unfinished-{hashlib.sha256(keys.encode()).hexdigest()[:16]}.h5"


class Begun(NamedTuple):
    """What is known of a batch on its way.

    Attributes:
      step: that comes next.
      losses: by name, one array of all lanes for each step.
      pictures: of all lanes, by look.
      seconds: by look, since the start.
      spent: since the start, in all.
    """

    step: int
    losses: dict[str, list[Float[np.ndarray, " lanes"]]]
    pictures: dict[int, Float[np.ndarray, "lanes h w 3"]]
    seconds: dict[int, float]
    spent: float


def check(
    runs: Mapping[Run, Asked], pictures: Mapping[str, Float[np.ndarray, "h w 3"]], folder: Path, size: int
) -> Job:
    """Find out, before anything runs, that every run can be made, measured and shown.

    Args:
      runs: with what is asked of each.
      pictures: by the names that runs call them by.
      folder: of the study.
      size: longer side at which pictures will be measured, in pixels.

    Raises:
      InputError: some run cannot be, with its name.
    """
    digests = {name: _digest(f"{of.shape}".encode() + of.tobytes()) for name, of in pictures.items()}
    configs = pooled(runs)
    keys, programs, unseen = {}, {}, []
    for run, asked in runs.items():
        try:
            plan = _plan(run, configs[run], pictures)
        except InputError as error:
            raise InputError(f"{asked.name}: {error}") from error
        unseen += [
            f"{asked.name}: {why}" for why in (*_unmeasurable(plan, size), *_unshown(plan, asked.shown))
        ]
        for file in run.files:
            digests[file] = _digest(images.expand(file).read_bytes())
        keys[run] = run.key(digests, plan.weights.sha256)
        programs[run] = lanes.program(plan)
    if unseen:  # told last: the size for measuring is the smallest of a cell, which may itself be the mistake
        raise InputError(unseen[0])
    return Job(folder, pictures, configs, keys, programs)


def _unmeasurable(plan: Plan, size: int) -> Iterator[str]:
    picture = images.fit_size(plan.sizes[-1], size)
    styles = [images.fit_size((of.shape[0], of.shape[1]), max(picture)) for of in plan.styles]
    for name, (height, width) in (("size", picture), *(("style", style) for style in styles)):
        if min(height, width) < metrics.LEAST_SIDE:
            yield (
                f"{name}: {width}x{height} pixels, as it is compared, are too few to measure; at least "
                f"{metrics.LEAST_SIDE} are needed on each side."
            )


def _unshown(plan: Plan, layers: Sequence[str]) -> Iterator[str]:
    height, width = plan.sizes[-1]
    for layer in layers:
        if min(height, width) < vgg.stride(layer):
            yield f"feature_maps: {width}x{height} pixels are too few for {layer}; leave it out."


def run_all(job: Job, progress: bool, failed: dict[Run, str], after: Callable[[], Any]) -> None:
    """Compute what is not on disk yet.

    Args:
      job: from `check`.
      progress: show a bar on standard error.
      failed: filled with why a run failed, of those that do; they are tried again next time.
      after: called after each batch.

    Raises:
      Interrupted: by Ctrl-C; the next call goes on where this one stopped.
      OSError: the disk is full or the like.
    """
    from tqdm import tqdm

    left = [run for run in job.programs if job.done(run) is None]
    steps, open_steps = (sum(run.config.steps for run in runs) for runs in (job.programs, left))
    bar = tqdm(total=steps, initial=steps - open_steps, unit="step", dynamic_ncols=True, disable=not progress)
    with stop_on_interrupt() as interrupted, bar:
        for batch, begun in _batches(job, left):
            _robustly(job, batch, begun, bar, interrupted, failed)
            after()


def _batches(job: Job, left: Sequence[Run]) -> Iterator[tuple[list[Run], Path | None]]:
    """What was begun, with its checkpoint; then the rest, in even batches that memory holds."""
    rest = list(left)
    for path in sorted(job.folder.glob("unfinished-*.h5")):
        batch = _begun_at(job, path)
        if batch is None:
            continue
        holds = lanes.most(job.plan(batch[0]), share=1)  # some of what was free may be taken since
        if len(batch) <= holds and any(run in rest for run in batch):
            rest = [run for run in rest if run not in batch]
            yield batch, path
        else:  # done since, or it was too much for the memory
            path.unlink()
    groups: dict[Hashable, list[Run]] = defaultdict(list)
    for run in rest:
        groups[job.programs[run]].append(run)
    for group in groups.values():
        count = -(-len(group) // lanes.most(job.plan(group[0])))
        for part in np.array_split(np.arange(len(group)), count):
            yield [group[index] for index in part], None


def _begun_at(job: Job, path: Path) -> list[Run] | None:
    """The runs of a checkpoint; None if they are not this job's, or not to be looked at as they were."""
    about = checkpoint.about(path)
    if about is None:
        path.unlink()
        return None
    by_key = {key: run for run, key in job.keys.items()}
    batch = [by_key[key] for key in about["runs"] if key in by_key]
    same = len(batch) == len(about["runs"]) and all(
        run.config.steps == about["steps"] and {*run.looks} <= {*about["looks"]} for run in batch
    )
    if not same and all(results.read_run(job.folder / "runs" / key, about["looks"]) for key in about["runs"]):
        path.unlink()
    return batch if same else None


def _robustly(
    job: Job,
    batch: Sequence[Run],
    begun: Path | None,
    bar: tqdm,
    interrupted: threading.Event,
    failed: dict[Run, str],
) -> None:
    """Compute a batch; if that fails, its halves, so that what fails is found and the others are not lost."""
    before = bar.n
    try:
        _compute(job, batch, begun, bar, interrupted)
    except (Interrupted, OSError):
        raise
    except Exception as error:  # out of memory, or whatever a statistic of the user's own raises
        bar.n = before
        job.unfinished(batch).unlink(missing_ok=True)
        if len(batch) == 1:
            log.info("a run failed", exc_info=True)
            failed[batch[0]] = f"{type(error).__name__}: {error}".splitlines()[0]
            return
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            _robustly(job, part, None, bar, interrupted, failed)


def _compute(
    job: Job, batch: Sequence[Run], begun: Path | None, bar: tqdm, interrupted: threading.Event
) -> None:
    """Work through a batch, with checkpoints, and write its runs."""
    plans = lanes.gather(map(job.plan, batch))
    looks = sorted({look for run in batch for look in run.looks})
    path = job.unfinished(batch)
    known, states = Begun(0, {}, {}, {}, 0.0), None
    if begun is not None and (found := checkpoint.load(begun)) is not None:
        known, leaves = _read_begun(*found)
        states = lanes.optimise(plans, (known.step, leaves))
        del found, leaves
    bar.update(len(batch) * max(known.step - 1, 0))
    began = saved = time.perf_counter()
    wait = SECONDS_BETWEEN_CHECKPOINTS
    for state in states or lanes.optimise(plans):
        for name, losses in state.losses.items():
            known.losses.setdefault(name, []).append(losses)
        now = time.perf_counter()
        if state.step in looks:
            known.pictures[state.step] = state.images
            known.seconds[state.step] = known.spent + now - began
        if state.step:
            bar.update(len(batch))
        if interrupted.is_set() or now - saved > wait:
            here = known._replace(step=state.step + 1, spent=known.spent + now - began)
            arrays = _arrays_of(here, leaves_of(state.state))
            about = {"runs": [job.keys[run] for run in batch], "steps": batch[0].config.steps, "looks": looks}
            checkpoint.save(path, arrays, about | _numbers_of(here))
            del arrays
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
        results.write_run(job.place(run), run, losses, pictures, about)
    for each in (path, begun):
        if each is not None:
            each.unlink(missing_ok=True)


def _arrays_of(begun: Begun, leaves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {f"leaves/{index:04d}": leaf for index, leaf in enumerate(leaves)}
    arrays |= {f"losses/{name}": np.array(steps) for name, steps in begun.losses.items()}
    return arrays | {f"pictures/{look}": pictures for look, pictures in begun.pictures.items()}


def _numbers_of(begun: Begun) -> dict[str, Any]:
    names = list(begun.losses)
    return {"step": begun.step, "seconds": begun.seconds, "spent": begun.spent, "names": names}


def _read_begun(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> tuple[Begun, list[np.ndarray]]:
    leaves = [arrays[name] for name in sorted(arrays) if name.startswith("leaves/")]
    begun = Begun(
        step=about["step"],
        losses={name: list(arrays[f"losses/{name}"]) for name in about["names"]},
        pictures={int(look): arrays[f"pictures/{look}"] for look in about["seconds"]},
        seconds={int(look): seconds for look, seconds in about["seconds"].items()},
        spent=about["spent"],
    )
    return begun, leaves


def _plan(run: Run, config: Config, pictures: Mapping[str, Float[np.ndarray, "h w 3"]]) -> Plan:
    content = None if run.content is None else pictures[run.content]
    styles = [pictures[name] for name in run.styles]
    return prepare(*gather(content, styles or None, None, None, config))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
