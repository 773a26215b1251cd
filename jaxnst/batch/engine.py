"""The local engine: jobs are read ahead, and those that can share a program are computed together.

Jobs whose pictures have one size, under settings that differ in numbers only, are lanes of one program (see
`jaxnst.run.vectorised`). The memory decides how many run at once. Knows nothing of files written.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jaxnst.errors import TooLargeError
from jaxnst.run import vectorised
from jaxnst.run.ended import Ended
from jaxnst.run.hooks import StopWhen
from jaxnst.run.interrupts import Interrupted
from jaxnst.run.loop import is_out_of_memory
from jaxnst.run.memory_budget import available_bytes, host_bytes
from jaxnst.run.mesh import Placement, for_pairs
from jaxnst.run.networks import Networks
from jaxnst.run.plan import Plan, prepare
from jaxnst.run.result import Result, run_plan

if TYPE_CHECKING:
    from jaxnst.batch.jobs import Job
    from jaxnst.run.checkpoint import Checkpoint
    from jaxnst.run.memory_budget import Tile

log = logging.getLogger("jaxnst")

READERS = 4
"""Threads that read and decode."""

AHEAD = 4 * vectorised.MOST_LANES
"""Jobs, for each device, that are read before their turn at most: enough to find lanes among a few sizes."""

SHARE_AHEAD = 0.1
"""Share of the host's free memory that these may take."""


class Ready(NamedTuple):
    """A job whose pictures are read.

    Attributes:
      number: of the job.
      job: as it was given.
      plan: what to compute.
      program: equal for jobs that may be computed together.
      file: for its checkpoints, if it is computed alone.
    """

    number: int
    job: Job
    plan: Plan
    program: Hashable
    file: Checkpoint | None

    @property
    def bytes(self) -> int:
        """Host memory of the job's pictures and masks, in bytes, held until the job is computed."""
        pictures = (self.plan.content, self.plan.start, *self.plan.styles)
        masks = (*self.plan.content_masks, *self.plan.style_masks)
        return sum(array.nbytes for array in (*pictures, *masks) if array is not None)


def run_jobs(
    jobs: Iterable[Job],
    tile: Tile = "auto",
    stop: Callable[[], bool] = lambda: False,
    networks: Networks | None = None,
    placements: Sequence[Placement] | None = None,
    checkpoint_of: Callable[[Job], Checkpoint | None] = lambda job: None,
) -> Iterator[tuple[int, Result | Exception]]:
    """Makes the result of every job.

    Args:
      jobs: taken from as they are needed.
      tile: as for `stylize`.
      stop: asked between steps.
      networks: those that are loaded already.
      placements: as for `prepare`; default one device.
      checkpoint_of: gives the checkpoint of a job. Jobs that are computed alone use it; they take long.

    Returns:
      An iterator over numbers of jobs, from 0, each with its result or the error that prevented it: an
      `InputError`, or for example a lack of memory. In no particular order.

    Raises:
      Interrupted: `stop` said so. What is being computed is lost, except for checkpoints.
    """
    networks, numbered = networks or Networks(), enumerate(jobs)
    placements = for_pairs(None) if placements is None else placements
    ahead = AHEAD * placements[0].pairs * placements[0].rows
    available, most_bytes = available_bytes(placements[0]), SHARE_AHEAD * host_bytes()

    def read(number: int, job: Job) -> Ready:
        file = checkpoint_of(job)
        plan_of = partial(prepare, job.pictures, job.config, networks=networks, available=available)
        plan = None
        begun_with = tile if file is None else file.tile(tile, job.config)
        if begun_with != tile:  # a run that began in tiles goes on in them, if memory still holds them
            with contextlib.suppress(TooLargeError):
                plan = plan_of(tile=begun_with)
        plan = plan or plan_of(tile=tile, placements=placements)
        return Ready(number, job, plan, vectorised.program(plan), file)

    reading: dict[Future[Ready], int] = {}
    waiting: dict[Hashable, list[Ready]] = collections.defaultdict(list)
    largest = 0  # of the jobs that have been read, in bytes
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="jaxnst-read")
    try:
        while not stop():
            held = [ready for same_program in waiting.values() for ready in same_program]
            room = ahead - len(held) if largest else READERS
            if largest:
                room = min(room, int((most_bytes - sum(ready.bytes for ready in held)) // largest))
            to_read = max(room - len(reading), 0 if held or reading else 1)
            for number, job in itertools.islice(numbered, to_read):
                reading[pool.submit(read, number, job)] = number
            full = [ready for ready in waiting.values() if len(ready) >= vectorised.most_lanes(ready[0].plan)]
            if reading and not full and (room > 0 or not held):
                for done in wait(reading, return_when=FIRST_COMPLETED).done:
                    number = reading.pop(done)
                    error = done.exception()
                    if error is None:
                        ready = done.result()
                        largest = max(largest, ready.bytes)
                        waiting[ready.program].append(ready)
                    elif isinstance(error, Exception):
                        yield number, error
                    else:
                        raise error
            elif waiting:
                same_program = full[0] if full else max(waiting.values(), key=len)
                count = min(len(same_program), vectorised.most_lanes(same_program[0].plan))
                group, same_program[:count] = same_program[:count], []
                if not same_program:
                    del waiting[group[0].program]
                yield from _results(group, stop)
            else:
                return
        raise Interrupted
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _results(group: Sequence[Ready], stop: Callable[[], bool]) -> Iterator[tuple[int, Result | Exception]]:
    """Computes jobs together; if that fails, each half, until the job at fault is alone."""
    try:
        results = _compute(group, stop)
    except Exception as error:  # out of memory, or whatever a statistic of the user's own raises
        log.info("%d jobs failed", len(group), exc_info=True)
        failure = _without_frames(error)
    else:
        yield from zip((ready.number for ready in group), results, strict=True)
        return
    if len(group) > 1:
        half = len(group) // 2
        yield from _results(group[:half], stop)
        yield from _results(group[half:], stop)
        return
    [ready] = group
    if is_out_of_memory(failure) and not _runs_alone(group):
        try:  # `run_plan` ends with the last good picture
            yield ready.number, _alone(ready, stop)
            return
        except Exception as error:
            failure = _without_frames(error)
    yield ready.number, failure


def _without_frames(error: Exception) -> Exception:
    """Drops the calls that an error went through, whose arrays would keep their memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _runs_alone(group: Sequence[Ready]) -> bool:
    return len(vectorised.filled_up([ready.plan for ready in group])) == 1


def _compute(group: Sequence[Ready], stop: Callable[[], bool]) -> Sequence[Result | Exception]:
    if _runs_alone(group):
        return [_alone(group[0], stop)]
    hooks = [StopWhen(stop, group[0].plan.steps.placement)]
    snapshot_steps = frozenset[int]().union(*(ready.job.snapshot_steps for ready in group))
    final_losses = any(ready.job.final_losses for ready in group)
    results = vectorised.run_plans([ready.plan for ready in group], hooks, snapshot_steps, final_losses)
    if any(isinstance(result, Result) and result.ended is Ended.interrupted for result in results):
        raise Interrupted
    return results


def _alone(ready: Ready, stop: Callable[[], bool]) -> Result:
    job, plan, file = ready.job, ready.plan, ready.file
    if file is not None:
        file.load(plan)
    result = run_plan(
        plan, [StopWhen(stop, plan.steps.placement)], job.snapshot_steps, file, job.final_losses
    )
    if result.ended is Ended.interrupted:
        raise Interrupted
    return result
