"""How the cells of a grid lie on a page: which axes run down, which to the right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from jaxnst.studies.study import Grid

Labels = tuple[tuple[str, str], ...]
"""Axis and label of each axis that runs one way, the slowest first."""

ACROSS = 8
"""Cells side by side where a grid has one axis only, and is broken into lines."""


@dataclass(frozen=True)
class Sheet:
    """A page of cells.

    Attributes:
      rows, columns: labels of each; both empty where one axis is broken into lines.
      cells: by row and column the place in `Grid.cells`; None at the end of the last line.
    """

    rows: tuple[Labels, ...]
    columns: tuple[Labels, ...]
    cells: tuple[tuple[int | None, ...], ...]


def sheet_of(grid: Grid) -> Sheet:
    """Lay out a grid."""
    down = [axis for axis in grid.axes if axis not in grid.columns]
    if not down and len(grid.cells) > ACROSS:
        places = [*range(len(grid.cells)), *[None] * (-len(grid.cells) % ACROSS)]
        lines = (tuple(places[at : at + ACROSS]) for at in range(0, len(places), ACROSS))
        return Sheet((), (), tuple(lines))
    rows, columns = (_combinations(grid, axes) for axes in (down, grid.columns))
    places = {frozenset(cell.labels.items()): index for index, cell in enumerate(grid.cells)}
    return Sheet(
        rows, columns, tuple(tuple(places[frozenset(row + column)] for column in columns) for row in rows)
    )


def told(axis: str, label: str) -> str:
    """What a header says: "blend 0.3", and "style 1" rather than "style style 1"."""
    return label if label.startswith(axis) else f"{axis} {label}"


def spans(labels: Sequence[Labels], level: int) -> list[tuple[str, str, int]]:
    """One level of headers: axis, label, and over how many rows or columns it stands."""
    together = itertools.groupby(labels, key=lambda of: of[: level + 1])
    return [(*of[level], len(list(members))) for of, members in together]


def _combinations(grid: Grid, axes: Sequence[str]) -> tuple[Labels, ...]:
    named = [[(axis, label) for label in grid.axes[axis]] for axis in axes]
    return tuple(itertools.product(*named))
