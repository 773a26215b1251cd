"""How the cells of a grid lie on a page: which axes run down, which to the right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from jaxnst.io.contact_sheet import CELLS_IN_LINE, in_lines
from jaxnst.studies.study import Grid

Labels = tuple[tuple[str, str], ...]
"""Axis and label of each axis that runs one way, the slowest first."""


@dataclass(frozen=True)
class Sheet:
    """Describes a page of cells.

    Attributes:
      rows: labels of each row; empty where a single axis is broken into lines.
      columns: labels of each column; empty where a single axis is broken into lines.
      cells: by row and column the index in `Grid.cells`; None after the last cell.
    """

    rows: tuple[Labels, ...]
    columns: tuple[Labels, ...]
    cells: tuple[tuple[int | None, ...], ...]


def sheet_of(grid: Grid) -> Sheet:
    """Lays out a grid."""
    down = [axis for axis in grid.axes if axis not in grid.columns]
    if not down and len(grid.cells) > CELLS_IN_LINE:
        return Sheet((), (), in_lines(len(grid.cells), CELLS_IN_LINE))
    rows, columns = (_combinations(grid, axes) for axes in (down, grid.columns))
    by_labels = {frozenset(cell.labels.items()): index for index, cell in enumerate(grid.cells)}
    cells = tuple(tuple(by_labels[frozenset(row + column)] for column in columns) for row in rows)
    return Sheet(rows, columns, cells)


def header(axis: str, label: str) -> str:
    """Joins an axis and its label: "blend 0.3", but "style 1" rather than "style style 1"."""
    return label if label.startswith(axis) else f"{axis} {label}"


def spans(labels: Sequence[Labels], level: int) -> list[tuple[str, str, int]]:
    """Returns one level of headers: axis, label, and the number of rows or columns that it spans."""
    groups = itertools.groupby(labels, key=lambda headers: headers[: level + 1])
    return [(*headers[level], len(list(members))) for headers, members in groups]


def levels(labels: Sequence[Labels]) -> range:
    """Counts the levels of headers."""
    return range(len(labels[0]) if labels else 0)


def _combinations(grid: Grid, axes: Sequence[str]) -> tuple[Labels, ...]:
    named = [[(axis, label) for label in grid.axes[axis]] for axis in axes]
    return tuple(itertools.product(*named))
