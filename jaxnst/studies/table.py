"""What a study found, cell by cell: rows for people, for a CSV, and for the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxnst import metrics
from jaxnst.studies import results
from jaxnst.studies.axes import OF_CELLS, OF_RUNS
from jaxnst.studies.results import Done

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.studies.runner import Job
    from jaxnst.studies.runs import Run
    from jaxnst.studies.study import Cell


@dataclass(frozen=True)
class Row:
    """A cell and what became of it.

    Attributes:
      cell: as declared.
      key: of its run.
      done: the run; None if it failed.
      ended: finished, diverged after some step, or why it failed.
      evaluations: of loss and gradient up to its picture; None with a line search, which takes more than one
        a step and does not say how many.
      seconds: wall-clock time to its picture, a batch's shared by its lanes.
      losses: of its picture, the parts unweighted; with a random shift, of what that step saw of it.
      measured: metrics of its picture.
      measured_size: longer side at which the picture was measured, in pixels.
    """

    cell: Cell
    key: str
    done: Done | None
    ended: str
    evaluations: int | None
    seconds: float | None
    losses: Mapping[str, float]
    measured: Mapping[str, float]
    measured_size: int

    @property
    def numbers(self) -> dict[str, float]:
        """Losses, as `loss/total` and so on, and metrics."""
        return {f"loss/{name}": value for name, value in self.losses.items()} | dict(self.measured)


def rows_of(
    job: Job, cells: Sequence[Cell], runs: Mapping[int, Run], failed: Mapping[Run, str], size: int
) -> list[Row]:
    """A row for each cell, with metrics at one size (longer side in pixels) for all."""
    found = []
    done = {run: job.done(run) for run in job.keys}
    for index, cell in enumerate(cells):
        run, look = runs[index], cell.config.steps
        of_run = done[run]
        if of_run is None:
            ended = f"failed: {failed[run]}" if run in failed else "not run yet"
            found.append(Row(cell, job.keys[run], None, ended, None, None, {}, {}, size))
            continue
        at = max(min(look, len(of_run.losses["total"]) - 1), 0)
        content = None if cell.content is None else job.pictures[cell.content]
        styles: list = [job.pictures[name] for name in cell.styles]
        found.append(
            Row(
                cell=cell,
                key=job.keys[run],
                done=of_run,
                ended="finished" if at == look else of_run.ended,
                evaluations=at if cell.config.line_search == "none" else None,
                seconds=of_run.seconds[look],
                losses={name: float(of[at]) for name, of in of_run.losses.items() if len(of)},
                measured=results.measured(of_run, look, content, styles, size),
                measured_size=size,
            )
        )
    return found


def means(row: Row) -> dict[str, float]:
    """Losses, and each kind of metric as the mean over its layers and styles: few enough to read."""
    found: dict[str, list[float]] = {}
    for name, value in row.measured.items():
        found.setdefault(metrics.kind(name), []).append(value)
    losses = {f"loss/{name}": value for name, value in row.losses.items()}
    return losses | {kind: float(np.mean(values)) for kind, values in found.items()}


def best(rows: Sequence[Row]) -> dict[str, int]:
    """By each loss and kind of metric the place of the finished row that is best, where they differ.

    Losses of rows with other weights, layers or forms are no common yardstick; the reader must judge.
    """
    found = {}
    numbers = {index: means(row) for index, row in enumerate(rows) if row.ended == "finished"}
    for name in dict.fromkeys(name for of in numbers.values() for name in of):
        values = {index: of[name] for index, of in numbers.items() if np.isfinite(of.get(name, np.nan))}
        if len({*values.values()}) > 1:
            higher = name in metrics.METRICS and metrics.METRICS[name].higher_is_better
            found[name] = (max if higher else min)(values, key=values.__getitem__)
    return found


def to_csv(rows: Sequence[Row]) -> bytes:
    """One line a cell: where it stands, how it went, losses and metrics to six digits."""
    axes = list(dict.fromkeys(axis for row in rows for axis in row.cell.labels if axis not in OF_CELLS))
    numbers = list(dict.fromkeys(name for row in rows for name in row.numbers))
    header = ["grid", *axes, *OF_CELLS, *OF_RUNS, *numbers]
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line = {axis: label for axis, label in row.cell.labels.items() if axis in axes}
        line |= {"grid": row.cell.grid, "run": row.key, "ended": row.ended}
        line |= {"content": row.cell.content or "none", "style": " + ".join(row.cell.styles) or "none"}
        line |= {"size": str(row.cell.config.size), "steps": str(row.cell.config.steps)}
        line |= {"measured_size": str(row.measured_size)}
        line |= {"evaluations": _text(row.evaluations), "seconds": _text(row.seconds)}
        writer.writerow(line | {name: _text(value) for name, value in row.numbers.items()})
    return text.getvalue().encode()


def losses_to_csv(rows: Sequence[Row]) -> bytes:
    """One line for each step of each run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_runs: dict[str, Mapping[str, Float[np.ndarray, " steps"]]] = {
        row.key: row.done.losses for row in rows if row.done is not None
    }
    names = list(dict.fromkeys(name for losses in of_runs.values() for name in losses))
    writer.writerow(["run", "step", *names])
    for key, losses in of_runs.items():
        for step in range(len(losses["total"])):
            writer.writerow(
                [key, step, *(_text(losses[name][step]) if name in losses else "" for name in names)]
            )
    return text.getvalue().encode()


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
