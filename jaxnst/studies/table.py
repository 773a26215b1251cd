"""The results of a study cell by cell: rows for Python, for CSV files and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxnst.io.files import csv_bytes
from jaxnst.metrics import METRICS, kind
from jaxnst.studies import results
from jaxnst.studies.axes import CELL_COLUMNS, RUN_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from jaxnst.studies.jobs import Arrays
    from jaxnst.studies.results import SavedRun
    from jaxnst.studies.runs import Run
    from jaxnst.studies.study import Cell


@dataclass(frozen=True)
class Row:
    """A cell and its result.

    Attributes:
      cell: as declared.
      key: of its run.
      saved: its run on disk; None if it failed.
      ended: "finished", "diverged after N", "not run yet", or the reason why it failed.
      evaluations: number of evaluations of loss and gradient up to its picture; None with a line search,
        which takes an unknown number in each step.
      seconds: wall-clock time to its picture; cells that were computed together share it.
      losses: of its picture, the parts unweighted; with a random shift, of the window of the next step.
      measured: metrics of its picture.
      measured_size: longer side at which the picture was measured, in pixels.
    """

    cell: Cell
    key: str
    saved: SavedRun | None
    ended: str
    evaluations: int | None
    seconds: float | None
    losses: Mapping[str, float]
    measured: Mapping[str, float]
    measured_size: int

    @property
    def picture(self) -> Path | None:
        """Path of its picture, if there is one."""
        return None if self.saved is None else self.saved.picture(self.cell.config.steps)

    @property
    def numbers(self) -> dict[str, float]:
        """Losses, as `loss/total` and so on, and metrics."""
        return {f"loss/{name}": value for name, value in self.losses.items()} | dict(self.measured)


def rows_of(
    cells: Sequence[Cell],
    runs: Sequence[Run],
    folders: Mapping[Run, Path],
    failures: Mapping[Run, str],
    pictures: Arrays,
    size: int,
) -> list[Row]:
    """Reads the results of all cells from disk, and measures those that are new.

    Args:
      cells: of the study.
      runs: of the cells, in order.
      folders: where runs are kept.
      failures: why runs failed.
      pictures: content and style pictures by name.
      size: longer side at which all pictures are measured, in pixels.
    """
    saved_runs = {run: results.read_run(folder, run.snapshot_steps) for run, folder in folders.items()}
    rows = []
    for cell, run in zip(cells, runs, strict=True):
        key, saved, steps = folders[run].name, saved_runs[run], cell.config.steps
        if saved is None:
            ended = f"failed: {failures[run]}" if run in failures else "not run yet"
            rows.append(Row(cell, key, None, ended, None, None, {}, {}, size))
            continue
        last = max(min(steps, len(saved.losses["total"]) - 1), 0)
        content = None if cell.content is None else pictures[cell.content]
        styles: list = [pictures[name] for name in cell.styles]
        rows.append(
            Row(
                cell=cell,
                key=key,
                saved=saved,
                ended="finished" if last == steps else saved.ended,
                evaluations=last if cell.config.line_search == "none" else None,
                seconds=saved.seconds[steps],
                losses={name: float(values[last]) for name, values in saved.losses.items() if len(values)},
                measured=results.measured(saved, steps, content, styles, size),
                measured_size=size,
            )
        )
    return rows


def means(row: Row) -> dict[str, float]:
    """Returns the losses, and the mean of each kind of metric over its layers and styles."""
    by_kind: dict[str, list[float]] = {}
    for name, value in row.measured.items():
        by_kind.setdefault(kind(name), []).append(value)
    losses = {f"loss/{name}": value for name, value in row.losses.items()}
    return losses | {name: float(np.mean(values)) for name, values in by_kind.items()}


def best(rows: Sequence[Row]) -> dict[str, int]:
    """Returns, by loss and kind of metric, the index of the best finished row, where rows differ.

    Losses of rows with other loss weights, layers or forms do not compare; the reader must judge.
    """
    numbers = {index: means(row) for index, row in enumerate(rows) if row.ended == "finished"}
    indices = {}
    for name in dict.fromkeys(name for row_numbers in numbers.values() for name in row_numbers):
        values = {index: row_numbers.get(name, np.nan) for index, row_numbers in numbers.items()}
        values = {index: value for index, value in values.items() if np.isfinite(value)}
        if len({*values.values()}) > 1:
            higher = name in METRICS and METRICS[name].higher_is_better
            indices[name] = (max if higher else min)(values, key=values.__getitem__)
    return indices


def to_csv(rows: Sequence[Row]) -> bytes:
    """Writes one line for each cell: its place, how it ended, losses and metrics to six digits."""
    axes = list(dict.fromkeys(axis for row in rows for axis in row.cell.labels if axis not in CELL_COLUMNS))
    numbers = list(dict.fromkeys(name for row in rows for name in row.numbers))
    header = ["grid", *axes, *CELL_COLUMNS, *RUN_COLUMNS, *numbers]
    lines = [header]
    for row in rows:
        line = {axis: label for axis, label in row.cell.labels.items() if axis in axes}
        line |= {"grid": row.cell.grid, "run": row.key, "ended": row.ended}
        line |= {"content": row.cell.content or "none", "style": " + ".join(row.cell.styles) or "none"}
        line |= {"size": str(row.cell.config.size), "steps": str(row.cell.config.steps)}
        line |= {"measured_size": str(row.measured_size)}
        line |= {"evaluations": _text(row.evaluations), "seconds": _text(row.seconds)}
        line |= {name: _text(value) for name, value in row.numbers.items()}
        lines.append([line.get(name, "") for name in header])
    return csv_bytes(lines)


def losses_to_csv(rows: Sequence[Row]) -> bytes:
    """Writes one line for each step of each run."""
    runs = {row.key: row.saved.losses for row in rows if row.saved is not None}
    names = list(dict.fromkeys(name for losses in runs.values() for name in losses))
    lines = [["run", "step", *names]]
    for key, losses in runs.items():
        for step in range(len(losses["total"])):
            values = (_text(losses[name][step]) if name in losses else "" for name in names)
            lines.append([key, str(step), *values])
    return csv_bytes(lines)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
