"""Pairs whose turn has come, together or alone: what of them fails is found, and no other is lost with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.run import vectorised as lanes
from jaxnst.run.interrupts import Interrupted
from jaxnst.run.loop import is_out_of_memory
from jaxnst.run.result import NO_FIRST_LOSS, Result, run_plan

if TYPE_CHECKING:
    from jaxtyping import Bool

    from jaxnst.run.checkpoint import Checkpoint
    from jaxnst.run.plan import Plan

log = logging.getLogger("jaxnst")


class Read(NamedTuple):
    """A pair whose turn may come.

    Attributes:
      number: of the pair.
      plan: what to compute.
      bucket: the same for pairs that may be computed together.
      file: for its checkpoints, if it is computed alone.
    """

    number: int
    plan: Plan
    bucket: Hashable
    file: Checkpoint | None

    @property
    def bytes(self) -> int:
        """What the pictures take meanwhile."""
        arrays = (self.plan.content, self.plan.start, *self.plan.styles)
        masks = (*self.plan.content_masks, *self.plan.style_masks)
        return sum(array.nbytes for array in (*arrays, *masks) if array is not None)


def most(plan: Plan) -> int:
    """How many pairs like this one make a group at most."""
    return 1 if plan.tile else lanes.most(plan)


def results(group: Sequence[Read], stop: Callable[[], bool]) -> Iterator[tuple[int, Result | Exception]]:
    """Compute pairs together; if that fails, its halves, so that what fails is found and no other is lost.

    A pair for which memory runs out even so is computed as `stylize` does it, which ends with a picture.
    """
    try:
        found = _compute(group, stop)
    except Interrupted:
        raise
    except Exception as error:  # out of memory, or whatever a statistic of the user's own raises
        log.info("%d pairs failed", len(group), exc_info=True)
        failed = _without_frames(error)
    else:
        yield from zip((one.number for one in group), found, strict=True)
        return
    if len(group) > 1:
        half = len(group) // 2
        yield from results(group[:half], stop)
        yield from results(group[half:], stop)
    elif is_out_of_memory(failed):
        yield group[0].number, _last_good(group[0], stop)
    else:
        yield group[0].number, failed


def _last_good(one: Read, stop: Callable[[], bool]) -> Result | Exception:
    try:
        return _alone(one, stop)
    except Interrupted:
        raise
    except Exception as error:
        return _without_frames(error)


def _without_frames(error: Exception) -> Exception:
    """The same without the calls it went through, whose arrays would keep their memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _compute(group: Sequence[Read], stop: Callable[[], bool]) -> list[Result | Exception]:
    if len(group) == len(lanes.filled_up([one.plan for one in group])) == 1:
        return [_alone(group[0], stop)]
    began = time.perf_counter()
    plans = lanes.gather(one.plan for one in group)
    last, losses, alive = None, [], []
    for last in lanes.optimise(lanes.filled_up(plans)):
        if stop():
            raise Interrupted
        losses.append(last.losses)
        alive.append(np.asarray(last.state.alive))
    assert last is not None  # there is a state before the first step
    arrays, seconds = last.images, time.perf_counter() - began
    history = {name: np.array([of[name] for of in losses]) for name in losses[0]}
    steps_done = _steps_done(plans, np.array(alive)[:, : len(plans)])
    return [
        _result(plan, arrays[lane], {name: of[:, lane] for name, of in history.items()}, done, seconds)
        for lane, (plan, done) in enumerate(zip(plans, steps_done, strict=True))
    ]


def _steps_done(plans: Sequence[Plan], alive: Bool[np.ndarray, "steps lanes"]) -> list[int]:
    """How many steps each lane made before it diverged, if it did."""
    steps = plans[0].config.steps  # the last evaluation is not one
    return np.cumprod(alive[:steps], axis=0).sum(axis=0).tolist()


def _result(
    plan: Plan, array: np.ndarray, losses: dict[str, np.ndarray], done: int, seconds: float
) -> Result | Exception:
    if not np.isfinite(losses["total"][0]):
        return InputError(NO_FIRST_LOSS)
    return Result(
        array=images.resize(array, plan.sizes[-1]),
        history={name: of[:done] for name, of in losses.items()},
        config=plan.config,
        seconds=seconds,
        ended="finished" if done == plan.config.steps else "diverged",
        weights_sha256=plan.weights.sha256,
        snapshots={},
    )


def _alone(one: Read, stop: Callable[[], bool]) -> Result:
    record = None if one.file is None else one.file.record(one.plan, snapshots=0)

    def after(_: Any) -> str | None:
        return "stopped" if stop() else None

    result = run_plan(one.plan, after, record=record, file=one.file, stoppable=stop)
    if result.ended == "stopped":
        raise Interrupted
    return result
